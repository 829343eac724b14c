"""The cells of a session: executed one after another in each context, recorded, and executed again to bring it back."""

import asyncio
import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable
from typing import Any

from workbook.sandbox.isolation.box import SERVER_ENDED
from workbook.sandbox.outputs import Result
from workbook.sandbox.service import journal
from workbook.sandbox.service.checks import encode
from workbook.sandbox.service.journal import DoneCall, DoneCell, History
from workbook.sandbox.service.live import LiveBox
from workbook.sandbox.service.live_types import (
    CellLimits,
    CheckpointRefused,
    ContextLost,
    OnMessage,
    SessionLost,
)
from workbook.sandbox.service.session_calls import KeyConflictError, SessionCalls, may_repeat
from workbook.sandbox.service.session_files import NO_CHANGE, SessionFiles
from workbook.sandbox.service.session_log import Log
from workbook.sandbox.service.store import NewEvent, RefusedError

LARGE = 256 << 10
"""Bytes of a result's JSON that stand in the log; larger ones are blobs."""

CHECKPOINT_AFTER = 2.0
"""Seconds of cells that would have to be executed again; then their state is kept instead."""


class SessionCells:
    """The cells of a session, and its contexts.

    Attributes:
        history: What the log says of the session.
    """

    def __init__(
        self,
        log: Log,
        files: SessionFiles,
        calls: SessionCalls,
        number: Callable[[], int],
        box: Callable[[], LiveBox],
        has_programs: Callable[[], bool],
    ) -> None:
        """Takes the log, what else is in the session, what gives unused numbers, its box, whether programs run."""
        self._has_programs = has_programs
        self._log, self._files, self._calls, self._number, self._box = log, files, calls, number, box
        self.history = History()
        self._locks: dict[str, asyncio.Lock] = {}
        self._under_way: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._current: dict[str, _Running] = {}  # by context
        self._since_checkpoint = 0.0

    @property
    def busy(self) -> bool:
        """Whether one runs."""
        return bool(self._current)

    # Contexts.

    def begin(self, context: str) -> NewEvent:
        """Takes a context that the box has opened; returns what the log is to say of it."""
        self._locks.setdefault(context, asyncio.Lock())
        self.history.contexts[context] = []
        return NewEvent(journal.CONTEXT_OPENED, {"context": context})

    async def open(self, context: str) -> None:
        """Makes a context."""
        await self._box().open(context, seed_of(self.history.seed, context))
        await self._log.append(self.begin(context))

    async def end(self, context: str) -> None:
        """Ends a context, in the middle of a cell too."""
        self._locks.pop(context, None)
        self.history.contexts.pop(context, None)
        await self._box().end_context(context)
        await self._log.append(NewEvent(journal.CONTEXT_ENDED, {"context": context, "reason": "asked for"}))

    async def restore(self, context: str, *, with_files: bool = True) -> dict[str, Any]:
        """Brings a context back: its last checkpoint, and the cells after it again.

        Calls are answered from the log; none is made a second time. The workspace is left as a cell has made it.

        Args:
            context: Its name.
            with_files: Whether each cell finds the files that it found the first time.

        Returns:
            How many cells were executed again, and which of them came to another end than the first time. If there are
            such, the state is not what it was, and the next cell tells so.

        Raises:
            SessionLost: The box ended meanwhile.
        """
        box = self._box()
        self._locks.setdefault(context, asyncio.Lock())
        await box.open(context, seed_of(self.history.seed, context))
        cells, otherwise = self.history.contexts[context], list[str]()
        try:
            if blob := self.history.checkpoints.get(context):
                await box.restore(context, await self._log.blob(blob))
            for done in cells:
                if with_files:
                    await self._files.make(done.files)
                self._current[context] = _Running(done.cell, done.calls, replaying=True)
                limit = done.seconds if done.interrupted else done.timeout * 2 + 1
                result = await box.execute(context, done.code, limit)
                if result.state_lost:
                    raise ContextLost(f"its process ended when {done.cell} was executed again")
                if result.status != done.status and not done.interrupted:
                    otherwise.append(done.cell)
        except (CheckpointRefused, ContextLost):
            await self._give_up(context)
            return {"cells": 0, "otherwise": []}
        finally:
            self._current.pop(context, None)
        if otherwise:
            self.history.gone.add(context)
        return {"cells": len(cells), "otherwise": otherwise}

    async def _give_up(self, context: str) -> None:
        """Begins a context anew whose state cannot be brought back; its next cell tells so."""
        box = self._box()
        if self._log.given_up or box.lost == SERVER_ENDED:  # it may well be brought back, but not here and now
            raise SessionLost(box.lost)
        self.history.gone.add(context)
        self.history.checkpoints.pop(context, None)
        await self._log.append(self.begin(context))
        await box.end_context(context)
        await box.open(context, seed_of(self.history.seed, context))

    async def _revive(self, context: str) -> None:
        """Brings a context back whose process has ended: in a cell, or between two."""
        async with self._files.lock:
            # What runs beside it must not see files that are no more: then its cells have to do with those that are.
            alone = not self._current and not self._has_programs()
            self._files.begin()
            replayed = await self.restore(context, with_files=alone)
            await self._files.make()
        await self._log.append(NewEvent(journal.CONTEXT_RESTORED, {"context": context, **replayed}))

    # Cells.

    async def execute(
        self, code: str, context: str, timeout: float, key: str, limits: CellLimits, on_message: OnMessage | None
    ) -> dict[str, Any]:
        """Executes a cell; see `Session.execute`."""
        if key:
            if (known := self.history.codes_by_key.get(key)) is not None and known != code:
                raise KeyConflictError(f"the key {key!r} was used for another cell")
            if done := self.history.by_key.get(key):
                return await self._result_of(done)
            if waiting := self._under_way.get(key):
                return await asyncio.shield(waiting)
        task = asyncio.ensure_future(self._execute(code, context, timeout, key, limits, on_message))
        if key:
            self._under_way[key] = task
            self.history.codes_by_key[key] = code
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return await asyncio.shield(task)  # who asked may hang up: the cell goes on, and is recorded

    async def _execute(
        self, code: str, context: str, timeout: float, key: str, limits: CellLimits, on_message: OnMessage | None
    ) -> dict[str, Any]:
        lock = self._locks.get(context)
        if lock is None:
            raise ContextLost(f"there is no context {context!r}")
        async with lock:
            box = self._box()
            if context not in box.contexts and context in self.history.contexts and not box.lost:
                await self._revive(context)
            cell = f"c{self._number()}"
            begun = {"cell": cell, "context": context, "code": code, "timeout": timeout, "key": key}
            # The log hears of it while it begins: until then it can change nothing but the box, which goes if the log
            # refuses. What it asks the service for waits.
            async with self._files.lock:  # while files are what they were at another time, none begins
                recorded = asyncio.ensure_future(self._log.record(NewEvent(journal.CELL_STARTED, begun)))
                earlier = self.history.calls_by_key.pop(key, {}) if key else {}
                running = _Running(cell, earlier, recorded, files=self._files.history.place)
                self._current[context] = running
            try:
                result = await box.execute(context, code, timeout, limits, on_message)
            finally:
                self._current.pop(context, None)
                await recorded
            if self._log.given_up or box.lost == SERVER_ENDED:  # it has not died: it is executed again, somewhere
                raise SessionLost("the session was let go of while the cell ran")
            return await self._finish(DoneCell(cell, context, code, timeout, running.files, running.calls), key, result)

    async def _finish(self, done: DoneCell, key: str, result: Result) -> dict[str, Any]:
        """Writes down what came of a cell."""
        done.status, done.seconds, done.ended = result.status, result.seconds, result.state_lost
        done.interrupted = result.status == "timeout" or (
            result.error is not None and result.error.name == "KeyboardInterrupt"
        )
        value = {"cell": done.cell, "context": done.context, **_as_json(result)}
        value["state_lost"] = done.context in self.history.gone
        self.history.gone.discard(done.context)
        async with self._files.lock:
            *before, change = [NO_CHANGE] if self._box().lost else await self._files.changes(told=not done.ended)
            blobs = change.blobs
            packed = json.dumps(value).encode()
            how = {name: getattr(done, name) for name in ("status", "seconds", "interrupted", "ended")}
            data: dict[str, Any] = {"cell": done.cell, "context": done.context, **how, **change.data}
            if len(packed) <= LARGE and _is_kept_as_it_is(value):
                done.result = data["result"] = value
            else:
                done.blob = data["blob"] = await self._log.put_blob(packed)
                blobs = (*change.blobs, done.blob)
            await self._log.record(*before, NewEvent(journal.CELL_FINISHED, data, tuple(dict.fromkeys(blobs))))
            self._files.note([*before, change])
        if key:
            self.history.by_key[key] = done
        if not done.ended and not self._box().lost and done.context in self.history.contexts:
            self.history.contexts[done.context].append(done)
            self._since_checkpoint += result.seconds
            if self._since_checkpoint > CHECKPOINT_AFTER:
                await self._checkpoint(done.context)
        return value

    async def _checkpoint(self, context: str) -> None:
        """Keeps the state of a context; where it cannot be kept, its cells will be executed again instead."""
        self._since_checkpoint = 0.0
        try:
            data = await self._box().checkpoint(context)
        except (CheckpointRefused, ContextLost, SessionLost):
            return
        blob = await self._log.put_blob(data)
        await self._log.append(NewEvent(journal.CHECKPOINT, {"contexts": {context: blob}}, (blob,)))
        before = self.history.checkpoints.get(context)
        self.history.checkpoints[context], self.history.contexts[context] = blob, []
        kept = [done.files for cells in self.history.contexts.values() for done in cells]
        kept += [running.files for running in self._current.values()]
        self._files.history.forget(min(kept, default=self._files.history.place))
        if before and before != blob:
            await self._log.drop_blob(before)

    async def on_call(self, context: str, name: str, arguments: dict[str, Any]) -> tuple[Any, list[bytes]]:
        """Answers code in a context; see `live_types.OnCall`. Of a cell that is executed again, from the log."""
        running = self._current.get(context)
        if running is None:
            raise LookupError("only a cell that runs can ask the service for something")
        place = running.next_call()
        if running.recorded is not None:
            await asyncio.shield(running.recorded)
        known = running.known.get(place)
        if known is not None:
            if (known.name, known.arguments) != (name, arguments):
                raise LookupError(f"this is another call than the one that was made before: {known.name}")
            if known.finished or running.replaying or not may_repeat(known):
                return await self._calls.answer_of(known)
        if running.replaying:
            raise LookupError("this call was not made the first time")
        of = {"cell": running.cell, "number": place}
        call = running.calls[place] = DoneCall(name, arguments)
        return await self._calls.recorded(f"{running.cell}.{place}", name, arguments, of, call)

    async def _result_of(self, done: DoneCell) -> dict[str, Any]:
        if done.result is not None:
            return done.result
        value: dict[str, Any] = json.loads(await self._log.blob(done.blob))
        return value


