"""A node: it has sessions live, brings them back when they are asked for, and knows which node has the others."""

import asyncio
import contextlib
import math
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from workbook.sandbox.isolation.box import IsolationError
from workbook.sandbox.isolation.limits import Limits
from workbook.sandbox.service import journal
from workbook.sandbox.service.boxes import DEFAULT, Boxes
from workbook.sandbox.service.hooks import Observer
from workbook.sandbox.service.live import LiveBox
from workbook.sandbox.service.live_types import SessionLost
from workbook.sandbox.service.room import FullError, Room
from workbook.sandbox.service.routing import place
from workbook.sandbox.service.session import Session
from workbook.sandbox.service.session_calls import Call
from workbook.sandbox.service.store import (
    FencedError,
    NewEvent,
    NodeRecord,
    QuotaError,
    SessionRecord,
    Store,
    StoreError,
    UnknownSessionError,
)

HEARTBEAT = 1.0
"""Seconds from one heartbeat of a node to the next."""

ALIVE_WITHIN = 5.0
"""Seconds without a heartbeat after which a node counts as lost, and others take its sessions."""


_T = TypeVar("_T")

_CHECK = 3.0  # seconds in which the store must take a heartbeat for the node to be ready

CallsOf = Callable[[str], Mapping[str, Call]]
"""Gives what code in a tenant's sessions may ask the service for, by name."""


class ElsewhereError(Exception):
    """Another node has the session, or is to have it: `url` is where."""

    def __init__(self, url: str) -> None:
        super().__init__(f"the session is at {url}")
        self.url = url


@dataclass(frozen=True)
class NodeSettings:
    """What a node may do.

    Attributes:
        id: Its name among the others.
        url: Where the others reach it.
        capacity: How many sessions it has live at most.
        ready: How many boxes wait for sessions.
        queue: How many sessions may wait for room.
        patience: Seconds that one waits.
        idle: Seconds without a request after which a session's box ends; its next request brings it back.
        quota: How many sessions a tenant may have open.
        limits: Of a session, where it asks for nothing else; it may ask for less.
    """

    id: str = field(default_factory=lambda: f"node-{secrets.token_hex(4)}")
    url: str = ""
    capacity: int = 100
    ready: int = 4
    queue: int = 100
    patience: float = 10.0
    idle: float = 600.0
    quota: int = 100
    limits: Limits = field(default_factory=lambda: replace(Limits(), output=1 << 40, cpu_seconds=3600))


