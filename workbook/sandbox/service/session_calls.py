"""What a session asks the service for: each call stands in the log, before it is made and when it has ended."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from workbook.sandbox.service import journal
from workbook.sandbox.service.journal import DoneCall
from workbook.sandbox.service.session_log import Log
from workbook.sandbox.service.store import NewEvent

Call = Callable[[dict[str, Any]], Awaitable[tuple[Any, list[bytes]]]]
"""Does what code in a session asks the service for: arguments to a JSON value and blobs."""


class KeyConflictError(Exception):
    """An idempotency key was used before, for something else."""


class OutcomeUnknownError(Exception):
    """What was asked for with this key was begun before the service ended, and nobody knows what came of it."""


class SessionCalls:
    """The calls of a session.

    Attributes:
        own: Those that the caller itself has made with a key, by their number.
    """

    def __init__(self, log: Log, calls: Mapping[str, Call], number: Callable[[], int]) -> None:
        """Takes the log, what can be asked for, and what gives a number that the session has not used."""
        self._log, self._calls, self._number = log, dict(calls), number
        self.own: dict[str, DoneCall] = {}
        self._under_way: dict[str, asyncio.Future[tuple[Any, list[bytes]]]] = {}

    async def call(self, name: str, arguments: dict[str, Any], key: str = "") -> tuple[Any, list[bytes]]:
        """Does what code may ask for, for the caller; it is recorded, and with a key done once.

        Raises:
            KeyConflictError: The key was used for something else.
            OutcomeUnknownError: It was begun with this key before the service ended.
        """
        if not key:
            return await self.recorded(f"a{self._number()}", name, arguments, {})
        number = f"k{hashlib.sha256(key.encode()).hexdigest()}"
        if known := self.own.get(number):
            if (known.name, known.arguments) != (name, arguments):
                raise KeyConflictError(f"the key {key!r} was used for another call")
            if known.finished and not known.error:
                return await self.answer_of(known)
            if not known.finished and number not in self._under_way and not may_repeat(known):
                raise OutcomeUnknownError("the service ended while it did this: use another key to do it again")
        if number not in self._under_way:
            call = self.own[number] = DoneCall(name, arguments)
            task = asyncio.ensure_future(self.recorded(number, name, arguments, {}, call))
            self._under_way[number] = task
            task.add_done_callback(lambda _: self._under_way.pop(number, None))
        return await asyncio.shield(self._under_way[number])

    async def recorded(
        self, number: str, name: str, arguments: dict[str, Any], of: dict[str, Any], call: DoneCall | None = None
    ) -> tuple[Any, list[bytes]]:
        """Does something between two events that say so."""
        does = self._calls.get(name)
        if does is None:
            raise LookupError(f"there is no call {name!r}: there are {', '.join(self._calls)}")
        call = call or DoneCall(name, arguments)
        await self._log.append(
            NewEvent(journal.CALL_STARTED, {"call": number, "name": name, "arguments": arguments, **of})
        )
        names: list[str] = []
        try:
            value, blobs = await does(arguments)
            names = [await self._log.put_blob(blob) for blob in blobs]
            outcome: dict[str, Any] = {"call": number, "value": value}
        except Exception as error:
            call.error, call.finished = f"{type(error).__name__}: {error}", True
            await self._log.append(NewEvent(journal.CALL_FINISHED, {"call": number, "error": call.error}))
            raise
        await self._log.append(NewEvent(journal.CALL_FINISHED, outcome, tuple(names)))
        call.value, call.blobs, call.finished = value, tuple(names), True
        return value, blobs

    async def answer_of(self, call: DoneCall) -> tuple[Any, list[bytes]]:
        """Returns what a call has given, or raises what it has raised, as far as that is known."""
        if not call.finished:
            raise LookupError(
                "the service ended while it did this: nobody knows what came of it, and it is not done twice"
            )
        if call.error:
            raise LookupError(call.error)
        return call.value, [await self._log.blob(name) for name in call.blobs]


def may_repeat(call: DoneCall) -> bool:
    """Whether a call that may have been made can be made again: a fetch that changes nothing (RFC 9110, 9.2.1)."""
    return call.name == "http_fetch" and call.arguments.get("method", "GET") in ("GET", "HEAD", "OPTIONS")
