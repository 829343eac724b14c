"""A session that is live here. What it does is in its log before anybody is told, so that it can be brought back."""

import asyncio
import contextlib
import dataclasses
import hashlib
import itertools
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from workbook.sandbox.isolation.box import SERVER_ENDED
from workbook.sandbox.outputs import Result
from workbook.sandbox.service import journal
from workbook.sandbox.service.checks import encode
from workbook.sandbox.service.journal import DoneCall, DoneCell, History
from workbook.sandbox.service.live import (
    CELL_LIMITS,
    CellLimits,
    CheckpointRefused,
    ContextLost,
    LiveBox,
    OnMessage,
    SessionLost,
)
from workbook.sandbox.service.programs import Programs, Running
from workbook.sandbox.service.session_calls import Call, KeyConflictError, SessionCalls, may_repeat
from workbook.sandbox.service.session_files import NO_CHANGE, SessionFiles
from workbook.sandbox.service.session_log import Log
from workbook.sandbox.service.store import FencedError, NewEvent, RefusedError, SessionRecord, Store, StoreError

MAIN = "main"
"""The context that each session has from the start."""

LARGE = 256 << 10
"""Bytes of a result's JSON that stand in the log; larger ones are blobs."""

CHECKPOINT_AFTER = 2.0
"""Seconds of cells that would have to be executed again; then their state is kept instead."""

MakeBox = Callable[["Session"], Awaitable[LiveBox]]