class Node:
    """Serves sessions. For the tasks of one event loop; a context manager.

    Attributes:
        draining: Whether it is ending, and takes no new sessions.
        known: How many nodes are alive, itself among them, as of its last heartbeat.
    """

    def __init__(
        self,
        store: Store,
        settings: NodeSettings,
        calls_of: CallsOf = lambda _: {},
        *,
        files_of: Callable[[str], Mapping[str, Path]] = lambda _: {},
        observer: Observer | None = None,
    ) -> None:
        """Prepares it.

        Args:
            store: Where all nodes keep their sessions.
            settings: What it may do.
            calls_of: What code in a tenant's sessions may ask the service for.
            files_of: What an environment adds to the library of its boxes, by its name.
            observer: Is told what happens.
        """
        self.store, self.settings, self.observer = store, settings, observer or Observer()
        self.boxes = Boxes(
            limits=settings.limits, ready=settings.ready, files_of=files_of, on_death=self.observer.box_died
        )
        self._calls_of = calls_of
        self._sessions: dict[str, Session] = {}
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}  # and how many have it or wait for it
        refused = partial(self.observer.refused, "full")
        self._room = Room(settings.capacity, settings.queue, settings.patience, refused)
        self._tasks: list[asyncio.Task[None]] = []
        self.draining = False
        self.known = 1
        self._looking = asyncio.Lock()
        self._tried: tuple[float, list[str]] = (-math.inf, [])

    async def start(self) -> None:
        """Starts it.

        Raises:
            IsolationError: No box can be made on this machine.
            StoreError: The store is out of reach.
        """
        await self.boxes.start()
        await self._beat()
        self._tasks = [asyncio.create_task(self._beats()), asyncio.create_task(self._reap())]

    async def close(self) -> None:
        """Ends it. Its sessions stay in the store, and come back when they are asked for."""
        self.draining = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for session in list(self._sessions.values()):
            with contextlib.suppress(IsolationError):
                await session.let_go()
        await self.boxes.close()
        with contextlib.suppress(Exception):  # the others will notice
            await self.store.remove_node(self.settings.id)

    async def __aenter__(self) -> "Node":
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    @property
    def live(self) -> int:
        """How many sessions it has live."""
        return len(self._sessions)

    @property
    def waiting(self) -> int:
        """How many sessions wait for room."""
        return self._room.waiting

    async def problems(self) -> list[str]:
        """Why no session could be had now; empty if one could."""
        found = []
        if self.draining:
            found.append("it is ending")
        if problem := self._room.problem:
            found.append(problem)
        async with self._looking:
            when, tried = self._tried
            if time.monotonic() - when > 1.0:  # whoever asks all the time costs no more
                tried = await self._try()
                self._tried = time.monotonic(), tried
        return found + tried

    async def _try(self) -> list[str]:
        """Tries what a session needs, besides room."""
        found = []
        try:
            await asyncio.wait_for(self._beat(), _CHECK)
        except (StoreError, TimeoutError) as error:
            found.append(f"the store takes no heartbeat: {error}")
        if not self.boxes.waiting:
            try:
                box = await self.boxes.make(_nobody, self.settings.limits)
                await box.close()
            except IsolationError as error:
                found.append(f"no box can be made: {error}")
        return found

    # Sessions.

    async def create(
        self,
        tenant: str,
        *,
        environment: str = DEFAULT,
        limits: Limits | None = None,
        session: str = "",
        quota: int | None = None,
        key: str = "",
        placed: bool = False,
    ) -> Session:
        """Makes a session here, when there is room.

        Args:
            tenant: Whose it is.
            environment: What it has.
            limits: What it may use; the node's where nothing is asked for.
            session: Its name.
            quota: How many sessions the tenant may have open; the node's where nothing is said.
            key: With which it was asked for.
            placed: Whether another node has found that it is to be here.

        Raises:
            ElsewhereError: It is to be made at another node.
            FullError: There is no room, and there are too many that wait for it.
            QuotaError: The tenant has as many sessions as it may have.
            IsolationError: No box can be made.
        """
        session = session or f"s-{secrets.token_hex(12)}"
        began = time.monotonic()
        if self.draining:
            self.observer.refused("draining")
            raise FullError("this node is ending", 1.0)
        if not placed:
            await self._place(session)
        async with self._room.one() as taken:
            limits = limits or self.settings.limits
            record = SessionRecord(session, tenant, environment, limits=asdict(limits), owner=self.settings.id, epoch=1)
            try:
                await self.store.create(record, quota=self.settings.quota if quota is None else quota)
            except QuotaError:
                self.observer.refused("quota")
                raise
            made = Session(record, self.store, self._make_box, dict(self._calls_of(tenant)))
            plain = environment == DEFAULT and limits == self.settings.limits
            ready = self.boxes.take(made.on_call) if plain else None
            try:
                await made.create(ready, key)
            except BaseException:
                await made.let_go()
                with contextlib.suppress(Exception):  # nobody was told of it: who asks again may have its name
                    await self.store.close_session(session, record.epoch)
                    await self.store.delete_session(session)
                raise
            self._sessions[session] = made
            taken.keep()
        self.observer.created(time.monotonic() - began, ready=ready is not None)
        return made

    async def _place(self, session: str) -> None:
        nodes = await self.store.nodes(ALIVE_WITHIN)
        if len(nodes) > 1:
            best = place(session, nodes)
            if best is not None and best.id != self.settings.id:
                raise ElsewhereError(best.url)

    async def elsewhere(self, session: str, tenant: str) -> str | None:
        """Where a session is live, or is to be brought back; None if that is here.

        Raises:
            UnknownSessionError: The tenant has no such session, or it is closed.
        """
        found = self._sessions.get(session)
        if found is not None and not found.lost and found.record.tenant == tenant:
            return None
        try:
            await self._is_ours(session, tenant)
        except ElsewhereError as error:
            return error.url
        return None

    async def use(self, session: str, tenant: str, action: Callable[[Session], Awaitable[_T]]) -> _T:
        """Does something with a session, once more if its box turns out to have ended or another node to have it.

        Raises:
            UnknownSessionError, ElsewhereError, FullError: As `get`.
            SessionLost: Its box has ended a second time.
        """
        found = await self.get(session, tenant)
        try:
            return await action(found)
        except SessionLost:
            pass
        except FencedError:
            await self._drop(found)
        return await action(await self.get(session, tenant))

    async def get(self, session: str, tenant: str) -> Session:
        """Returns a session of a tenant, live: brought back where it was not, or where its box has died.

        Raises:
            UnknownSessionError: The tenant has no such session, or it is closed.
            ElsewhereError: Another node has it, or is to bring it back.
            FullError: There is no room for it here.
        """
        found = self._sessions.get(session)
        if found is not None and not found.lost and found.record.tenant == tenant:
            return found
        async with self._only_one(session):
            found = self._sessions.get(session)
            if found is not None and not found.lost and found.record.tenant == tenant:
                return found
            return await self._bring_back(session, tenant)

    @contextlib.asynccontextmanager
    async def _only_one(self, session: str) -> AsyncIterator[None]:
        """A block in which only one task is at a time for a session."""
        lock, waiting = self._locks.get(session, (asyncio.Lock(), 0))
        self._locks[session] = lock, waiting + 1
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._locks.pop(session)
            if waiting > 1:
                self._locks[session] = lock, waiting - 1

    async def _is_ours(self, session: str, tenant: str) -> SessionRecord:
        """Returns the record of a session that is here, or is to be brought back here.

        Raises:
            UnknownSessionError: The tenant has no such session, or it is closed.
            ElsewhereError: Another node has it, or is to bring it back.
        """
        record = await self.store.session(session)
        if record.tenant != tenant or record.closed:
            raise UnknownSessionError(session)
        here = self.settings.id
        if record.owner != here:
            nodes = {node.id: node for node in await self.store.nodes(ALIVE_WITHIN)}
            if record.owner in nodes:
                raise ElsewhereError(nodes[record.owner].url)
            best = place(session, list(nodes.values()))
            if best is not None and best.id != here:
                raise ElsewhereError(best.url)
        return record

    async def _bring_back(self, session: str, tenant: str) -> Session:
        record = await self._is_ours(session, tenant)
        if self.draining:
            self.observer.refused("draining")
            raise FullError("this node is ending", 1.0)
        here, began = self.settings.id, time.monotonic()
        dead = self._sessions.pop(session, None)
        if dead is not None:
            self._room.give_back()
            await dead.let_go()
        async with self._room.one() as taken:
            try:
                record = await self.store.claim(session, here, record.epoch)
            except FencedError:  # another node was faster, or somebody has closed it
                raise ElsewhereError("") from None
            found = Session(record, self.store, self._make_box, dict(self._calls_of(tenant)))
            try:
                await found.restore(here)
            except BaseException:
                self.observer.restored(time.monotonic() - began, ok=False)
                await found.let_go()
                raise
            self._sessions[session] = found
            taken.keep()
        self.observer.restored(time.monotonic() - began, ok=True)
        return found

    async def close_session(self, session: str, tenant: str) -> None:
        """Ends a session for good.

        Raises:
            UnknownSessionError: The tenant has no such session.
            ElsewhereError: Another node has it.
        """
        found = self._sessions.get(session)
        if found is not None and not found.lost and found.record.tenant == tenant:
            await found.close("asked for")
            self._forget(found)
            return
        record = await self._is_ours(session, tenant)
        if found is not None:
            await self._drop(found)
        record = await self.store.claim(session, self.settings.id, record.epoch)
        await self.store.append(session, record.epoch, [NewEvent(journal.CLOSED, {"reason": "asked for"})])
        await self.store.close_session(session, record.epoch)

    async def _drop(self, session: Session) -> None:
        try:
            await session.let_go()
        finally:
            self._forget(session)

    def _forget(self, session: Session) -> None:
        """Gives up the room of a session, unless that was done, or another has taken its place."""
        name = session.record.id
        if self._sessions.get(name) is session:
            del self._sessions[name]
            self._room.give_back()

    async def _make_box(self, session: Session) -> LiveBox:
        limits = Limits(**session.record.limits)
        return await self.boxes.make(session.on_call, limits, session.record.environment)

    # What goes on by itself.

    async def _beats(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT)
            self.boxes.tend()
            try:
                await self._beat()
                self.known = len(await self.store.nodes(ALIVE_WITHIN))
            except Exception:  # noqa: BLE001 - the next one may get through; until then requests tell
                self.observer.store_failed()

    async def _beat(self) -> None:
        settings = self.settings
        await self.store.heartbeat(
            NodeRecord(settings.id, settings.url, settings.capacity, len(self._sessions), self.draining)
        )

    async def _reap(self) -> None:
        """Ends boxes that nobody uses, and those of sessions that another node has by now."""
        while True:
            await asyncio.sleep(min(1.0, self.settings.idle / 4))
            for name, session in list(self._sessions.items()):
                idle = time.monotonic() - session.last_used > self.settings.idle
                if (idle and not session.busy) or session.lost:
                    with contextlib.suppress(FencedError, UnknownSessionError, StoreError, IsolationError):
                        await self._drop(session)
                        await self.store.claim(name, "", session.record.epoch)


async def _nobody(context: str, name: str, arguments: dict[str, Any]) -> tuple[Any, list[bytes]]:
    raise LookupError(f"nobody answers {name!r} of {context!r}, with {len(arguments)} arguments: it is for a try")
