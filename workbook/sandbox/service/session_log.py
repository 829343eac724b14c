"""The log of a session, as its node writes and reads it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from workbook.sandbox.service.live_types import SessionLost
from workbook.sandbox.service.store import Event, NewEvent, SessionRecord, Store, StoreError

_T = TypeVar("_T")

_PAUSES = (0.05, 0.5)  # seconds before what has happened is written down once more


class Log:
    """What happens in a session, for the node that holds its epoch.

    Attributes:
        given_up: Whether the session's box was ended from here: what runs in it has not ended by itself.
    """

    def __init__(
        self, store: Store, record: SessionRecord, end_box: Callable[[], Awaitable[None]], lost: Callable[[], str]
    ) -> None:
        """Takes where it is kept.

        Args:
            store: There.
            record: The session, at its epoch.
            end_box: Ends the session's box.
            lost: Why it has ended; empty while it lives.
        """
        self._store, self._record, self._end_box, self._lost = store, record, end_box, lost
        self.given_up = False

    async def give_up(self) -> None:
        """Ends the session's box; the session can be brought back, as its log has it."""
        self.given_up = self.given_up or not self._lost()
        await self._end_box()

    @asynccontextmanager
    async def or_give_up(self) -> AsyncIterator[None]:
        """A block after which the box and the log agree.

        Where it does not come to its end they differ, and the box goes: the session comes back as its log has it.
        """
        try:
            yield
        except BaseException:
            await self.give_up()
            raise

    async def append(self, *events: NewEvent) -> None:
        """Writes down what is about to happen."""
        await self._store.append(self._record.id, self._record.epoch, events)

    async def record(self, *events: NewEvent) -> int:
        """Writes down what has happened already, or gives up; returns the place of the last event."""
        async with self.or_give_up():
            kept = await _again(lambda: self._store.append(self._record.id, self._record.epoch, events))
        return kept[-1].seq

    async def event(self, place: int) -> Event:
        """Returns the event at a place."""
        (found,) = await self._store.events(self._record.id, place - 1, 1)
        return found

    async def put_blob(self, data: bytes) -> str:
        """Keeps what events refer to; returns its name."""
        return await _again(lambda: self._store.put_blob(self._record.id, data))

    async def drop_blob(self, name: str) -> None:
        """Lets go of what no event refers to any more."""
        await self._store.drop_blobs(self._record.id, self._record.epoch, [name])

    async def blob(self, name: str) -> bytes:
        """Returns what an event refers to.

        Raises:
            SessionLost: It is not there any more.
        """
        data = await self._store.get_blob(name)
        if data is None:
            raise SessionLost(f"its log refers to {name}, which the store does not have")
        return data


async def _again(action: Callable[[], Awaitable[_T]]) -> _T:
    """Does what a store that is out of reach for a moment refuses, once more and once more."""
    for pause in _PAUSES:
        try:
            return await action()
        except StoreError:
            await asyncio.sleep(pause)
    return await action()
