"""A session that is live here. What it does is in its log before anybody is told, so that it can be brought back."""

import asyncio
import contextlib
import itertools
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from workbook.sandbox.service import journal
from workbook.sandbox.service.live import LiveBox
from workbook.sandbox.service.live_types import CELL_LIMITS, CellLimits, OnMessage, SessionLost
from workbook.sandbox.service.programs import Programs, Running
from workbook.sandbox.service.session_calls import Call, KeyConflictError, SessionCalls
from workbook.sandbox.service.session_cells import SessionCells, seed_of
from workbook.sandbox.service.session_files import SessionFiles
from workbook.sandbox.service.session_log import Log
from workbook.sandbox.service.store import FencedError, NewEvent, SessionRecord, Store, StoreError

MAIN = "main"
"""The context that each session has from the start."""

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
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = Log(store, record, self._end_box, lambda: self.lost)
        self._files = SessionFiles(self._log, self._live)
        self._own = SessionCalls(self._log, calls, self._number)
        self._cells = SessionCells(self._log, self._files, self._own, self._number, self._live, self._has_programs)
        self._starting = asyncio.Lock()
        self.programs = Programs()

    # Its life.

    async def create(self, ready: "ReadyBox | None" = None, key: str = "") -> None:
        """Begins it.

        Args:
            ready: A box that has the main context already; one is made where it is left out.
            key: With which it was asked for.
        """
        seed = ready.seed if ready else secrets.randbits(32)
        self._cells.history.seed = seed
        if ready:
            self._box = ready.box
        else:
            self._box = await self._make_box(self)
            await self._box.open(MAIN, seed_of(seed, MAIN))
        await self._log.append(NewEvent(journal.CREATED, {"seed": seed, "key": key}), self._cells.begin(MAIN))

    async def restore(self, node: str) -> None:
        """Brings it back from its log: its files, and the state of its contexts, by checkpoint and by executing again.

        Calls are answered from the log; none is made a second time.
        """
        began = time.monotonic()
        log = await self._store.events(self.record.id)
        if not log:  # whoever was to begin it has ended before that
            await self.create()
            return
        history = self._cells.history = journal.read(log)
        self._files.history, self._files.by_key = history.files, history.files_by_key
        self._own.own = history.own_calls
        self._numbers = itertools.count(history.last + 1)
        self._box = await self._make_box(self)
        replayed = [await self._cells.restore(context) for context in list(history.contexts)]
        await self._files.make()
        for program, command, _ in history.programs_by_key.values():
            if program in history.statuses:
                self.programs.add_ended(program, command, history.statuses[program])
        lost = []
        for program, command in history.programs.items():
            self.programs.add_lost(program, command)
            lost.append(NewEvent(journal.PROGRAM_ENDED, {"program": program, "status": None}))
        what = {
            "node": node,
            "seconds": round(time.monotonic() - began, 3),
            "cells": sum(one["cells"] for one in replayed),
            "otherwise": [cell for one in replayed for cell in one["otherwise"]],
        }
        await self._log.append(*lost, NewEvent(journal.RESTORED, what))

    async def close(self, reason: str) -> None:
        """Ends it for good."""
        await self._log.append(NewEvent(journal.CLOSED, {"reason": reason}))
        await self._store.close_session(self.record.id, self.record.epoch)
        await self.let_go()

    async def let_go(self) -> None:
        """Ends its box here; it can be brought back, here or elsewhere. Of a cell that runs no end is recorded."""
        await self._log.give_up()

    async def _end_box(self) -> None:
        if self._box is not None:
            await self._box.close()

    @property
    def lost(self) -> str:
        """Why its box has ended; empty while it lives."""
        return self._box.lost if self._box else "it has no box yet"

    @property
    def busy(self) -> bool:
        """Whether a cell or a program runs in it."""
        return self._cells.busy or self._has_programs()

    def _has_programs(self) -> bool:
        return any(not running.ended for running in self.programs.list())

    # What it is asked for.

    async def open_context(self, context: str) -> None:
        """Makes a context."""
        self._used()
        await self._cells.open(context)

    async def end_context(self, context: str) -> None:
        """Ends a context, in the middle of a cell too."""
        self._used()
        await self._cells.end(context)

    @property
    def contexts(self) -> list[str]:
        """Its contexts."""
        return list(self._cells.history.contexts)

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

        A cell in which the context's process ends costs what it has defined itself: what the cells before it had
        defined is brought back, with the next one.

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
        try:
            return await self._cells.execute(code, context, timeout, key, limits, on_message)
        finally:
            self._used()

    def interrupt(self, context: str = MAIN) -> None:
        """Raises KeyboardInterrupt in the cell that runs in a context."""
        self._used()
        if not self._cells.replaying(context):  # what is executed again ends as it did
            self._live().interrupt(context)

    async def on_call(self, context: str, name: str, arguments: dict[str, Any]) -> tuple[Any, list[bytes]]:
        """Answers code in a context; see `live_types.OnCall`."""
        return await self._cells.on_call(context, name, arguments)

    async def call(self, name: str, arguments: dict[str, Any], key: str = "") -> tuple[Any, list[bytes]]:
        """Does what code may ask for, for the caller; see `SessionCalls.call`."""
        self._used()
        return await self._own.call(name, arguments, key)

    async def file(
        self, action: str, blobs: Sequence[bytes] = (), *, key: str = "", **arguments: Any
    ) -> tuple[Any, list[bytes]]:
        """Does something with a file; what changes one is in the log before this returns.

        Args:
            action: See `workspace.Workspace.do`.
            blobs: Contents.
            key: With which a change is made once; what it gave is returned again.
            **arguments: As the action takes them.

        Raises:
            FileRefused: The session's file system refuses.
            KeyConflictError: The key was used for another change.
            SessionLost: The box has ended.
        """
        self._used()
        if action in ("read", "stat", "list"):
            return await self._live().file(action, blobs, **arguments)
        return await self._files.change(action, blobs, key, arguments), []

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

    # Programs.

    async def start(
        self,
        command: Sequence[str],
        environment: dict[str, str] | None = None,
        *,
        has_input: bool = False,
        key: str = "",
    ) -> Running:
        """Starts a program in the workspace. What it changes there is recorded with the next cell or file.

        Args:
            command: The program and its arguments.
            environment: Variables besides those that there are.
            has_input: Whether `write_to` will give it something to read.
            key: With which it is started once; the same one is returned again.

        Raises:
            FileRefused: It cannot be started.
            KeyConflictError: The key was used for another one.
            UnknownProgramError: It was started with this key, and is forgotten by now.
            SessionLost: The box has ended.
        """
        self._used()
        if not key:
            return await self._start(command, environment or {}, has_input)
        asked = journal.digest(json.dumps([list(command), environment or {}, has_input]))
        known = self._cells.history.programs_by_key
        async with self._starting:
            if key not in known:
                running = await self._start(command, environment or {}, has_input, {"key": key, "asked": asked})
                known[key] = running.name, list(command), asked
                return running
            program, _, was = known[key]
            if was != asked:
                raise KeyConflictError(f"the key {key!r} was used for another program")
            return self.programs[program]

    async def _start(
        self,
        command: Sequence[str],
        environment: dict[str, str],
        has_input: bool,
        of: Mapping[str, str] = MappingProxyType({}),
    ) -> Running:
        name = f"p{self._number()}"
        await self._log.append(NewEvent(journal.PROGRAM_STARTED, {"program": name, "command": list(command), **of}))
        try:
            async with self._files.lock:  # while files are what they were at another time, none begins
                running = await self.programs.start(self._live(), name, command, environment, has_input=has_input)
        except BaseException:
            failed = {"program": name, "status": None, "failed": True}
            await self._log.append(NewEvent(journal.PROGRAM_ENDED, failed))
            raise
        task = asyncio.create_task(self._record_end(running))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return running

    async def _record_end(self, running: Running) -> None:
        async for _ in running.follow(1 << 62):
            pass
        if not self.lost and not self._log.given_up:
            # Where it cannot be recorded, it is told as lost when the session comes back.
            with contextlib.suppress(StoreError, FencedError, SessionLost):
                async with self._files.lock, self._log.or_give_up():
                    end = NewEvent(journal.PROGRAM_ENDED, {"program": running.name, "status": running.status})
                    changes = await self._files.changes()
                    await self._log.record(*changes, end)
                    self._files.note(changes)

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

    def _number(self) -> int:
        return next(self._numbers)

    def _live(self) -> LiveBox:
        if self._box is None:
            raise SessionLost("it has no box yet")
        return self._box

    def _used(self) -> None:
        self.last_used = time.monotonic()


@dataclass(frozen=True)
class ReadyBox:
    """A box that waits for a session: its main context is open.

    Attributes:
        box: The box.
        seed: Of the session's random numbers.
    """

    box: LiveBox
    seed: int
