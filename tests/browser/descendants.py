"""The processes that a process has started."""

import contextlib
import threading
from collections.abc import Set
from typing import Self

import psutil

INTERVAL = 0.05  # seconds between two looks
PATIENCE = 20  # seconds that processes have to end


class Descendants:
    """All that a process has started, and what that has started: also what has outlived its parent by now.

    It looks again and again. What lives shorter than INTERVAL may escape it, and is not left behind.
    """

    def __init__(self, pid: int) -> None:
        """Takes the process; looks while it is entered."""
        self._root = psutil.Process(pid)
        self._commands: dict[psutil.Process, str] = {}
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._looking = threading.Thread(target=self._look_on, daemon=True)

    def ever(self) -> dict[psutil.Process, str]:
        """Those that were seen, living or not, with their command lines."""
        self._look()
        with self._lock:
            return dict(self._commands)

    def living(self) -> set[psutil.Process]:
        """Those that live."""
        return {process for process in self.ever() if _lives(process)}

    def left(self, before: Set[psutil.Process] = frozenset()) -> dict[psutil.Process, str]:
        """Those that live and go on living, with their command lines, but for those that were there `before`."""
        _, alive = psutil.wait_procs(self.living() - before, timeout=PATIENCE)
        commands = self.ever()
        return {process: commands[process] for process in alive if _lives(process)}

    def _look(self) -> None:
        with contextlib.suppress(psutil.Error):
            for process in self._root.children(recursive=True):
                with contextlib.suppress(psutil.Error), self._lock:
                    self._commands[process] = " ".join(
                        process.cmdline()
                    )  # anew: a fork has its parent's until it execs

    def _look_on(self) -> None:
        while not self._ended.wait(INTERVAL):
            self._look()

    def __enter__(self) -> Self:
        self._looking.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._looking.join()


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
