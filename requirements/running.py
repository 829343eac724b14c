"""Runs a command of set-up, such as pip, to its end: output to a log, progress on one line, interrupts passed on.

Standard library only, and no syntax beyond Python 3.8: an old interpreter must get far enough to say that it is old.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Callable, Sequence  # noqa: UP035 - 3.8 cannot subscript those of collections.abc

GB = 1_000_000_000


class SetupError(Exception):
    """Set-up cannot go on; the message says what to do."""


class CommandError(SetupError):
    """A command failed; `output` holds what it printed."""

    def __init__(self, message: str, output: str) -> None:
        super().__init__(message)
        self.output = output


def say(text: str) -> None:
    """Prints a message at once."""
    print(text, file=sys.stderr, flush=True)


class Progress:
    """One line about a running pip: how far it is, what it does, for how long.

    Args:
        total: The number of packages to install.
        installed: Returns how many of them are installed now.
    """

    def __init__(self, total: int, installed: Callable[[], int]) -> None:
        self.total = total
        self.installed = installed
        self.collected = 0
        self.doing = "starting"
        self.started = time.monotonic()
        self.shown = self.started
        self.live = sys.stderr.isatty()

    def read(self, line: str) -> None:
        """Takes one line of pip's output into account."""
        if collecting := re.match(r"(?:Collecting |Processing (?:\S*/)?)([\w.]+(?:-[a-z][\w.]*)*)", line):
            self.collected += 1
            self.doing = f"collecting {collecting[1]}"
        elif downloading := re.match(r"\s+Downloading (?:\S*/)?([^/\s-]+)\S* \(([\d.]+ [kMG]B)\)", line):
            self.doing = f"downloading {downloading[1]}, {downloading[2]}"
        elif line.startswith("Installing collected packages"):
            self.doing = "installing"

    def show(self, *, last: bool = False) -> None:
        """Shows the state: always the same line of a terminal, elsewhere a new one every ten seconds."""
        now = time.monotonic()
        if not self.live and not last and now - self.shown < 10:
            return
        self.shown = now
        installed = self.installed()
        # Collecting (resolving, downloading) and installing take about the same time.
        percent = min(50 * (self.collected + installed) // self.total, 100)
        state = f"  {percent:3d} %  {now - self.started:4.0f} s  {installed} of {self.total} installed"
        text = state if last else f"{state}, {self.doing}"
        if self.live:
            text = text[: shutil.get_terminal_size().columns - 1]
            print(f"\r\033[K{text}", end="\n" if last else "", file=sys.stderr, flush=True)
        else:
            say(text)


def run(command: Sequence[str | Path], log: Path, claim: int, progress: Progress | None = None) -> None:
    """Runs a command to its end.

    Args:
        command: The command and its arguments.
        log: The file that its output is added to.
        claim: A descriptor that the command inherits (see `environment.exclusive`).
        progress: Reads the output and is shown meanwhile.

    Raises:
        CommandError: It failed; the message holds its last lines and what to do.
        KeyboardInterrupt: The user interrupted; the command has ended too.
    """
    child = subprocess.Popen(
        [str(part) for part in command],
        # A user's PIP_USER=1 would have pip install outside of the environment, or refuse.
        env={**os.environ, "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=[claim],
        start_new_session=True,
    )
    lines: list[str] = []

    def read() -> None:
        with log.open("ab", buffering=0) as file:
            for line in child.stdout or ():
                lines.append(line)
                with contextlib.suppress(OSError):  # a full disk must not stop the reading
                    file.write(line.encode())
                if progress:
                    progress.read(line)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        while child.poll() is None:
            if progress:
                progress.show()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(0.3)
    except BaseException:
        end(child)
        raise
    finally:
        reader.join(timeout=5)
        if progress:
            progress.show(last=True)
    if child.returncode:
        raise CommandError(f"{_advice(''.join(lines), log)}\n       All of the output is in {log}", "".join(lines))


def end(child: subprocess.Popen[str]) -> None:
    """Ends a child that leads a session of its own, and its children: gently, then by force."""
    for signum in (signal.SIGINT, signal.SIGKILL):
        with contextlib.suppress(OSError, subprocess.TimeoutExpired, KeyboardInterrupt):
            os.killpg(child.pid, signum)
            child.wait(timeout=10)


def _advice(output: str, log: Path) -> str:
    """Says what to do about a failed command, with its last lines."""
    missing = re.search(r"No matching distribution found for (\S+)", output)
    if re.search(r"No space left on device|Errno 28|Disk quota exceeded", output):
        advice = disk_full(log.parent)
    elif re.search(r"NewConnectionError|ConnectTimeout|Read timed out|ProxyError|SSLError|ConnectionError", output):
        advice = "the package index cannot be reached: check the network and pip's settings (`pip config list`)"
    elif missing:
        advice = f"pip finds no build of {missing[1]} for this Python and machine: check its index (`pip config list`)"
    else:
        advice = "a command failed"
    # pip prints such a line for each package and each wheel folder that its settings name as an index.
    told = [line for line in output.splitlines() if line.strip() and not line.startswith("WARNING: Location")]
    return "\n".join([f"{advice}; its last lines:", *[f"  | {line}" for line in told[-12:]]])


def disk_full(folder: Path) -> str:
    """Says where there is how much room, and what to do."""
    places = [(folder, "VENV=…"), (Path(tempfile.gettempdir()), "TMPDIR=…")]
    free = ", ".join(f"{place} has {shutil.disk_usage(place).free / GB:.1f} GB ({how})" for place, how in places)
    return f"the disk is full: make room or name another place, then repeat ({free})"
