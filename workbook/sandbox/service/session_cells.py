"""The cells of a session: executed one after another in each context, recorded, and executed again to bring it back."""

import asyncio
import contextlib
import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable
from typing import Any

from workbook.sandbox.isolation.box import SERVER_ENDED
from workbook.sandbox.outputs import Result
from workbook.sandbox.service import journal
from workbook.sandbox.service.checks import MAX_EVENT, encode
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
from workbook.sandbox.service.store import NewEvent, RefusedError, StoreError

LARGE = 256 << 10
"""Bytes of a result's JSON that stand in the log; larger ones are blobs."""

_BESIDE_CODE = 4 << 10  # bytes of the event of a cell's beginning

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
        self._unrecorded: set[_Running] = set()  # these, and those whose end is not in the log yet
        self._tasks: set[asyncio.Task[dict[str, Any]]] = set()
        self._opening = asyncio.Lock()  # held while contexts are opened
        self._since_checkpoint = 0.0

    @property
    def busy(self) -> bool:
        """Whether one runs, waits, or is being recorded."""
        return bool(self._tasks)

    def replaying(self, context: str) -> bool:
        """Whether a context executes again what it did before."""
        return context in self._current and self._current[context].replaying

    # Contexts.

    def begin(self, context: str) -> NewEvent:
        """Takes a context that the box has opened; returns what the log is to say of it."""
        self._locks.setdefault(context, asyncio.Lock())
        self.history.contexts[context] = []
        return NewEvent(journal.CONTEXT_OPENED, {"context": context})

    async def open(self, context: str) -> None:
        """Makes a context; one that is there stays as it is."""
        async with self._opening:
            if context not in self.history.contexts:
                await self._box().open(context, seed_of(self.history.seed, context))
                await self._log.record(self.begin(context))

    async def end(self, context: str) -> None:
        """Ends a context, in the middle of a cell too."""
        self._locks.pop(context, None)
        self.history.forget(context)
        await self._box().end_context(context)
        await self._log.record(NewEvent(journal.CONTEXT_ENDED, {"context": context, "reason": "asked for"}))

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
            if self.history.contexts.get(context) is cells:  # it was not ended meanwhile
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
        async with self._opening, self._files.lock, self._log.or_give_up():
            if context in self.history.contexts:
                await self._files.record()  # what others have made so far is not undone
                replayed = await self._replay(context)
                await self._log.record(NewEvent(journal.CONTEXT_RESTORED, {"context": context, **replayed}))
            if context not in self.history.contexts:  # it was ended meanwhile
                await self._box().end_context(context)

    async def _replay(self, context: str) -> dict[str, Any]:
        """Restores a context in a box with others, whose files stay what they are."""
        if not self._current and not self._has_programs():
            self._files.begin()
            replayed = await self.restore(context)
            await self._files.make()
            return replayed
        # What runs beside it must not see files that are no more: its cells have to do with those that are, and what
        # they have changed is changed back.
        files, cells = self._files.history, self.history.contexts[context]
        before = {path: files.entries.get(path) for one in cells for path in files.paths(one.files, one.files_after)}
        replayed = await self.restore(context, with_files=False)
        await self._files.change_back(before)
        return replayed

    # Cells.

    async def execute(
        self, code: str, context: str, timeout: float, key: str, limits: CellLimits, on_message: OnMessage | None
    ) -> dict[str, Any]:
        """Executes a cell; see `Session.execute`."""
        encode("a cell", {"code": code}, MAX_EVENT - _BESIDE_CODE)  # what the log refuses is not begun
        digest = journal.digest(code)
        if key:
            if self.history.codes_by_key.get(key, digest) != digest:
                raise KeyConflictError(f"the key {key!r} was used for another cell")
            if place := self.history.by_key.get(key):
                return await self._result_at(place)
            if waiting := self._under_way.get(key):
                return await asyncio.shield(waiting)
        task = asyncio.ensure_future(self._execute(code, context, timeout, key, limits, on_message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if key:
            self._under_way[key] = task
            self.history.codes_by_key[key] = digest
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
            if self._locks.get(context) is lock and context not in box.contexts and not box.lost:
                await self._revive(context)
            if self._locks.get(context) is not lock:
                raise ContextLost(f"the context {context!r} has ended")
            cell = f"c{self._number()}"
            begun = {"cell": cell, "context": context, "code": code, "timeout": timeout, "key": key}
            # The log hears of it while it begins: until then it can change nothing but the box, which goes if the log
            # refuses. What it asks the service for waits.
            async with self._files.lock:  # while files are what they were at another time, none begins
                recorded = asyncio.ensure_future(self._log.record(NewEvent(journal.CELL_STARTED, begun)))
                earlier = self.history.calls_by_key.get(key, {}) if key else {}
                running = _Running(cell, earlier, recorded, files=self._files.history.place)
                self._current[context] = running
                self._unrecorded.add(running)
                cells = self.history.contexts.get(context)
            try:
                try:
                    result = await box.execute(context, code, timeout, limits, on_message)
                finally:
                    self._current.pop(context, None)
                    await recorded
                if self._log.given_up or box.lost == SERVER_ENDED:  # it has not died: it is executed again, somewhere
                    raise SessionLost("the session was let go of while the cell ran")
                done = DoneCell(cell, context, code, timeout, running.files, running.calls)
                value = await self._finish(done, cells, key, result)
            finally:
                self._unrecorded.discard(running)
            if self._since_checkpoint > CHECKPOINT_AFTER and not done.ended:
                await self._checkpoint(context)
            return value

    async def _finish(self, done: DoneCell, cells: list[DoneCell] | None, key: str, result: Result) -> dict[str, Any]:
        """Writes down what came of a cell, and adds it to those of its context."""
        done.status, done.seconds, done.ended = result.status, result.seconds, result.state_lost
        done.interrupted = result.status == "timeout" or (
            result.error is not None and result.error.name == "KeyboardInterrupt"
        )
        value = {"cell": done.cell, "context": done.context, **_as_json(result)}
        value["state_lost"] = done.context in self.history.gone
        self.history.gone.discard(done.context)
        async with self._files.lock, self._log.or_give_up():
            nobody_knows = done.ended and self._box().lost
            *before, change = [NO_CHANGE] if nobody_knows else await self._files.changes(told=not done.ended)
            blobs = change.blobs
            packed = json.dumps(value).encode()
            how = {name: getattr(done, name) for name in ("status", "seconds", "interrupted", "ended")}
            data: dict[str, Any] = {"cell": done.cell, "context": done.context, **how, **change.data}
            if len(packed) <= LARGE and _is_kept_as_it_is(value):
                data["result"] = value
            else:
                data["blob"] = await self._log.put_blob(packed)
                blobs = (*change.blobs, data["blob"])
            place = await self._log.record(*before, NewEvent(journal.CELL_FINISHED, data, tuple(dict.fromkeys(blobs))))
            self._files.note([*before, change])
            done.files_after = self._files.history.place
        if key:
            self.history.by_key[key] = place
        if not done.ended and cells is not None and self.history.contexts.get(done.context) is cells:
            cells.append(done)
            self._since_checkpoint += result.seconds
        return value

    async def _checkpoint(self, context: str) -> None:
        """Keeps the state of a context; where it cannot be kept, its cells will be executed again instead."""
        self._since_checkpoint = 0.0
        cells = self.history.contexts.get(context)
        try:
            blob = await self._log.put_blob(await self._box().checkpoint(context))
            if cells is None or self.history.contexts.get(context) is not cells:  # it has ended meanwhile
                return
            await self._log.append(NewEvent(journal.CHECKPOINT, {"contexts": {context: blob}}, (blob,)))
        except (CheckpointRefused, ContextLost, SessionLost, RefusedError, StoreError):
            return
        if self.history.contexts.get(context) is not cells:
            return
        before = self.history.checkpoints.get(context)
        self.history.checkpoints[context], self.history.contexts[context] = blob, []
        kept = [done.files for cells in self.history.contexts.values() for done in cells]
        kept += [running.files for running in self._unrecorded]
        self._files.history.forget(min(kept, default=self._files.history.place))
        used = {*self.history.checkpoints.values(), *(entry.blob for entry in self._files.history.entries.values())}
        if before and before not in used:  # equal contents are one blob
            with contextlib.suppress(StoreError):
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

    async def _result_at(self, place: int) -> dict[str, Any]:
        """Returns what a cell gave, of which the log has the end there."""
        data = (await self._log.event(place)).data
        value: dict[str, Any] = data["result"] if "result" in data else json.loads(await self._log.blob(data["blob"]))
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
        recorded: "asyncio.Future[int] | None" = None,
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
