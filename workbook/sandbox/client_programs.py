"""The programs of a session, for the clients of the sandbox's service."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from workbook.sandbox.client_errors import BadAnswer
from workbook.sandbox.client_results import typed, unpacked
from workbook.sandbox.client_runner import Runner
from workbook.sandbox.client_wire import MOST_FILE, Request, Wire, quoted

_PLACE = re.compile(r"[0-9]{1,18}")


@dataclass
class AsyncProgram:
    """A program that was started in a session.

    Attributes:
        name: What the service calls it.
        command: What was started.
        written: Bytes of its output that have been taken.
        status: Its exit status, once that is known.
        lost: Why it never will be.
    """

    _wire: Wire = field(repr=False)
    _session: str = field(repr=False)
    name: str
    command: list[str]
    written: int = 0
    status: int | None = None
    lost: str = ""

    @property
    def _path(self) -> str:
        return f"{self._session}/processes/{quoted(self.name)}"

    async def wait(self, on_output: Callable[[str, bytes], None] | None = None, seconds: float = 3600.0) -> int | None:
        """Takes what it writes until it has ended; returns its exit status, or None where it was lost.

        Args:
            on_output: Is called with `stdout` or `stderr` and what was written there.
            seconds: That it is waited for.

        Raises:
            ConnectionLost: It has not ended in this time.
        """

        def on_event(number: str, kind: str, data: dict[str, Any]) -> bool:
            if kind == "output":
                content, place = unpacked(typed(data, "base64", str)), int(number) if _PLACE.fullmatch(number) else 0
                if place > self.written and on_output is not None:
                    on_output(typed(data, "stream", str), content)
                self.written = max(self.written, place)
            elif kind == "ended":
                status = data.get("status")
                self.status, self.lost = status if isinstance(status, int) else None, str(data.get("lost", ""))
            return kind == "ended"

        params = {"after": str(self.written)}
        await self._wire.stream(Request("GET", f"{self._path}/output", params=params, seconds=seconds), on_event)
        return self.status

    async def output(self) -> tuple[bytes, bytes]:
        """Waits until it has ended; returns what it has written to stdout and to stderr."""
        written: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        size = 0

        def keep(stream: str, data: bytes) -> None:
            nonlocal size
            size += len(data)
            if size > MOST_FILE:
                raise BadAnswer(f"a program has written more than {MOST_FILE:,} bytes: take them with `wait`")
            written.setdefault(stream, []).append(data)

        await self.wait(keep)
        return b"".join(written["stdout"]), b"".join(written["stderr"])

    async def write(self, data: bytes | str, *, end: bool = False) -> None:
        """Gives it something to read; with `end`, that was all."""
        content = data.encode() if isinstance(data, str) else data
        params = {"end": "true"} if end else None
        await self._wire.json(Request("POST", f"{self._path}/input", params=params, body=content, again=False))

    async def signal(self, name: str = "SIGTERM") -> None:
        """Signals it and what it has started."""
        await self._wire.json(Request("POST", f"{self._path}/signal", body={"signal": name}))

    async def kill(self) -> None:
        """Ends it at once."""
        await self.signal("SIGKILL")


class Program:
    """A program that was started in a session; see `AsyncProgram`."""

    def __init__(self, runner: Runner, program: AsyncProgram) -> None:
        self._runner, self._program = runner, program

    @property
    def status(self) -> int | None:
        """Its exit status, once that is known."""
        return self._program.status

    @property
    def lost(self) -> str:
        """Why its exit status will never be known."""
        return self._program.lost

    def wait(self, on_output: Callable[[str, bytes], None] | None = None, seconds: float = 3600.0) -> int | None:
        """Takes what it writes until it has ended; returns its exit status, or None where it was lost."""
        if on_output is None:
            return self._runner.run(self._program.wait(None, seconds))
        return self._runner.run_calling(lambda call: self._program.wait(call, seconds), on_output)

    def output(self) -> tuple[bytes, bytes]:
        """Waits until it has ended; returns what it has written to stdout and to stderr."""
        return self._runner.run(self._program.output())

    def write(self, data: bytes | str, *, end: bool = False) -> None:
        """Gives it something to read; with `end`, that was all."""
        self._runner.run(self._program.write(data, end=end))

    def signal(self, name: str = "SIGTERM") -> None:
        """Signals it and what it has started."""
        self._runner.run(self._program.signal(name))

    def kill(self) -> None:
        """Ends it at once."""
        self._runner.run(self._program.kill())
