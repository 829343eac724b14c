"""A deadline for code in this very thread, for as far as Python can interrupt it."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class DeadlinePassed(BaseException):
    """The block took longer than its deadline. It is no Exception, so that `except Exception` lets it through."""


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raises DeadlinePassed in the block once it has taken that long; blocks nest, and the earliest deadline counts.

    Only the main thread of a Unix process can be interrupted so; elsewhere the block has no deadline.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def passed(number: int, frame: Any) -> None:  # noqa: ARG001 - the signature of a handler
        raise DeadlinePassed(f"{seconds:g} s have passed")

    began = time.monotonic()
    outer_left, _ = signal.getitimer(signal.ITIMER_REAL)
    if 0 < outer_left <= seconds:
        yield
        return
    before = signal.signal(signal.SIGALRM, passed)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if outer_left:
            signal.setitimer(signal.ITIMER_REAL, max(outer_left - (time.monotonic() - began), 1e-3))
