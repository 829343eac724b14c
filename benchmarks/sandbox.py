"""The sandbox service against Jupyter Kernel Gateway: `make bench-sandbox`.

Both serve on this machine, over HTTP, and take turns: a session or a kernel until it can execute, a warm cell, an idle
one's private memory. Then as many sessions as a machine has live at once, with thousands of cells, of which none may be
lost.
"""

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import websocket
from jupyter_client.manager import start_new_kernel

from workbook.bench import Comparison, compare
from workbook.sandbox.client import AsyncSandboxClient, SandboxClient, Session
from workbook.sandbox.launch import LocalService
from workbook.show import Table

GATEWAY, EMPTY, POOL, HTTP, BARE = "kernel gateway", "pool empty", "from the pool", "sandbox", "bare jupyter_client"
CELL = "x = 1 + 1\nx"
COUNTS = (10, 30, 100)
CELLS = 10_000

_ROOT = Path(__file__).parents[1]
_FOLDER = _ROOT / "build" / "bench-sandbox"


def service(ready: int) -> LocalService:
    """Returns the service, to be started, with so many boxes that wait."""
    return LocalService("--ready", str(ready), "--capacity", "200", "--quota", "1000")


@contextmanager
def kernel_gateway() -> Iterator[str]:
    """Serves Jupyter Kernel Gateway; gives its URL."""
    folder = _FOLDER / "gateway"
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    command = ["-m", "kernel_gateway", f"--KernelGatewayApp.port={port}", "--KernelGatewayApp.ip=127.0.0.1"]
    url = f"http://127.0.0.1:{port}"
    with _process([sys.executable, *command], folder):
        for _ in range(300):
            try:
                httpx.get(f"{url}/api").raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.1)
        else:
            raise RuntimeError(f"the kernel gateway does not answer; what it logged is in {folder}")
        yield url


class GatewayKernel:
    """A kernel behind the gateway, asked over its WebSocket."""

    def __init__(self, url: str) -> None:
        """Starts it, and returns when it has answered."""
        answer = httpx.post(f"{url}/api/kernels", json={"name": "python3"}, timeout=120)
        answer.raise_for_status()
        self.id = answer.json()["id"]
        self._socket = websocket.create_connection(f"ws{url[4:]}/api/kernels/{self.id}/channels", timeout=120)
        self._ask("kernel_info_request", {})

    def execute(self, code: str) -> None:
        """Executes a cell, and returns when its reply and the status "idle" have come."""
        what = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        self._ask("execute_request", what)

    def _ask(self, kind: str, content: dict[str, Any]) -> None:
        name = uuid.uuid4().hex
        header = {"msg_id": name, "msg_type": kind, "username": "", "session": name, "version": "5.3", "date": ""}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        self._socket.send(json.dumps(message))
        replied = idle = False
        while not (replied and idle):
            assert self._socket.sock is not None
            _acknowledge_at_once(self._socket.sock)
            came = json.loads(self._socket.recv())
            if came["parent_header"].get("msg_id") == name:
                replied |= came["msg_type"].endswith("_reply")
                idle |= came["msg_type"] == "status" and came["content"]["execution_state"] == "idle"

    def close(self) -> None:
        """Hangs up; the kernel ends with the gateway."""
        self._socket.close()


def _acknowledge_at_once(connection: socket.socket) -> None:
    """Spares the gateway a wait of 40 ms a cell: it writes small messages, and TCP holds them back (RFC 896)."""
    if option := getattr(socket, "TCP_QUICKACK", None):  # Linux; it does not last
        connection.setsockopt(socket.IPPROTO_TCP, option, 1)


def compare_starts(gateway: str, empty: SandboxClient, pool: SandboxClient, pairs: int) -> Comparison:
    """Until something can execute: a kernel behind the gateway, a session of the sandbox without a pool, and with."""
    kept: list[Any] = []
    return compare(
        {
            GATEWAY: lambda: kept.append(GatewayKernel(gateway)),
            EMPTY: lambda: kept.append(empty.session()),
            POOL: lambda: kept.append(pool.session()),
        },
        pairs=pairs,
        warmup=1,
    )


def compare_cells(kernel: GatewayKernel, session: Session, pairs: int) -> Comparison:
    """One warm cell: through the gateway, through the sandbox, and with jupyter_client alone, without any HTTP."""
    manager, client = start_new_kernel()
    try:
        functions: dict[str, Callable[[], object]] = {
            GATEWAY: lambda: kernel.execute(CELL),
            BARE: lambda: client.execute_interactive(CELL, output_hook=lambda _: None),
            HTTP: lambda: session.execute(CELL),
        }
        return compare(functions, pairs=pairs, warmup=10)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def idle_memory(served: LocalService, sessions: int = 10) -> tuple[float, float]:
    """Returns the private bytes of an idle kernel, and of an idle session of the service."""
    manager, client = start_new_kernel()
    try:
        client.execute_interactive(CELL, output_hook=lambda _: None)
        kernel = _private({psutil.Process(manager.provisioner.pid)})
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    before = _below(served)
    with SandboxClient(served.url, served.token) as client, ExitStack() as stack:
        for _ in range(sessions):
            stack.enter_context(client.session()).execute(CELL)
        time.sleep(1)
        return float(kernel), _private(_below(served) - before) / sessions


