"""Server-sent events: what comes, as it comes, and a heartbeat when nothing does."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import StreamingResponse

MOST_UNSENT = 8 << 20
"""Bytes that are kept for somebody who reads slowly; what comes beyond them is left out of the stream."""

HEARTBEAT = b": heartbeat\n\n"


def event(kind: str, packed: bytes, place: int | None = None) -> bytes:
    """Returns one event, of what is JSON already."""
    number = b"" if place is None else b"id: %d\n" % place
    return b"%bevent: %b\ndata: %b\n\n" % (number, kind.encode(), packed)


class Stream:
    """Events on their way to one reader. Nobody who writes waits for it."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._size, self._left_out = 0, 0
        self._news = asyncio.Event()
        self._ended = False

    def put(self, kind: str, data: Any, *, last: bool = False) -> None:
        """Adds an event. The last one always fits."""
        self.put_packed(kind, json.dumps(data).encode(), last=last)

    def put_packed(self, kind: str, data: bytes, *, last: bool = False) -> None:
        """Adds an event, of what is JSON already."""
        packed = event(kind, data)
        if self._size + len(packed) > MOST_UNSENT and not last:
            self._left_out += 1
        else:
            if self._left_out:
                packed = event("left_out", b'{"events": %d}' % self._left_out) + packed
                self._left_out = 0
            self._waiting.append(packed)
            self._size += len(packed)
        self._ended = self._ended or last
        self._news.set()

    async def read(self, heartbeat: float) -> AsyncIterator[bytes]:
        """Yields what comes, until the last event; a heartbeat after so many seconds of nothing."""
        yield HEARTBEAT  # so that the headers go out at once
        while True:
            while self._waiting:
                packed = b"".join(self._waiting)
                self._waiting.clear()
                self._size = 0
                yield packed
            if self._ended:
                return
            self._news.clear()
            try:
                async with asyncio.timeout(heartbeat):
                    await self._news.wait()
            except TimeoutError:
                yield HEARTBEAT


def answer(content: AsyncIterator[bytes]) -> StreamingResponse:
    """Returns a response of events."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # the latter for nginx, which would hold it back
    return StreamingResponse(content, media_type="text/event-stream", headers=headers)
