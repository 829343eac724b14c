"""A session's box, driven by the event loop: contexts, files, programs, calls. All that it says is untrusted."""

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from workbook.sandbox.isolation.box import Box, BoxDied
from workbook.sandbox.isolation.cells import GRACE
from workbook.sandbox.isolation.channel import ChannelError
from workbook.sandbox.outputs import CellError, Outputs, Result
from workbook.sandbox.service import live_changes
from workbook.sandbox.service.live_cell import End, LiveCell
from workbook.sandbox.service.live_programs import LivePrograms
from workbook.sandbox.service.live_types import (
    CELL_LIMITS,
    MOST_NAME,
    CellLimits,
    CheckpointRefused,
    ContextLost,
    FileRefused,
    OnCall,
    OnMessage,
    Program,
    SessionLost,
)

CHECKPOINT_SECONDS = 10.0
"""What a checkpoint of a context may take."""

PATIENCE = 30.0
"""Seconds in which a box's supervisor must answer; code in the box can stop it."""

_AT_ONCE = 100  # messages of a box that are dealt with before others have their turn
_T = TypeVar("_T")


class LiveBox:
    """A box whose supervisor is `inside`. For one event loop."""

    def __init__(self, box: Box, on_call: OnCall, on_end: Callable[[str], None] = lambda _: None) -> None:
        """Takes a box over, to the end.

        Args:
            box: Just made.
            on_call: Answers what code asks of the service.
            on_end: Is called once with the reason when the box ends by itself.
        """
        self._box, self._on_call, self._on_end = box, on_call, on_end
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._lost = ""
        self._contexts: dict[str, LiveCell | None] = {}
        self._programs = LivePrograms(self._post)
        self._opening: dict[str, asyncio.Future[None]] = {}
        self._ending: dict[str, asyncio.Future[None]] = {}
        self._answers: dict[int, tuple[str, asyncio.Future[tuple[Any, list[bytes]]]]] = {}  # with what is to be done
        self._changes: list[dict[str, Any] | None] = []  # in the order in which they came; nobody has taken them yet
        self._checkpoints: dict[int, tuple[str, asyncio.Future[bytes]]] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._watched = box.descriptors()
        for descriptor in self._watched:
            self._loop.add_reader(descriptor, self._ready)

    @property
    def lost(self) -> str:
        """Why the box has ended; empty while it lives."""
        return self._lost

    @property
    def contexts(self) -> list[str]:
        """The contexts that live."""
        return list(self._contexts)

    # What is asked of it.

    async def open(self, context: str, seed: int = 0) -> None:
        """Makes a context, with random numbers of that seed (32 bits).

        Raises:
            SessionLost: The box has ended.
        """
        self._opening[context] = future = self._loop.create_future()
        self._post({"do": "open", "context": context, "seed": seed})
        await self._answered(future)

    async def execute(
        self,
        context: str,
        code: str,
        timeout: float,
        limits: CellLimits = CELL_LIMITS,
        on_message: OnMessage | None = None,
    ) -> Result:
        """Executes a cell in a context in which none runs, and returns what came of it, whatever that is.

        At its deadline it is interrupted; what then goes on for GRACE seconds costs the context.

        Raises:
            SessionLost: The box had ended before.
            ContextLost: There is no such context.
        """
        if context not in self._contexts:
            self._raise_if_lost()
            raise ContextLost(f"there is no context {context!r}")
        began = time.perf_counter()
        outputs = Outputs(limits.output_bytes, limits.outputs)
        cell = LiveCell(outputs, on_message, self._loop.create_future())
        self._contexts[context] = cell
        try:
            self._post({"do": "send", "context": context, "frame": {"execute": code}})
            end = await self._end(context, cell, timeout)
        except SessionLost as error:
            end = End("died", CellError("DeadKernelError", str(error)), lost=True)
        finally:
            if self._contexts.get(context) is cell:
                self._contexts[context] = None
        return Result(
            outputs=outputs.list,
            status=end.status,
            error=None if end.error is None else outputs.bounded(end.error),
            state_lost=end.lost,
            truncated=outputs.truncated,
            seconds=time.perf_counter() - began,
            execution_count=end.count,
        )

    async def _end(self, context: str, cell: LiveCell, timeout: float) -> End:
        """Waits for the end of a cell, and sees to it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):  # not wait_for, which can lose a cancellation in Python 3.11
                return await asyncio.shield(cell.end)
        late = CellError("TimeoutError", f"it took longer than {timeout:g} s")
        self.interrupt(context)
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                return replace(await asyncio.shield(cell.end), status="timeout", error=late)
        self._post({"do": "close", "context": context})
        end = await self._answered(cell.end, GRACE)
        return replace(end, status="timeout", error=late, lost=True)

    async def checkpoint(self, context: str) -> bytes:
        """Returns what a context's cells have defined, in a form that `restore` takes. No cell may be running in it.

        Raises:
            SessionLost: The box has ended.
            ContextLost: The context has.
            CheckpointRefused: Something that they have defined cannot be taken along.
        """
        return await self._ask(context, "checkpoint")

    async def restore(self, context: str, data: bytes) -> None:
        """Defines in a context what a checkpoint holds.

        Raises:
            SessionLost: The box has ended.
            ContextLost: The context has.
            CheckpointRefused: It cannot be read any more.
        """
        await self._ask(context, "restore", [data])

    async def _ask(self, context: str, what: str, blobs: Sequence[bytes] = ()) -> bytes:
        if context not in self._contexts:
            self._raise_if_lost()
            raise ContextLost(f"there is no context {context!r}")
        number = next(self._numbers)
        future: asyncio.Future[bytes] = self._loop.create_future()
        self._checkpoints[number] = context, future
        try:
            self._post({"do": "send", "context": context, "frame": {what: number}}, blobs)
            async with asyncio.timeout(CHECKPOINT_SECONDS):
                return await future
        except TimeoutError:
            raise CheckpointRefused(f"it took longer than {CHECKPOINT_SECONDS:g} s") from None
        finally:
            self._checkpoints.pop(number, None)

    def interrupt(self, context: str) -> None:
        """Raises KeyboardInterrupt in the cell that a context runs; an idle one ignores it."""
        with suppress(SessionLost):
            self._post({"do": "interrupt", "context": context})

    async def end_context(self, context: str) -> None:
        """Ends a context, in the middle of a cell too, and returns when it has ended.

        Raises:
            SessionLost: The box has ended.
        """
        if context in self._contexts:
            ending = self._ending.setdefault(context, self._loop.create_future())
            self._post({"do": "close", "context": context})
            await self._answered(ending)

    async def file(self, action: str, blobs: Sequence[bytes] = (), **arguments: Any) -> tuple[Any, list[bytes]]:
        """Does something with a file; see `workspace.Workspace.do`.

        Raises:
            SessionLost: The box has ended.
            FileRefused: The session's file system refuses.
        """
        number = next(self._numbers)
        future: asyncio.Future[tuple[Any, list[bytes]]] = self._loop.create_future()
        self._answers[number] = action, future
        self._post({"do": "file", "id": number, "action": action, "arguments": arguments}, blobs)
        try:
            return await self._answered(future)
        finally:
            self._answers.pop(number, None)

    async def changes(self, *, told: bool = False) -> list[dict[str, Any] | None]:
        """Returns what has changed in the workspace since the last call, in order; see `workspace.Workspace.changes`.

        Where there were too many files to look at, that is None.

        Args:
            told: Whether what was told with the last cell's end is enough.

        Raises:
            SessionLost: The box has ended.
        """
        if not told:
            with suppress(FileRefused):
                await self.file("changes")
        found, self._changes = self._changes, []
        return found

    async def start(
        self, command: Sequence[str], environment: dict[str, str] | None = None, *, has_input: bool = False
    ) -> Program:
        """Starts a program in the workspace.

        Raises:
            SessionLost: The box has ended.
            FileRefused: It cannot be started.
        """
        return await self._answered(self._programs.start(command, environment or {}, has_input=has_input))

    def write_to(self, program: Program, data: bytes) -> None:
        """Gives a program something to read; nothing ends its input."""
        self._post({"do": "input", "process": program.name}, [data])

    def signal(self, program: Program, number: int) -> None:
        """Signals a program and what it has started."""
        self._post({"do": "signal", "process": program.name, "number": number})

    def processes(self) -> int:
        """How many processes there are in the box."""
        return len(self._box.processes())

    async def close(self) -> None:
        """Ends the box with all that is in it."""
        self._end_all("closed")
        await self._loop.run_in_executor(None, self._box.close)

    async def _answered(self, future: "asyncio.Future[_T]", seconds: float = PATIENCE) -> _T:
        """Waits for what the supervisor must say; a box in which it does not is ended."""
        try:
            return await asyncio.wait_for(asyncio.shield(future), seconds)
        except TimeoutError:
            self._died(f"its supervisor did not answer within {seconds:g} s")
        return await future

    # What it says.

    def _post(self, message: dict[str, Any], blobs: Sequence[bytes] = ()) -> None:
        self._raise_if_lost()
        try:
            self._box.post(message, blobs)
            self._flush()
        except BoxDied as death:
            self._died(death.reason)
            self._raise_if_lost()

    def _flush(self) -> None:
        try:
            done = self._box.flush()
        except BoxDied as death:
            self._died(death.reason)
            return
        channel = self._watched[0]
        if done:
            self._loop.remove_writer(channel)
        else:
            self._loop.add_writer(channel, self._flush)

    def _ready(self) -> None:
        for _ in range(_AT_ONCE):
            if self._lost:
                return
            try:
                frame = self._box.poll(_ignore)
            except BoxDied as death:
                self._died(death.reason)
                return
            except ChannelError as error:
                self._died(f"broke the protocol of its channel: {error}")
                return
            if frame is None:
                return
            self._take_safely(*frame)
        self._loop.call_soon(self._ready)

    def _take_safely(self, message: dict[str, Any], blobs: list[bytes]) -> None:
        """Takes what should be a supervisor's message; what is none ends the box."""
        try:
            self._take(message, blobs)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError):
            self._died("broke the protocol: its supervisor said what none says")

    def _take(self, message: dict[str, Any], blobs: list[bytes]) -> None:
        if "context" in message:
            self._from_context(message["context"], message, blobs)
        elif "answer" in message:
            action, future = self._answers.get(message["answer"], ("", None))
            if future is None or future.done():
                return
            error = message.get("error")
            if action == "changes":  # noted here: whoever waits has it later, and a cell may come to its end meanwhile
                self._changes.append(None if error else live_changes.checked(message["value"]))
            if error:
                future.set_exception(FileRefused(str(error["code"])[:MOST_NAME], str(error["message"])[:1000]))
            else:
                future.set_result((message.get("value"), blobs))
        elif "process" in message:
            self._programs.take(message["process"], message, blobs)

    def _from_context(self, name: str, message: dict[str, Any], blobs: list[bytes]) -> None:
        if "opened" in message:
            if future := self._opening.pop(name, None):  # and nothing that nobody has asked for
                self._contexts[name] = None
                future.set_result(None)
            return
        if name not in self._contexts:
            return
        cell = self._contexts[name]
        if "printed" in message:
            if cell is not None:
                cell.printed(str(message["printed"]), blobs[0])
        elif "ended" in message:
            del self._contexts[name]
            if ending := self._ending.pop(name, None):
                ending.set_result(None)
            for owner, waiting in self._checkpoints.values():
                if owner == name and not waiting.done():
                    waiting.set_exception(ContextLost(f"the context {name!r} has ended"))
            if cell is not None:
                cell.died(message["ended"])
        else:
            frame = message["frame"]
            if cell is not None and "done" in frame and not cell.end.done():
                self._changes.append(live_changes.checked(message["changes"]))
            self._frame(name, cell, frame, blobs)

    def _frame(self, context: str, cell: LiveCell | None, frame: dict[str, Any], blobs: list[bytes]) -> None:
        """Takes what a context's own process has sent."""
        if "checkpoint" in frame:
            owner, waiting = self._checkpoints.get(frame["checkpoint"], ("", None))
            if owner == context and waiting is not None and not waiting.done():
                if problem := frame.get("problem"):
                    waiting.set_exception(CheckpointRefused(str(problem)[:1000]))
                else:
                    waiting.set_result(blobs[0])
        elif "call" in frame:
            task = self._loop.create_task(self._call(context, frame))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)
        elif cell is None:
            return
        elif "done" in frame:
            cell.done(frame["done"])
        else:
            cell.take(frame["message"])

    async def _call(self, context: str, frame: dict[str, Any]) -> None:
        number, name, arguments = frame["call"], frame.get("name"), frame.get("arguments")
        blobs: list[bytes] = []
        try:
            if type(number) is not int or type(name) is not str or type(arguments) is not dict:
                raise ValueError("a call has a number, a name and arguments")
            value, blobs = await self._on_call(context, name, arguments)
            answer: dict[str, Any] = {"returns": number, "value": value}
        except Exception as error:  # noqa: BLE001 - it goes to the code that called
            answer = {"returns": number, "error": f"{type(error).__name__}: {error}"[:2000]}
        with suppress(SessionLost):
            self._post({"do": "send", "context": context, "frame": answer}, blobs)

    # Its end.

    def _died(self, reason: str) -> None:
        if not self._lost:
            self._end_all(reason)
            self._loop.run_in_executor(None, self._box.close)
            self._on_end(reason)

    def _end_all(self, reason: str) -> None:
        if self._lost:
            return
        self._lost = reason
        for descriptor in self._watched:
            self._loop.remove_reader(descriptor)
        self._loop.remove_writer(self._watched[0])
        lost = SessionLost(reason)
        waiting: list[asyncio.Future[Any]] = [*self._opening.values(), *self._ending.values()]
        waiting += [future for _, future in self._answers.values()]
        waiting += [future for _, future in self._checkpoints.values()]
        waiting += self._programs.end()
        for future in waiting:
            if not future.done():
                future.set_exception(lost)
                future.exception()  # nobody need be waiting for it
        for cell in self._contexts.values():
            if cell is not None and not cell.end.done():
                cell.end.set_exception(lost)
        for task in self._calls:
            task.cancel()
        self._contexts.clear()

    def _raise_if_lost(self) -> None:
        if self._lost:
            raise SessionLost(self._lost)


def _ignore(stream: str, data: bytes) -> None:
    """Takes what the supervisor prints: nothing, unless something in the box has broken it."""