def seed_of(seed: int, context: str) -> int:
    """Returns the seed of a context's random numbers."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{context}".encode()).digest()[:4], "big")


class _Running:
    """A cell that runs, with the calls that are known of it from an earlier time."""

    def __init__(
        self,
        cell: str,
        known: dict[int, DoneCall],
        recorded: "asyncio.Future[None] | None" = None,
        *,
        files: int = 0,
        replaying: bool = False,
    ) -> None:
        self.files = files
        self.cell, self.known, self.recorded, self.replaying = cell, known, recorded, replaying
        self.calls: dict[int, DoneCall] = dict(known)
        self._places = itertools.count(1)

    def next_call(self) -> int:
        """Returns the place of the next call in this cell."""
        return next(self._places)


def _as_json(result: Result) -> dict[str, Any]:
    return {
        "status": result.status,
        "text": result.text,
        "outputs": result.outputs,
        "error": None if result.error is None else dataclasses.asdict(result.error),
        "truncated": result.truncated,
        "seconds": round(result.seconds, 6),
        "execution_count": result.execution_count,
    }


def _is_kept_as_it_is(value: dict[str, Any]) -> bool:
    """Whether a log takes a result, which has what the code has made of it: half of a character, say."""
    try:
        encode("a result", value)
    except RefusedError:
        return False
    return True
