"""Starts the sandbox's service on this machine, as a process that may be killed and started again.

with LocalService() as service, SandboxClient(service.url, service.token) as client:
    ...
"""

import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any, Self

START = 120.0
"""Seconds in which a service must have said where it is: importing from a cold disk takes some."""

STOP = 40.0
"""Seconds in which it must have ended by itself, when it was asked to: its requests have twenty of these."""


class LaunchError(Exception):
    """The service cannot be started; the message says why, in one line."""


class LocalService:
    """`python -m workbook.sandbox serve`, as a process. A context manager, which starts it, and ends it for good.

    Its store, its token and its log are in a folder. It keeps its port: who starts it again finds it where it was, with
    all of its sessions.

    Attributes:
        folder: Where its files are.
        url: Where it serves; empty before it was started.
        token: Of its one tenant; empty before it was started.
    """

    def __init__(self, *options: str, folder: Path | None = None) -> None:
        """Prepares it; nothing is started yet.

        Args:
            options: What else `serve` is told, as in `"--capacity", "4"`.
            folder: Where its files are; a temporary one, which ends with it, where this is left out.
        """
        self._temporary = None if folder else tempfile.TemporaryDirectory(prefix="sandbox-service-")
        self.folder = folder or Path(self._temporary.name if self._temporary else "")
        self._options = options
        self._process: subprocess.Popen[str] | None = None
        self._end: weakref.finalize[Any, Any] | None = None
        self.url = self.token = ""

    def start(self) -> Self:
        """Starts it, again too, and returns when it serves.

        Raises:
            LaunchError: It does not; without a sandbox on this machine there is no service.
        """
        from workbook.sandbox.isolation.server import available

        if self.alive:
            return self
        if reason := available():
            raise LaunchError(reason)
        port = self.url.rpartition(":")[2] or "0"
        command = [sys.executable, "-m", "workbook.sandbox", "serve", *self._options, "--port", port]
        command += ["--store", f"sqlite:{self.folder / 'store.db'}", "--token-file", str(self.folder / "token")]
        with self.log.open("a") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, process_group=0
            )
        self._process = process
        self._end = weakref.finalize(self, _kill, process)  # at the end of this process, too
        said = dict(_first_lines(process))
        if "url" not in said:
            self.kill()
            raise LaunchError(self._problem())
        self.url, self.token = said["url"], said.get("token", "")
        return self

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The number of its process, the last one that it had; 0 before it was started."""
        return self._process.pid if self._process else 0

    @property
    def log(self) -> Path:
        """The file with what it logs, a JSON object a line."""
        return self.folder / "log"

    def kill(self) -> None:
        """Ends its process with SIGKILL: it can finish nothing. Its store stays."""
        if self._end is not None:
            self._end()

    def stop(self) -> int:
        """Asks it to end, as an operator would, and returns its exit status; requests that are under way may end."""
        if self._process is None:
            return 0
        if self.alive:
            self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(STOP)
        except subprocess.TimeoutExpired:
            status = -signal.SIGKILL
        self.kill()
        return status

    def close(self) -> None:
        """Ends it, and removes its folder if that is a temporary one."""
        try:
            self.stop()
        finally:
            if self._temporary is not None:
                self._temporary.cleanup()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def _problem(self) -> str:
        """What it has said on stderr, for people rather than for programs that read logs."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if not line.startswith("{")]
        return lines[-1].removeprefix("Error: ") if lines else "the service has ended without a word"


def _first_lines(process: "subprocess.Popen[str]") -> list[tuple[str, str]]:
    """Reads the two lines that a service says when it serves; fewer where it ends, or takes too long."""
    late = threading.Timer(START, process.kill)
    late.start()
    try:
        assert process.stdout is not None
        words = [process.stdout.readline().split() for _ in range(2)]
    finally:
        late.cancel()
    return [(pair[0], pair[1]) for pair in words if len(pair) == 2]


def _kill(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
