"""Logs of sessions that are over are kept for a while, and then removed."""

import asyncio
import contextlib
import math
import random
from collections.abc import AsyncIterator

from workbook.sandbox.service.logs import LOGGER
from workbook.sandbox.service.store import Store, StoreError

_MOST_EVERY = 3600.0  # seconds between two looks
_PAUSE = 0.02  # seconds between two parts that are removed, for those who wait for the store


@contextlib.asynccontextmanager
async def removing(store: Store, age: float) -> AsyncIterator[None]:
    """Removes, as long as the block lasts, what was closed so many seconds ago.

    Several nodes may do it at once: each takes what the others have left.

    Args:
        store: What it is removed from.
        age: The seconds; infinity removes nothing.
    """
    task = asyncio.create_task(_remove(store, age))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _remove(store: Store, age: float) -> None:
    if not age < math.inf:
        return
    while True:
        every = min(max(age / 24, 1.0), _MOST_EVERY)
        await asyncio.sleep(every * random.uniform(0.5, 1))  # not all nodes at once
        try:
            while await store.remove_closed(age):
                await asyncio.sleep(_PAUSE)
        except StoreError as error:
            LOGGER.warning("old logs stay for now", extra={"why": str(error)})
