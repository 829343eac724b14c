"""The processes that a process has started."""

import contextlib
import threading
from typing import Self

import psutil

INTERVAL = 0.1  # seconds between two looks


class Descendants:
    """All that a process has started, and what that has started: also what has outlived its parent by now.

    It looks again and again, so that what lives shorter than INTERVAL may escape it: such a process is not left behind.
    """

    def __init__(self, pid: int) -> None:
        """Starts no look before it is entered.

        Args:
            pid: Of the process.
        """
        self._root = psutil.Process(pid)
        self._seen: set[psutil.Process] = set()
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._looking = threading.Thread(target=self._look_on, daemon=True)

    def ever(self) -> set[psutil.Process]:
        """Those that were seen, living or not."""
        self._look()
        with self._lock:
            return set(self._seen)

    def living(self) -> set[psutil.Process]:
        """Those that live."""
        return {process for process in self.ever() if _lives(process)}

    def _look(self) -> None:
        with contextlib.suppress(psutil.Error), self._lock:
            self._seen |= set(self._root.children(recursive=True))

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
