"""The programs of a live box: what is asked of its supervisor, and what that says of them."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from workbook.sandbox.service.live_types import FileRefused, Program, SessionLost

Post = Callable[[dict[str, Any], Sequence[bytes]], None]
"""Tells the supervisor something; raises SessionLost where the box has ended."""


class LivePrograms:
    """Programs that run, or are being started."""

    def __init__(self, post: Post) -> None:
        """Takes what tells the supervisor."""
        self._post = post
        self._numbers = itertools.count(1)
        self._starting: dict[str, asyncio.Future[Program]] = {}
        self._running: dict[str, Program] = {}

    def start(
        self, command: Sequence[str], environment: dict[str, str], *, has_input: bool
    ) -> "asyncio.Future[Program]":
        """Asks for a program to be started; what comes of it is in the future."""
        name = f"p{next(self._numbers)}"
        future: asyncio.Future[Program] = asyncio.get_running_loop().create_future()
        self._starting[name] = future
        future.add_done_callback(lambda _: self._starting.pop(name, None))
        what = {"process": name, "command": list(command), "environment": environment, "input": has_input}
        try:
            self._post({"do": "start", **what}, [])
        except SessionLost:
            del self._starting[name]
            raise
        return future

    def take(self, name: str, message: dict[str, Any], blobs: list[bytes]) -> None:
        """Takes what the supervisor says of one."""
        if "started" in message or "failed" in message:
            if (future := self._starting.get(name)) is None or future.done():
                return
            if "failed" in message:
                future.set_exception(FileRefused("ENOEXEC", str(message["failed"])[:1000]))
            else:
                program = self._running[name] = Program(name, int(message["started"]))
                future.set_result(program)
        elif (running := self._running.get(name)) is not None:
            if "printed" in message:
                running.output.put_nowait((str(message["printed"]), blobs[0]))
            elif not running.ended.done():
                running.ended.set_result(int(message["ended"]))
                running.output.put_nowait(None)
                del self._running[name]

    def end(self) -> list["asyncio.Future[Any]"]:
        """Ends what follows them; returns what is still awaited of them."""
        for program in self._running.values():
            program.output.put_nowait(None)
        return [*self._starting.values(), *(program.ended for program in self._running.values())]
