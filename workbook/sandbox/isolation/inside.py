"""The entry module of boxes that are probed: what `probes` asks to be tried from within."""

import ctypes
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbook.sandbox.isolation.channel import Channel


def prepare() -> None:
    """Nothing to prepare."""


def run(channel: Channel) -> None:
    """Answers each message, the name of a trial and its arguments, with what the trial saw."""
    while True:
        message, _ = channel.receive()
        channel.send({"seen": _TRIALS[message["trial"]](*message["arguments"])})


def _error(action: Callable[[], Any]) -> str | None:
    """What went wrong in an action; None if nothing did."""
    try:
        action()
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    return None


def write(path: str, size: int) -> str | None:
    """Writes a file."""
    return _error(lambda: Path(path).write_bytes(bytes(size)))


def exists(path: str) -> bool:
    """Whether a path is there."""
    return os.path.lexists(path)


def connect(host: str, port: int) -> str | None:
    """Connects to an address."""
    return _error(lambda: socket.create_connection((host, port), 5).close())


def make_socket(family: int) -> str | None:
    """Makes a socket."""
    return _error(lambda: socket.socket(family).close())


def unshare(flags: int) -> str | None:
    """Leaves namespaces for new ones."""
    libc = ctypes.CDLL(None, use_errno=True)
    return os.strerror(ctypes.get_errno()) if libc.unshare(flags) else None


def fork(most: int) -> int:
    """How many children can be had at once, up to `most`."""
    children = 0
    while children < most:
        try:
            child = os.fork()
        except OSError:
            break
        if child == 0:
            time.sleep(600)
            os._exit(0)
        children += 1
    return children


def share_out(processes: int, size: int, seconds: float) -> None:
    """Has some processes fill so much memory each, and hold it for a while."""

    def hold() -> None:
        kept = bytearray(size)
        time.sleep(seconds)
        del kept

    _start(processes, hold)
    time.sleep(seconds)


def burn(processes: int, seconds: float) -> None:
    """Has some processes calculate for a while."""

    def calculate() -> None:
        while True:
            pass

    _start(processes, calculate)
    time.sleep(seconds)


def _start(processes: int, action: Callable[[], Any]) -> None:
    for _ in range(processes):
        if os.fork() == 0:
            action()
            os._exit(0)


def keyrings() -> list[str]:
    """The numbers of the session keyrings that are to be seen."""
    lines = (line.split() for line in Path("/proc/keys").read_text().splitlines())
    return [fields[0] for fields in lines if fields[7:9] == ["keyring", "_ses:"]]


def python() -> str | None:
    """What goes wrong where a program that is started here imports a package of the environment."""
    done = subprocess.run([sys.executable, "-c", "import psutil"], capture_output=True, text=True, check=False)
    return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1] if done.returncode else None


def allocate(size: int) -> bool:
    """Whether another process can have and fill so much memory."""
    if (child := os.fork()) == 0:
        try:
            bytearray(size)
        except MemoryError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


_TRIALS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        write,
        exists,
        connect,
        make_socket,
        unshare,
        fork,
        share_out,
        burn,
        keyrings,
        python,
        allocate,
    )
}
