"""What is said of a box that is live: its errors, a cell's limits, a program."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

MOST_NAME = 200
"""Characters of a name that a box gives to something that went wrong."""

OnMessage = Callable[[str, dict[str, Any]], None]
"""Takes a message's type and content while a cell runs."""

OnCall = Callable[[str, str, dict[str, Any]], Awaitable[tuple[Any, list[bytes]]]]
"""Does what code in a context asks for: context, name, arguments. What it raises is told to the code."""


class SessionLost(Exception):  # noqa: N818 - it says what happened
    """The box has ended. The message says why, as in "out of memory"."""


class ContextLost(Exception):  # noqa: N818 - it says what happened
    """A context's process has ended: what its cells had defined is gone."""


class CheckpointRefused(Exception):  # noqa: N818 - it says what happened
    """What a context's cells have defined cannot be kept, or not be read back. The message says why."""


class FileRefused(Exception):  # noqa: N818 - it says what happened
    """The session's file system refuses. `code` is the error's name, as in ENOENT."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class CellLimits:
    """What a cell may put out.

    Attributes:
        output_bytes: Of output that is kept; the rest is dropped.
        outputs: Entries that are kept; consecutive prints share one.
    """

    output_bytes: int = 1_000_000
    outputs: int = 1_000


CELL_LIMITS = CellLimits()


@dataclass
class Program:
    """A program that was started in a session.

    Attributes:
        name: What it is called by.
        pid: Its number in the box.
        output: What it has written and nobody has taken yet: stream and bytes; None at its end.
        ended: Its exit status, once it has ended.
    """

    name: str
    pid: int
    output: "asyncio.Queue[tuple[str, bytes] | None]" = field(default_factory=asyncio.Queue)
    ended: "asyncio.Future[int]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
