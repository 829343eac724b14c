"""The programs of a session: what they write is kept within bounds, for those who follow them late or again."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from workbook.sandbox.service.live import LiveBox
from workbook.sandbox.service.live_types import FileRefused, Program

KEPT = 1 << 20
"""Bytes of a program's output that are kept; of more, the oldest go."""

MOST = 64
"""Programs that a session remembers; running ones, and the last that ended."""

LOST = "the session was brought back without it: programs are not started a second time"


class UnknownProgramError(Exception):
    """The session has no such program, or has forgotten it."""

    def __init__(self, program: str) -> None:
        super().__init__(f"there is no program {program!r}")


@dataclass
class Running:
    """A program that was started.

    Attributes:
        name: What it is called by.
        command: What was started.
        pid: Its number in the box; 0 for one of an earlier box.
        status: Its exit status, once it has ended.
        lost: Why nobody knows its exit status.
        written: Bytes that it has written so far.
    """

    name: str
    command: list[str]
    pid: int = 0
    status: int | None = None
    lost: str = ""
    written: int = 0
    program: Program | None = None
    _chunks: deque[tuple[int, str, bytes]] = field(default_factory=deque)  # place of its end, stream, data
    _kept: int = 0
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.status is not None or bool(self.lost)

    def add(self, stream: str, data: bytes) -> None:
        """Keeps what it has written."""
        self.written += len(data)
        self._chunks.append((self.written, stream, data))
        self._kept += len(data)
        while self._kept > KEPT and len(self._chunks) > 1:
            self._kept -= len(self._chunks.popleft()[2])
        self._tell()

    def end(self, status: int | None, lost: str = "") -> None:
        """Notes that it has ended."""
        self.status, self.lost, self.program = status, lost or ("" if status is not None else "its box ended"), None
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def follow(self, after: int = 0) -> AsyncIterator[tuple[int, str, bytes]]:
        """Yields what it writes after so many bytes, until it has ended: place of the end, stream, data.

        What is not kept any more is left out: then the places show a gap.
        """
        while True:
            news = self._news
            for place, stream, data in list(self._chunks):
                if place > after:
                    fresh = data[max(0, len(data) - (place - after)) :]
                    after = place
                    yield place, stream, fresh
            if news is not self._news:
                continue
            if self.ended:
                return
            await news.wait()


class Programs:
    """The programs of one session."""

    def __init__(self) -> None:
        self._by_name: dict[str, Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __getitem__(self, name: str) -> Running:
        if (found := self._by_name.get(name)) is None:
            raise UnknownProgramError(name)
        return found

    def list(self) -> list[Running]:
        """All that are remembered, oldest first."""
        return list(self._by_name.values())

    def add_lost(self, name: str, command: Sequence[str]) -> None:
        """Remembers one of an earlier box, which ended with it."""
        self._by_name[name] = Running(name, list(command), lost=LOST)

    def add_ended(self, name: str, command: Sequence[str], status: int | None) -> None:
        """Remembers one that had ended before this box was made; what it has written is not kept."""
        self._by_name[name] = Running(name, list(command), status=status, lost="" if status is not None else LOST)
        self._forget()

    async def start(
        self, box: LiveBox, name: str, command: Sequence[str], environment: dict[str, str], *, has_input: bool
    ) -> Running:
        """Starts one.

        Raises:
            FileRefused: It cannot be started, or too many run.
            SessionLost: The box has ended.
        """
        if sum(not one.ended for one in self._by_name.values()) >= MOST:
            raise FileRefused("EAGAIN", f"{MOST} programs run: end one of them first")
        program = await box.start(command, environment, has_input=has_input)
        running = Running(name, list(command), program.pid, program=program)
        self._by_name[name] = running
        self._forget()
        task = asyncio.create_task(_drain(program, running))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return running

    def _forget(self) -> None:
        for old in [one for one in self._by_name.values() if one.ended][: max(0, len(self._by_name) - MOST)]:
            del self._by_name[old.name]


async def _drain(program: Program, running: Running) -> None:
    """Takes what a program writes, whether somebody follows it or not: nobody else would bound it."""
    while (came := await program.output.get()) is not None:
        running.add(*came)
    try:
        running.end(await program.ended)
    except Exception as error:  # noqa: BLE001 - the box has ended, and with it the program
        running.end(None, str(error))
