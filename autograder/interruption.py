"""Lets Ctrl-C end a run without leaving a kernel, or anything that it started, behind."""

import signal
from types import FrameType, TracebackType
from typing import Any, Self

from autograder.engine import Execution


class RunInterruptedError(Exception):
    """Ctrl-C, or another signal that asks us to end."""


class Interruption:
    """While it is entered, a signal that asks us to end kills the running kernel and is remembered; the run then ends.

    An exception raised in the midst of asyncio would leave a kernel and half of its clean-up behind.
    """

    def __init__(self) -> None:
        """Nothing is caught yet."""
        self.signal: int | None = None
        self.execution: Execution | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, for one, means it
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a handler's signature
        self.signal = number
        if self.execution:
            self.execution.kill()

    def check(self) -> None:
        """Raises RunInterruptedError if there was a signal; one may have come before there was a kernel to kill."""
        if self.signal is not None:
            raise RunInterruptedError
