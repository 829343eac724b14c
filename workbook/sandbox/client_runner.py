"""A thread with an event loop, in which the client for everybody has its work done."""

import asyncio
import queue
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from workbook.sandbox.client_errors import ConnectionLost

_T = TypeVar("_T")


class Runner:
    """A thread with an event loop, for those who have none or may not wait in theirs."""

    def __init__(self) -> None:
        self._loop = _new_loop()
        threading.Thread(target=_serve, args=(self._loop,), name="sandbox client", daemon=True).start()
        self.stop = weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop)

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Waits for some work; who interrupts this ends it."""
        return self._wait(self._start(work))

    def run_calling(
        self, start: Callable[[Callable[..., None]], Coroutine[Any, Any, _T]], function: Callable[..., None]
    ) -> _T:
        """Waits for work that calls a function meanwhile; that is called here, in the thread of whoever waits."""
        calls: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        future = self._start(start(lambda *arguments: calls.put(arguments)))
        future.add_done_callback(lambda _: calls.put(None))
        try:
            while (arguments := calls.get()) is not None:
                function(*arguments)
        except BaseException:
            future.cancel()
            raise
        return self._wait(future)

    def _start(self, work: Coroutine[Any, Any, _T]) -> "Future[_T]":
        if not self.stop.alive:
            work.close()
            raise ConnectionLost("the client is closed")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    @staticmethod
    def _wait(future: "Future[_T]") -> _T:
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


def _new_loop() -> asyncio.AbstractEventLoop:
    """Returns a loop, uvloop's where that is installed: a request takes less of it."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
    loop.close()