class Session:
    """A session, its box, and its log. For the tasks of one event loop.

    Attributes:
        record: As the store has it; only who holds its epoch writes the log.
        last_used: When it was asked for something the last time, by `time.monotonic`.
        programs: Those that were started in it.
    """

    def __init__(self, record: SessionRecord, store: Store, make_box: MakeBox, calls: dict[str, Call]) -> None:
        """Prepares it; `create` or `restore` makes it live.

        Args:
            record: Of which this node is the owner.
            store: Keeps its log.
            make_box: Makes a box for it.
            calls: What its code may ask the service for, by name.
        """
        self.record, self.last_used = record, time.monotonic()
        self._store, self._make_box = store, make_box
        self._box: LiveBox | None = None
        self._history = History()
        self._locks: dict[str, asyncio.Lock] = {}
        self._under_way: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._current: dict[str, _Running] = {}  # by context
        self._numbers = itertools.count(1)
        self._since_checkpoint = 0.0
        self._let_go = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = Log(store, record, self.let_go)
        self._files = SessionFiles(self._log, self._live)
        self._own = SessionCalls(self._log, calls, lambda: next(self._numbers))
        self.programs = Programs()

    # Its life.

    async def create(self, ready: "ReadyBox | None" = None, key: str = "") -> None:
        """Begins it.

        Args:
            ready: A box that has the main context already; one is made where it is left out.
            key: With which it was asked for.
        """
        seed = ready.seed if ready else secrets.randbits(32)
        self._history.seed = seed
        if ready:
            self._box = ready.box
        else:
            self._box = await self._make_box(self)
            await self._box.open(MAIN, seed_of(seed, MAIN))
        self._locks[MAIN], self._history.contexts[MAIN] = asyncio.Lock(), []
        created, opened = (
            NewEvent(journal.CREATED, {"seed": seed, "key": key}),
            NewEvent(journal.CONTEXT_OPENED, {"context": MAIN}),
        )
        await self._log.append(created, opened)

    async def restore(self, node: str) -> None:
        """Brings it back from its log: its files, and the state of its contexts, by checkpoint and by executing again.

        Calls are answered from the log; none is made a second time.
        """
        began = time.monotonic()
        log = await self._store.events(self.record.id)
        if not log:  # whoever was to begin it has ended before that
            await self.create()
            return
        self._history = journal.read(log)
        self._files.entries, self._own.own = self._history.files, self._history.own_calls
        self._numbers = itertools.count(self._history.last + 1)
        self._box = await self._make_box(self)
        executed = 0
        for context in list(self._history.contexts):
            executed += await self._restore_context(context)
        await self._files.restore()
        lost = []
        for program, command in self._history.programs.items():
            self.programs.add_lost(program, command)
            lost.append(NewEvent(journal.PROGRAM_ENDED, {"program": program, "status": None}))
        what = {"node": node, "seconds": round(time.monotonic() - began, 3), "cells": executed}
        await self._log.append(*lost, NewEvent(journal.RESTORED, what))

    async def _restore_context(self, context: str) -> int:
        box = self._live()
        self._locks.setdefault(context, asyncio.Lock())
        await box.open(context, self._seed_of(context))
        if blob := self._history.checkpoints.get(context):
            await box.restore(context, await self._log.blob(blob))
        cells = self._history.contexts[context]
        for done in cells:
            self._current[context] = _Running(done.cell, "", done.calls, replaying=True)
            await box.execute(context, done.code, done.timeout * 2 + 1)
            self._current.pop(context, None)
        return len(cells)

    async def _revive(self, context: str) -> None:
        """Makes a context anew whose process has ended between two cells."""
        async with self._files.lock:
            await self._restore_context(context)
            await self._files.restore()

    async def close(self, reason: str) -> None:
        """Ends it for good."""
        await self._log.append(NewEvent(journal.CLOSED, {"reason": reason}))
        await self._store.close_session(self.record.id, self.record.epoch)
        await self.let_go()

    async def let_go(self) -> None:
        """Ends its box here; it can be brought back, here or elsewhere. Of a cell that runs no end is recorded."""
        self._let_go = True
        if self._box is not None:
            await self._box.close()

    @property
    def lost(self) -> str:
        """Why its box has ended; empty while it lives."""
        return self._box.lost if self._box else "it has no box yet"

    @property
    def busy(self) -> bool:
        """Whether a cell or a program runs in it."""
        return bool(self._current) or any(not running.ended for running in self.programs.list())

    # What it is asked for.

    async def open_context(self, context: str) -> None:
        """Makes a context."""
        self._used()
        await self._live().open(context, self._seed_of(context))
        self._locks[context] = asyncio.Lock()
        self._history.contexts[context] = []
        await self._log.append(NewEvent(journal.CONTEXT_OPENED, {"context": context}))

    async def end_context(self, context: str) -> None:
        """Ends a context, in the middle of a cell too."""
        self._used()
        self._locks.pop(context, None)
        self._history.contexts.pop(context, None)
        await self._live().end_context(context)
        await self._log.append(NewEvent(journal.CONTEXT_ENDED, {"context": context, "reason": "asked for"}))

    @property
    def contexts(self) -> list[str]:
        """Its contexts."""
        return list(self._history.contexts)

    async def execute(
        self,
        code: str,
        *,
        context: str = MAIN,
        timeout: float = 30.0,
        key: str = "",
        limits: CellLimits = CELL_LIMITS,
        on_message: OnMessage | None = None,
    ) -> dict[str, Any]:
        """Executes a cell when those before it in its context are done, and returns the result as JSON.

        Args:
            code: Its source.
            context: Where.
            timeout: Seconds that it may take.
            key: Of the caller's choice: what was done with it once is not done again, its result is returned again.
            limits: What it may put out.
            on_message: Is called with its messages while it runs.

        Raises:
            KeyConflictError: The key was used for another cell.
            ContextLost: There is no such context.
            SessionLost: The box has ended.
        """
        self._used()
        if key:
            if (known := self._history.codes_by_key.get(key)) is not None and known != code:
                raise KeyConflictError(f"the key {key!r} was used for another cell")
            if done := self._history.by_key.get(key):
                return await self._result_of(done)
            if waiting := self._under_way.get(key):
                return await asyncio.shield(waiting)
        task = asyncio.ensure_future(self._execute(code, context, timeout, key, limits, on_message))
        if key:
            self._under_way[key] = task
            self._history.codes_by_key[key] = code
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return await asyncio.shield(task)  # who asked may hang up: the cell goes on, and is recorded

    async def _execute(
        self, code: str, context: str, timeout: float, key: str, limits: CellLimits, on_message: OnMessage | None
    ) -> dict[str, Any]:
        lock = self._locks.get(context)
        if lock is None:
            raise ContextLost(f"there is no context {context!r}")
        async with lock:
            box = self._live()
            if context not in box.contexts and context in self._history.contexts and not box.lost:
                await self._revive(context)
            cell = f"c{next(self._numbers)}"
            begun = {"cell": cell, "context": context, "code": code, "timeout": timeout, "key": key}
            await self._log.append(NewEvent(journal.CELL_STARTED, begun))
            earlier = self._history.calls_by_key.pop(key, {}) if key else {}
            running = self._current[context] = _Running(cell, key, earlier)
            try:
                result = await box.execute(context, code, timeout, limits, on_message)
            finally:
                self._current.pop(context, None)
                self._used()
            if self._let_go or box.lost == SERVER_ENDED:  # it has not died: it is executed again, here or elsewhere
                raise SessionLost("the session was let go of while the cell ran")
            return await self._finish(cell, context, code, timeout, key, result, running)

    async def _finish(
        self, cell: str, context: str, code: str, timeout: float, key: str, result: Result, running: "_Running"
    ) -> dict[str, Any]:
        """Writes down what came of a cell."""
        value = {"cell": cell, "context": context, **_as_json(result)}
        async with self._files.lock:
            *before, change = [NO_CHANGE] if self.lost else await self._files.changes()
            blobs = change.blobs
            packed = json.dumps(value).encode()
            data: dict[str, Any] = {"cell": cell, "context": context, "lost": result.state_lost, **change.data}
            if len(packed) <= LARGE and _is_kept_as_it_is(value):
                data["result"] = value
            else:
                data["blob"] = await self._log.put_blob(packed)
                blobs = (*change.blobs, data["blob"])
            await self._log.record(*before, NewEvent(journal.CELL_FINISHED, data, tuple(dict.fromkeys(blobs))))
            self._files.note([*before, change])
        done = DoneCell(
            cell, context, code, timeout, data.get("result"), data.get("blob", ""), result.state_lost, running.calls
        )
        if key:
            self._history.by_key[key] = done
        await self._note(context, done, result)
        return value

    async def _note(self, context: str, done: DoneCell, result: Result) -> None:
        if self.lost or context not in self._history.contexts:
            return
        if result.state_lost:
            self._history.contexts[context] = []
            self._history.checkpoints.pop(context, None)
            await self._live().open(context, self._seed_of(context))
            await self._log.append(NewEvent(journal.CONTEXT_OPENED, {"context": context}))
            return
        self._history.contexts[context].append(done)
        self._since_checkpoint += result.seconds
        if self._since_checkpoint > CHECKPOINT_AFTER:
            await self._checkpoint(context)

    async def _checkpoint(self, context: str) -> None:
        """Keeps the state of a context; where it cannot be kept, its cells will be executed again instead."""
        self._since_checkpoint = 0.0
        try:
            data = await self._live().checkpoint(context)
        except (CheckpointRefused, ContextLost, SessionLost):
            return
        blob = await self._log.put_blob(data)
        await self._log.append(NewEvent(journal.CHECKPOINT, {"contexts": {context: blob}}, (blob,)))
        before = self._history.checkpoints.get(context)
        self._history.checkpoints[context], self._history.contexts[context] = blob, []
        if before and before != blob:
            await self._store.drop_blobs(self.record.id, self.record.epoch, [before])

    def interrupt(self, context: str = MAIN) -> None:
        """Raises KeyboardInterrupt in the cell that runs in a context."""
        self._used()
        self._live().interrupt(context)

    async def file(self, action: str, blobs: Sequence[bytes] = (), **arguments: Any) -> tuple[Any, list[bytes]]:
        """Does something with a file; what changes one is in the log before this returns.

        Raises:
            FileRefused: The session's file system refuses.
            SessionLost: The box has ended.
        """
        self._used()
        if action in ("read", "stat", "list"):
            return await self._live().file(action, blobs, **arguments)
        async with self._files.lock:
            came = await self._live().file(action, blobs, **arguments)
            await self._files.record()
        return came

    async def write_files(self, files: Mapping[str, bytes]) -> None:
        """Writes many files; all are in the log before this returns.

        Raises:
            FileRefused: The session's file system refuses one of them.
            SessionLost: The box has ended.
        """
        self._used()
        async with self._files.lock:
            try:
                for path, data in files.items():
                    await self._live().file("write", [data], path=path)
            finally:
                await self._files.record()

    async def note(self, event: NewEvent) -> None:
        """Adds to its log what only whoever asks knows of."""
        await self._log.append(event)

    async def call(self, name: str, arguments: dict[str, Any], key: str = "") -> tuple[Any, list[bytes]]:
        """Does what code may ask for, for the caller; see `SessionCalls.call`."""
        self._used()
        return await self._own.call(name, arguments, key)

    async def start(
        self, command: Sequence[str], environment: dict[str, str] | None = None, *, has_input: bool = False
    ) -> Running:
        """Starts a program in the workspace. What it changes there is recorded with the next cell or file.

        Raises:
            FileRefused: It cannot be started.
            SessionLost: The box has ended.
        """
        self._used()
        name = f"p{next(self._numbers)}"
        event = NewEvent(journal.PROGRAM_STARTED, {"program": name, "command": list(command)})
        await self._log.append(event)
        try:
            running = await self.programs.start(self._live(), name, command, environment or {}, has_input=has_input)
        except BaseException:
            await self._log.append(NewEvent(journal.PROGRAM_ENDED, {"program": name, "status": None}))
            raise
        self._await_end(running)
        return running

    def _await_end(self, running: Running) -> None:
        async def record() -> None:
            async for _ in running.follow(1 << 62):
                pass
            if not self.lost and not self._let_go:
                # Where it cannot be recorded, it is told as lost when the session comes back.
                with contextlib.suppress(StoreError, FencedError, SessionLost):
                    async with self._files.lock:
                        end = NewEvent(journal.PROGRAM_ENDED, {"program": running.name, "status": running.status})
                        changes = await self._files.changes()
                        await self._log.record(*changes, end)
                        self._files.note(changes)

        task = asyncio.create_task(record())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def write_to(self, program: str, data: bytes) -> None:
        """Gives a program something to read; nothing ends its input.

        Raises:
            UnknownProgramError: There is none of that name.
            SessionLost: The box has ended.
        """
        self._used()
        if (found := self.programs[program].program) is not None:
            self._live().write_to(found, data)

    def signal(self, program: str, number: int) -> None:
        """Signals a program and what it has started, if it still runs.

        Raises:
            UnknownProgramError: There is none of that name.
            SessionLost: The box has ended.
        """
        self._used()
        if (found := self.programs[program].program) is not None:
            self._live().signal(found, number)

    # Calls.

    async def on_call(self, context: str, name: str, arguments: dict[str, Any]) -> tuple[Any, list[bytes]]:
        """Answers code in a context; see `live.OnCall`. Of a cell that is executed again, from the log."""
        running = self._current.get(context)
        if running is None:
            raise LookupError("only a cell that runs can ask the service for something")
        place = running.next_call()
        known = running.known.get(place)
        if known is not None:
            if (known.name, known.arguments) != (name, arguments):
                raise LookupError(f"this is another call than the one that was made before: {known.name}")
            if known.finished or running.replaying or not may_repeat(known):
                return await self._own.answer_of(known)
        if running.replaying:
            raise LookupError("this call was not made the first time")
        of = {"cell": running.cell, "number": place}
        call = running.calls[place] = DoneCall(name, arguments)
        value, blobs = await self._own.recorded(f"{running.cell}.{place}", name, arguments, of, call)
        return value, blobs

    async def _result_of(self, done: DoneCell) -> dict[str, Any]:
        if done.result is not None:
            return done.result
        value: dict[str, Any] = json.loads(await self._log.blob(done.blob))
        return value

    def _seed_of(self, context: str) -> int:
        return seed_of(self._history.seed, context)

    def _live(self) -> LiveBox:
        if self._box is None:
            raise SessionLost("it has no box yet")
        return self._box

    def _used(self) -> None:
        self.last_used = time.monotonic()


@dataclasses.dataclass(frozen=True)
class ReadyBox:
    """A box that waits for a session: its main context is open.

    Attributes:
        box: The box.
        seed: Of the session's random numbers.
    """

    box: LiveBox
    seed: int


def seed_of(seed: int, context: str) -> int:
    """Returns the seed of a context's random numbers."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{context}".encode()).digest()[:4], "big")


class _Running:
    """A cell that runs, with the calls that are known of it from an earlier time."""

    def __init__(self, cell: str, key: str, known: dict[int, DoneCall], *, replaying: bool = False) -> None:
        self.cell, self.key, self.known, self.replaying = cell, key, known, replaying
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
        "state_lost": result.state_lost,
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