async def load(served: LocalService, sessions: int, cells: int) -> dict[str, Any]:
    """Has sessions execute cells, all at the same time; returns what that took, and what went wrong."""
    took: list[float] = []
    wrong = 0

    async def work(number: int) -> int:
        nonlocal wrong
        async with client.session() as session:
            for count in range(cells // sessions):
                began = time.perf_counter()
                result = await session.execute(f"n = globals().get('n', 0) + 1\n(n, {number})")
                took.append(time.perf_counter() - began)
                wrong += result.text != f"({count + 1}, {number})"
            finished = [event async for event in session.events() if event["kind"] == "cell.finished"]
            return cells // sessions - len(finished)

    before = _below(served)
    began = time.monotonic()
    async with AsyncSandboxClient(served.url, served.token) as client:
        tasks = [asyncio.create_task(work(number)) for number in range(sessions)]
        memory = 0
        while not all(task.done() for task in tasks):
            await asyncio.sleep(1)
            memory = max(memory, _private(_below(served) - before))
        lost = sum(await asyncio.gather(*tasks))
    p50, p99 = np.percentile(took, [50, 99])
    return {
        "sessions": sessions,
        "cells": len(took),
        "seconds": time.monotonic() - began,
        "wrong": wrong,
        "lost_events": lost,
        "p50_ms": p50 * 1000,
        "p99_ms": p99 * 1000,
        "bytes_a_session": memory / sessions,
    }


def _below(served: LocalService) -> set[psutil.Process]:
    """Returns the processes that a service has started, its boxes among them."""
    return set(psutil.Process(served.pid).children(recursive=True))


def _private(processes: set[psutil.Process]) -> int:
    """Returns the bytes that processes have for themselves alone, together."""
    total = 0
    for process in processes:
        with suppress(psutil.Error):  # it has ended meanwhile
            total += process.memory_full_info().uss
    return total


def plot(loads: list[dict[str, Any]], machine: str) -> None:
    """Draws latency and memory against the number of sessions."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    sessions = [one["sessions"] for one in loads]
    for name in ("p50_ms", "p99_ms"):
        left.plot(sessions, [one[name] for one in loads], marker="o", label=name.removesuffix("_ms"))
    left.set(xlabel="sessions that execute at once", ylabel="milliseconds a cell", ylim=(0, None))
    left.legend()
    right.plot(sessions, [one["bytes_a_session"] / 2**20 for one in loads], marker="o")
    right.set(xlabel="sessions", ylabel="private MiB a session", ylim=(0, None))
    figure.suptitle(machine, fontsize="small", color="grey")
    figure.savefig(_FOLDER.with_suffix(".png"), dpi=120)


def main() -> None:
    """Measures, prints tables, writes build/bench-sandbox.json and .png, and ends with the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=10, help="pairs of starts (default: 10)")
    parser.add_argument("--cells", type=int, default=200, help="pairs of warm cells (default: 200)")
    options = parser.parse_args()
    with ExitStack() as stack:
        gateway = stack.enter_context(kernel_gateway())
        servers = [stack.enter_context(service(ready)) for ready in (0, 8)]
        empty, pool = (stack.enter_context(SandboxClient(server.url, server.token)) for server in servers)
        starts = compare_starts(gateway, empty, pool, options.starts)
        kernel = GatewayKernel(gateway)
        stack.callback(kernel.close)
        cells = compare_cells(kernel, stack.enter_context(pool.session()), options.cells)
        kernel_bytes, session_bytes = idle_memory(servers[0])
    loads = []
    with service(0) as served:
        for count in COUNTS:
            loads.append(asyncio.run(load(served, count, CELLS)))
    plot(loads, starts.machine)
    found = {"starts": starts.to_dict(), "cells": cells.to_dict(), "loads": loads}
    found["idle_bytes"] = {"kernel": kernel_bytes, "session": session_bytes}
    _FOLDER.with_suffix(".json").write_text(json.dumps(found, indent=2) + "\n")
    _show(starts, cells, kernel_bytes, session_bytes, loads)


def _show(
    starts: Comparison, cells: Comparison, kernel_bytes: float, session_bytes: float, loads: list[dict[str, Any]]
) -> None:
    print(f"Until it can execute:\n{starts}\n\nA warm cell:\n{cells}\n")
    print(f"Private memory: an idle kernel {kernel_bytes / 2**20:.1f} MiB, a session {session_bytes / 2**20:.1f} MiB\n")
    rows = [
        (
            str(one["sessions"]),
            str(one["cells"]),
            str(one["wrong"]),
            str(one["lost_events"]),
            f"{one['p50_ms']:.1f} ms",
            f"{one['p99_ms']:.1f} ms",
            f"{one['bytes_a_session'] / 2**20:.1f} MiB",
            f"{one['cells'] / one['seconds']:.0f}",
        )
        for one in loads
    ]
    print(Table(("sessions", "cells", "wrong", "lost events", "p50", "p99", "a session", "cells a second"), rows))
    print()
    print(starts.ratio_line(EMPTY, "session ready"))
    print(starts.ratio_line(POOL, "session ready"))
    print(cells.ratio_line(HTTP, "warm cell"))
    print(_over(cells, BARE, HTTP))
    print(f"ratio {kernel_bytes / session_bytes:.3g} private memory of an idle one: plain kernel over sandbox session")


def _over(cells: Comparison, one: str, other: str) -> str:
    """Returns a ratio line of two that are both not the baseline."""
    ratios = [a / b for a, b in zip(cells.seconds[one], cells.seconds[other], strict=True)]
    low, median, high = np.percentile(ratios, [25, 50, 75])
    return f"ratio {median:.3g} [{low:.3g} {high:.3g}] warm cell: {other} over {one}"


@contextmanager
def _process(command: list[str], folder: Path) -> "Iterator[subprocess.Popen[str]]":
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


if __name__ == "__main__":
    main()
