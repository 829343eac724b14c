"""The log of a session, as its node writes and reads it."""

import asyncio
from collections.abc import Awaitable, Callable

from workbook.sandbox.service.live_types import SessionLost
from workbook.sandbox.service.store import NewEvent, SessionRecord, Store, StoreError

_PAUSES = (0.05, 0.5)  # seconds before what has happened is written down once more


class Log:
    """What happens in a session, for the node that holds its epoch.

    Attributes:
        given_up: Whether the session's box was ended from here: what runs in it has not ended by itself.
    """

    def __init__(self, store: Store, record: SessionRecord, end_box: Callable[[], Awaitable[None]]) -> None:
        """Takes where it is kept.

        Args:
            store: There.
            record: The session, at its epoch.
            end_box: Ends the session's box.
        """
        self._store, self._record, self._end_box = store, record, end_box
        self.given_up = False

    async def give_up(self) -> None:
        """Ends the session's box; the session can be brought back, as its log has it."""
        self.given_up = True
        await self._end_box()

    async def append(self, *events: NewEvent) -> None:
        """Writes down what is about to happen."""
        await self._store.append(self._record.id, self._record.epoch, events)

    async def record(self, *events: NewEvent) -> None:
        """Writes down what has happened already.

        Where that cannot be, the box and the log differ, and the box goes: the session comes back as its log has it.
        """
        for pause in (*_PAUSES, None):
            try:
                await self.append(*events)
                return
            except StoreError:
                if pause is None:
                    await self.give_up()
                    raise
                await asyncio.sleep(pause)
            except BaseException:
                await self.give_up()
                raise

    async def put_blob(self, data: bytes) -> str:
        """Keeps what events refer to; returns its name."""
        return await self._store.put_blob(self._record.id, data)

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
