"""Boxes for sessions: a fork server an environment, and a few boxes that wait, so that a session is there at once."""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from workbook.sandbox.isolation.box import IsolationError
from workbook.sandbox.isolation.limits import Limits
from workbook.sandbox.isolation.server import ForkServer
from workbook.sandbox.service.live import LiveBox
from workbook.sandbox.service.live_types import OnCall
from workbook.sandbox.service.session import MAIN, ReadyBox
from workbook.sandbox.service.session_cells import seed_of

DEFAULT = "default"
"""The environment that has what the service itself has."""

_HERE = Path(__file__).parent
_INSIDE = ("__init__.py", "inside.py", "calls.py", "workspace.py")
_ENDING = 0.1
_ENTRY = "workbook.sandbox.service.inside"


def library() -> dict[str, Path]:
    """Returns what a session's box finds of this package."""
    return {f"workbook/sandbox/service/{name}": _HERE / name for name in _INSIDE}


class Boxes:
    """Makes boxes. For the tasks of one event loop; `close` ends all of it.

    Attributes:
        problem: Why the last box could not be made; empty if it could.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        ready: int,
        preload: tuple[str, ...] = (),
        files_of: Callable[[str], Mapping[str, Path]] = lambda _: {},
        on_death: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Prepares it; nothing is started before it is needed, or `start` is called.

        Args:
            limits: Of a box, where a session asks for nothing else.
            ready: How many boxes of the default environment and these limits wait.
            preload: Modules that are imported before boxes are forked.
            files_of: What an environment adds to the library of its boxes, by its name; may take its time.
            on_death: Is called with the reason when a box ends by itself.
        """
        self.limits = limits
        self._wanted, self._preload, self._files_of, self._on_death = ready, preload, files_of, on_death
        self.problem = ""
        self._servers: dict[str, ForkServer] = {}
        self._starting: dict[str, asyncio.Lock] = {}
        self._ready: list[tuple[ReadyBox, _Switch]] = []
        self._filling: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Starts the default environment's fork server, and has the first boxes wait.

        Raises:
            IsolationError: No box can be made on this machine.
        """
        await self._server(DEFAULT)
        await self._fill()

    @property
    def waiting(self) -> int:
        """How many boxes wait."""
        return sum(not ready.box.lost for ready, _ in self._ready)

    def take(self, on_call: OnCall) -> ReadyBox | None:
        """Takes a box that waits; None where none does. Another is made in its place."""
        taken = None
        while self._ready and taken is None:
            ready, switch = self._ready.pop(0)
            if not ready.box.lost:
                switch.to, taken = on_call, ready
        self.tend()
        return taken

    def tend(self) -> None:
        """Sees that as many boxes wait as should."""
        if self.waiting < self._wanted and (self._filling is None or self._filling.done()) and not self._closed:
            self._filling = asyncio.create_task(self._fill())
            self._filling.add_done_callback(lambda filling: filling.cancelled() or filling.exception())

    async def make(self, on_call: OnCall, limits: Limits, environment: str = DEFAULT) -> LiveBox:
        """Makes a box; of a new fork server, where the one that there was has ended.

        Args:
            on_call: See `LiveBox`.
            limits: What it may use.
            environment: Its name.

        Raises:
            IsolationError: It cannot be made.
        """
        try:
            server = await self._server(environment)
            try:
                box = await asyncio.to_thread(server.box, limits)
            except IsolationError:
                await asyncio.sleep(_ENDING)  # a process that was killed is there a moment longer
                if server.alive:
                    raise
                server = await self._server(environment)
                box = await asyncio.to_thread(server.box, limits)
        except IsolationError as error:
            self.problem = str(error)
            raise
        self.problem = ""
        return LiveBox(box, on_call, self._on_death)

    async def _server(self, environment: str) -> ForkServer:
        async with self._starting.setdefault(environment, asyncio.Lock()):
            if environment in self._servers and not self._servers[environment].alive:
                await asyncio.to_thread(self._servers.pop(environment).close)
            if environment not in self._servers:
                files = await asyncio.to_thread(self._files_of, environment)
                self._servers[environment] = await asyncio.to_thread(
                    ForkServer, _ENTRY, library={**library(), **files}, preload=self._preload
                )
            return self._servers[environment]

    async def _fill(self) -> None:
        self._ready = [one for one in self._ready if not one[0].box.lost]
        while len(self._ready) < self._wanted and not self._closed:
            switch, seed = _Switch(), secrets.randbits(32)
            live = await self.make(switch, self.limits)
            await live.open(MAIN, seed_of(seed, MAIN))
            self._ready.append((ReadyBox(live, seed), switch))

    async def close(self) -> None:
        """Ends all boxes and their servers."""
        self._closed = True
        if self._filling is not None:
            with contextlib.suppress(Exception):
                await self._filling
        for ready, _ in self._ready:
            await ready.box.close()
        for server in self._servers.values():
            await asyncio.to_thread(server.close)


class _Switch:
    """Lets the session that takes a box answer what the box's code asks."""

    def __init__(self) -> None:
        self.to: OnCall | None = None

    async def __call__(self, context: str, name: str, arguments: dict[str, Any]) -> tuple[Any, list[bytes]]:
        if self.to is None:
            raise LookupError("nobody has this box yet")
        return await self.to(context, name, arguments)
