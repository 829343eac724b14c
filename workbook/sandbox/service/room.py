"""Room for sessions: so many are live, so many wait, the others are told to come back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class FullError(Exception):
    """The machine is full, and so is the queue; `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Room:
    """Room for a number of sessions, and for some that wait. For the tasks of one event loop.

    Attributes:
        waiting: How many wait.
    """

    def __init__(self, capacity: int, queue: int, patience: float, on_refused: Callable[[], None]) -> None:
        """Takes how many there is room for, how many may wait, for how many seconds, and who is told of the others."""
        self._capacity, self._queue, self._patience, self._on_refused = capacity, queue, patience, on_refused
        self._free = asyncio.Semaphore(capacity)
        self.waiting = 0

    @property
    def problem(self) -> str:
        """Why there is none; empty where there is."""
        if self._free.locked():
            return f"{self._capacity} sessions are live, which is all that there is room for"
        return ""

    @asynccontextmanager
    async def one(self) -> "AsyncIterator[Taken]":
        """Takes room for a session, which the block may keep.

        Raises:
            FullError: There is none, and too many wait; or none came in time.
        """
        if self._free.locked() and self.waiting >= self._queue:
            self._on_refused()
            raise FullError(f"{self._capacity} sessions are live, and {self.waiting} wait for room", 1.0)
        self.waiting += 1
        try:
            await asyncio.wait_for(self._free.acquire(), self._patience)
        except TimeoutError:
            self._on_refused()
            raise FullError(
                f"{self._capacity} sessions are live, and none ended in {self._patience:g} s", 5.0
            ) from None
        finally:
            self.waiting -= 1
        taken = Taken()
        try:
            yield taken
        finally:
            if not taken.kept:
                self.give_back()

    def give_back(self) -> None:
        """Gives back what was kept."""
        self._free.release()


class Taken:
    """Room that was taken; given back unless it is kept."""

    def __init__(self) -> None:
        self.kept = False

    def keep(self) -> None:
        """Keeps it beyond the block."""
        self.kept = True
