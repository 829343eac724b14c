"""One life of a Jupyter kernel: its process, sockets and temporary folder, from start to the last trace removed."""

import asyncio
import contextlib
import inspect
import json
import logging
import math
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import psutil
import zmq
import zmq.asyncio
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from jupyter_client.manager import AsyncKernelManager

from workbook.sandbox.capture import capture_descriptors

CAPTURE = f"{inspect.getsource(capture_descriptors)}\ncapture_descriptors()\ndel capture_descriptors"

# jupyter_client logs each failure, traceback and all, before it raises; we say it once, in the exception.
logging.getLogger(__name__).addHandler(logging.NullHandler())

LONGEST_MESSAGE = 256 * 2**20  # bytes; libzmq ends the connection to a peer that sends more, for good
QUEUE = 10_000  # iopub messages that wait for us; more are dropped. libzmq's 1,000 fill up when we stall for 0.2 s
BATCH = 100  # messages taken off a socket before deadlines are looked at again,
BATCH_BYTES = 2**20  # or fewer, with so many bytes
LOG_KEPT = 8_000  # bytes, the last ones, of what a kernel writes to its own stdout and stderr


class KernelError(RuntimeError):
    """A kernel cannot be started, or has been closed."""


@dataclass(frozen=True)
class Message:
    """A message on one of a kernel's channels, as seen from outside the kernel.

    Attributes:
        time: when it was sent or received here, in seconds of `time.perf_counter`.
        channel: "shell" (requests and replies) or "iopub" (what the kernel publishes).
        type: for example "execute_request", "status", "stream".
        id: its own id.
        parent_id: the id of the request that caused it; "" for none.
        packed: its content as it came, JSON in UTF-8.
    """

    time: float
    channel: str
    type: str
    id: str
    parent_id: str
    packed: bytes = field(repr=False)

    @cached_property
    def content(self) -> dict[str, Any]:
        """The content, parsed when first asked for; empty where it is not a JSON object."""
        try:
            content = json.loads(self.packed)
        except (ValueError, RecursionError):
            return {}
        return content if isinstance(content, dict) else {}


class KernelProcess:
    """A running kernel, from `start` to `close`. It is never restarted: the next life has a new folder and a new key.

    Not safe for use by two tasks at once, `kill` and `interrupt` excepted.
    """

    def __init__(self, kernel_name: str) -> None:
        room = zmq.IPC_PATH_MAX_LEN - len("/kernel-12345678/ipc-5")
        short = [folder for folder in (tempfile.gettempdir(), "/tmp") if len(os.fsencode(folder)) <= room]
        self._folder = tempfile.TemporaryDirectory(prefix="kernel-", dir=short[0] if short else None)
        self._log = _Log()
        self._context = zmq.asyncio.Context()
        self._context.setsockopt(zmq.RECONNECT_IVL, 10)  # ms; we connect before the kernel has bound its sockets
        self._context.setsockopt(zmq.MAXMSGSIZE, LONGEST_MESSAGE)
        self._context.setsockopt(zmq.RCVHWM, 10)  # messages; replies come one at a time
        self._context.setsockopt(zmq.SNDTIMEO, 0)  # never wait for room to send
        # Both defaults (kernel-ipc in the current folder, or free TCP ports found and let go) collide between kernels.
        connection = {"transport": "ipc", "ip": f"{self._folder.name}/ipc"} if short and zmq.has("ipc") else {}
        self._manager = AsyncKernelManager(
            kernel_name=kernel_name,
            connection_file=f"{self._folder.name}/connection.json",
            context=self._context,
            log=logging.getLogger(__name__),
            **connection,
        )
        self._sockets: dict[str, zmq.asyncio.Socket] = {}
        self.pid = 0

    @classmethod
    async def start(cls, kernel_name: str, cwd: Path | None, env: Mapping[str, str] | None, timeout: float) -> Self:
        """Starts a kernel and waits until it answers on both channels.

        Raises:
            KernelError: there is no such kernel, it ended or was not ready within `timeout` seconds; nothing is left.
        """
        specs = KernelSpecManager()
        try:
            specs.get_kernel_spec(kernel_name)
        except NoSuchKernel:
            installed = ", ".join(sorted(specs.find_kernel_specs())) or "none"
            raise KernelError(
                f"no Jupyter kernel is named {kernel_name!r}; installed: {installed} (`jupyter kernelspec list`)"
            ) from None
        if cwd is not None and not cwd.is_dir():
            raise KernelError(f"a kernel cannot start in {str(cwd)!r}: there is no such folder")
        process = cls(kernel_name)
        try:
            await process._launch(cwd, env)
            await process._ask("kernel_info_request", {}, timeout)
            if process._manager.ipykernel:
                await process._ask("execute_request", {"code": CAPTURE, "silent": True}, timeout)
        except BaseException:
            await process.close()
            raise
        return process

    async def _launch(self, cwd: Path | None, env: Mapping[str, str] | None) -> None:
        manager = self._manager
        options: dict[str, Any] = {} if env is None else {"env": dict(env)}
        if manager.ipykernel:
            options["extra_arguments"] = [
                "--HistoryManager.hist_file=:memory:",  # not the file that the reader's own sessions share and lock
                "--IPKernelApp.capture_fd_output=False",  # see capture.py
            ]
        try:
            await manager.start_kernel(cwd=cwd, stdout=self._log.write_end, stderr=self._log.write_end, **options)
        except OSError as error:
            command = shlex.join(manager.kernel_spec.argv)
            raise KernelError(f"the kernel cannot be launched ({command}): {error}") from error
        self._log.close_write_end()
        self.pid = manager.provisioner.pid
        self._root = psutil.Process(self.pid)  # knows a process that got the same number later for another one
        self._sockets["shell"] = manager.connect_shell(identity=manager.session.bsession)
        self._subscribe()

    def _subscribe(self) -> None:
        self._context.setsockopt(zmq.RCVHWM, QUEUE)
        self._sockets["iopub"] = self._manager.connect_iopub()

    async def _ask(self, kind: str, content: dict[str, Any], timeout: float) -> None:
        """Sends a request, again and again, until the kernel has answered on both channels."""
        # A reply says that the kernel listens; only a status says that we are subscribed to what it publishes.
        deadline = time.monotonic() + timeout
        asked: set[str] = set()
        replied = published = False
        while not (replied and published):
            asked.add(self._send(kind, content).id)
            again = time.monotonic() + 1
            while time.monotonic() < again and not (replied and published):
                for message in await self.receive(0.05):
                    if message.parent_id in asked:
                        replied |= message.channel == "shell"
                        published |= message.content.get("execution_state") == "idle"
                if replied:
                    again = min(again, time.monotonic() + 0.05)
                if not await self.is_alive():
                    raise KernelError(f"the kernel {await self.how_it_ended()} before it was ready{self._log.tail()}")
                if time.monotonic() > deadline:
                    raise KernelError(f"the kernel was not ready within {timeout:g} s{self._log.tail()}")

    async def resubscribe(self, timeout: float) -> None:
        """Connects to the iopub channel anew, for it ends with a message over `LONGEST_MESSAGE`.

        Raises:
            KernelError: the kernel did not answer within `timeout` seconds.
        """
        self._sockets["iopub"].close(linger=0)
        self._subscribe()
        await self._ask("kernel_info_request", {}, timeout)

    def execute(self, code: str) -> Message:
        """Asks the kernel to execute `code`; returns the request.

        Raises:
            ValueError: `code` holds a lone surrogate, which no message can carry.
        """
        # stop_on_error aborts requests that wait behind a failed one. Ours never wait, but one that comes before the
        # kernel is done with aborting would be aborted too.
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}}
        return self._send("execute_request", content | {"allow_stdin": False, "stop_on_error": False})

    def _send(self, kind: str, content: dict[str, Any]) -> Message:
        session = self._manager.session
        message = session.msg(kind, content)
        packed = session.pack(content)
        now = time.perf_counter()
        try:
            session.send(self._sockets["shell"], message)
        except zmq.Again:  # the connection has ended, see LONGEST_MESSAGE, and who takes no requests is as good as dead
            self.kill()
        return Message(now, "shell", kind, message["header"]["msg_id"], "", packed)

    async def receive(self, wait: float, longest: int = LONGEST_MESSAGE) -> list[Message]:
        """Returns a batch of what has come on each channel; waits up to `wait` seconds for the first message.

        An iopub message of more than `longest` bytes is thrown away unread, as fast as any cell can send it.
        """
        poller = zmq.asyncio.Poller()
        for socket in self._sockets.values():
            poller.register(socket, zmq.POLLIN)
        await poller.poll(math.ceil(wait * 1000))
        return self._batch("shell", LONGEST_MESSAGE) + self._batch("iopub", longest)

    def _batch(self, channel: str, longest: int) -> list[Message]:
        session = self._manager.session
        # asyncio's sockets can be waited for; taking what is there is five times as fast from the socket below.
        socket: zmq.Socket[bytes] = zmq.Socket.shadow(self._sockets[channel].underlying)
        messages = []
        size = 0
        for _ in range(BATCH):
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            length = sum(map(len, frames))
            if length > longest:
                continue
            try:
                _, parts = session.feed_identities([frame.bytes for frame in frames])
                envelope = session.deserialize(parts, content=False)
                messages.append(
                    Message(
                        time.perf_counter(),
                        channel,
                        str(envelope["header"]["msg_type"]),
                        str(envelope["header"]["msg_id"]),
                        str(envelope["parent_header"].get("msg_id", "")),
                        envelope["content"],
                    )
                )
            except Exception:  # noqa: BLE001 - code in the kernel holds its sockets and its key: any bytes may come
                continue
            size += length
            if size > BATCH_BYTES:
                break
        return messages

    async def is_alive(self) -> bool:
        """Whether the process still runs."""
        return bool(await self._manager.is_alive())

    async def how_it_ended(self) -> str:
        """Says how a dead kernel ended, for example "was killed by SIGKILL"."""
        code = await self._manager.provisioner.poll()
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit status {code}"

    async def interrupt(self) -> None:
        """Raises KeyboardInterrupt in the running cell. A kernel that is idle, or just about to begin, ignores it."""
        await self._manager.interrupt_kernel()
        # A cell that awaits hears of it only when something wakes the kernel's event loop (ipykernel issue 881).
        self._send("kernel_info_request", {})

    def kill(self) -> None:
        """Kills the kernel and all that it started, except processes that left both its tree and its process group."""
        if not self.pid:
            return
        tree: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            tree = self._root.children(recursive=True)
        if sys.platform == "win32":
            with contextlib.suppress(psutil.Error):
                self._root.kill()
        else:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        for child in tree:
            with contextlib.suppress(psutil.Error):
                child.kill()

    async def close(self) -> None:
        """Kills the kernel and removes all that it had: process, sockets, threads, folder. Safe to call twice."""
        # No polite shutdown: it takes 270 ms longer, and a kernel that is stuck or hostile does not answer anyway.
        self.kill()
        deadline = time.monotonic() + 10  # a process that hangs in a driver does not even die
        try:
            while self.pid and await self.is_alive() and time.monotonic() < deadline:
                await asyncio.sleep(0.005)
        finally:  # also when cancelled while waiting, so nothing below may wait
            self._context.destroy(linger=0)
            self._log.close()
            self._folder.cleanup()


class _Log:
    """The end of what a kernel writes to the stdout and stderr it was given; no disk or terminal fills up."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._read_end = -1
        if sys.platform == "win32":  # its event loops cannot wait for pipes
            self.write_end = os.open(os.devnull, os.O_WRONLY)
            return
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        asyncio.get_running_loop().add_reader(self._read_end, self._read)

    def _read(self) -> None:
        try:
            block = os.read(self._read_end, 65536)  # all that a pipe holds; not in a loop, for a cell could feed that
        except BlockingIOError:
            return
        if not block:
            asyncio.get_running_loop().remove_reader(self._read_end)
        self._kept += block
        del self._kept[:-LOG_KEPT]

    def tail(self) -> str:
        """The last lines, introduced, to be appended to an error message; nothing where nothing was written."""
        if self._read_end >= 0:
            self._read()
        lines = self._kept.decode(errors="replace").strip().splitlines()[-15:]
        return "; the last lines of its log:\n" + "\n".join(lines) if lines else ""

    def close_write_end(self) -> None:
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    def close(self) -> None:
        self.close_write_end()
        if self._read_end >= 0:
            asyncio.get_running_loop().remove_reader(self._read_end)
            os.close(self._read_end)
            self._read_end = -1
