"""Stores against a model of them in plain Python: whatever is asked, in whatever order, the answers are the same."""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.sandbox.service.stores import KINDS, RedisServer, open_store
from workbook.sandbox.service.store import (
    Event,
    FencedError,
    NewEvent,
    QuotaError,
    RefusedError,
    SessionExistsError,
    SessionRecord,
    UnknownSessionError,
)

REFUSALS = (UnknownSessionError, SessionExistsError, FencedError, QuotaError, RefusedError)

SESSIONS = st.sampled_from(["a", "b", "c", "ä:}*"])
TENANTS = st.sampled_from(["x", "y"])
OWNERS = st.sampled_from(["", "one", "two"])
STALE = st.sampled_from([0, 0, 0, 0, -1, 1])  # how far off the epoch is that someone believes in
KIND = st.sampled_from(["cell", "checkpoint"])
BLOBS = [b"", b"one", b"two" * 5000]
NAMES = st.lists(st.sampled_from([hashlib.sha256(data).hexdigest() for data in BLOBS]), max_size=2).map(tuple)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
EVENT = st.builds(NewEvent, KIND, st.dictionaries(TEXT, JSON, max_size=2), NAMES, st.floats(0, 1e10))


class Model:
    """A store that forgets, and knows nothing of anything that may go wrong."""

    def __init__(self) -> None:
        self.records: dict[str, SessionRecord] = {}
        self.logs: dict[str, list[Event]] = {}
        self.holds: dict[str, set[str]] = {}
        self.contents: dict[str, bytes] = {}

    def _known(self, session: str) -> SessionRecord:
        if session not in self.records:
            raise UnknownSessionError(session)
        return self.records[session]

    def _held(self, session: str, epoch: int) -> SessionRecord:
        record = self._known(session)
        if record.closed or record.epoch != epoch:
            raise FencedError
        return record

    def create(self, session: SessionRecord, quota: int | None) -> None:
        if session.id in self.records:
            raise SessionExistsError(session.id)
        if quota is not None and len(self.sessions(session.tenant, None, False)) >= quota:
            raise QuotaError
        self.records[session.id], self.logs[session.id], self.holds[session.id] = session, [], set()

    def sessions(self, tenant: str | None, owner: str | None, include_closed: bool) -> list[SessionRecord]:
        found = [
            record
            for record in self.records.values()
            if tenant in (None, record.tenant) and owner in (None, record.owner) and include_closed >= record.closed
        ]
        return sorted(found, key=lambda record: (record.created, record.id))

    def claim(self, session: str, owner: str, epoch: int) -> SessionRecord:
        self.records[session] = replace(self._held(session, epoch), owner=owner, epoch=epoch + 1)
        return self.records[session]

    def append(self, session: str, epoch: int, events: Sequence[NewEvent]) -> list[Event]:
        self._held(session, epoch)
        if not {name for event in events for name in event.blobs} <= self.holds[session]:
            raise RefusedError
        log = self.logs[session]
        added = [
            Event(seq, event.time, event.kind, dict(event.data), event.blobs)
            for seq, event in enumerate(events, len(log) + 1)
        ]
        log += added
        return added

    def events(self, session: str, after: int, limit: int | None) -> list[Event]:
        self._known(session)
        return self.logs[session][max(after, 0) :][:limit]

    def last(self, session: str, kind: str) -> Event | None:
        self._known(session)
        return next((event for event in reversed(self.logs[session]) if event.kind == kind), None)

    def put_blob(self, session: str, data: bytes) -> str:
        self._known(session)
        name = hashlib.sha256(data).hexdigest()
        self.holds[session].add(name)
        self.contents[name] = data
        return name

    def get_blob(self, name: str) -> bytes | None:
        return self.contents[name] if any(name in held for held in self.holds.values()) else None

    def drop_blobs(self, session: str, epoch: int, names: Sequence[str]) -> None:
        self._held(session, epoch)
        self.holds[session] -= set(names)

    def close_session(self, session: str, epoch: int | None) -> None:
        record = self._known(session)
        if record.closed:
            return
        if epoch is not None:
            self._held(session, epoch)
        self.records[session] = replace(record, closed=True, owner="", epoch=record.epoch + 1)

    def delete_session(self, session: str) -> None:
        self._known(session)
        for everything in (self.records, self.logs, self.holds):
            del everything[session]

    def remove_closed(self) -> None:
        for record in list(self.records.values()):
            if record.closed:
                self.delete_session(record.id)


class Machine(RuleBasedStateMachine):
    """Asks a store and the model the same."""

    def __init__(self, place: Callable[[], str]) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.place = place()
        self.store = self.runner.run(open_store(self.place))
        self.model = Model()

    def ask(self, name: str, *arguments: Any) -> None:
        async def carry_out(call: Coroutine[Any, Any, Any]) -> Any:
            return await call

        def outcome(answer: Callable[[], Any]) -> Any:
            try:
                return answer()
            except REFUSALS as error:
                return type(error)

        expected = outcome(lambda: getattr(self.model, name)(*arguments))
        assert outcome(lambda: self.runner.run(carry_out(getattr(self.store, name)(*arguments)))) == expected

    def epoch(self, session: str, stale: int) -> int:
        return stale + (self.model.records[session].epoch if session in self.model.records else 1)

    @rule(
        session=SESSIONS,
        tenant=TENANTS,
        owner=OWNERS,
        epoch=st.integers(0, 2),
        created=st.floats(0, 1e10),
        limits=st.dictionaries(TEXT, JSON, max_size=2),
        quota=st.none() | st.integers(0, 3),
    )
    def create(self, session: str, quota: int | None, **fields: Any) -> None:
        self.ask("create", SessionRecord(session, environment="python", **fields), quota)

    @rule(session=SESSIONS, owner=OWNERS, stale=STALE)
    def claim(self, session: str, owner: str, stale: int) -> None:
        self.ask("claim", session, owner, self.epoch(session, stale))

    @rule(session=SESSIONS, stale=STALE, events=st.lists(EVENT, max_size=4))
    def append(self, session: str, stale: int, events: list[NewEvent]) -> None:
        self.ask("append", session, self.epoch(session, stale), events)

    @rule(session=SESSIONS, after=st.integers(-1, 12), limit=st.none() | st.integers(0, 5))
    def events(self, session: str, after: int, limit: int | None) -> None:
        self.ask("events", session, after, limit)

    @rule(session=SESSIONS, kind=KIND)
    def last(self, session: str, kind: str) -> None:
        self.ask("last", session, kind)

    @rule(session=SESSIONS, data=st.sampled_from(BLOBS))
    def put_blob(self, session: str, data: bytes) -> None:
        self.ask("put_blob", session, data)

    @rule(session=SESSIONS, stale=STALE, names=NAMES)
    def drop_blobs(self, session: str, stale: int, names: tuple[str, ...]) -> None:
        self.ask("drop_blobs", session, self.epoch(session, stale), names)

    @rule(session=SESSIONS, stale=st.none() | STALE)
    def close_session(self, session: str, stale: int | None) -> None:
        self.ask("close_session", session, None if stale is None else self.epoch(session, stale))

    @rule(session=SESSIONS)
    def delete_session(self, session: str) -> None:
        self.ask("delete_session", session)

    @rule()
    def remove_closed(self) -> None:
        while self.runner.run(self.store.remove_closed(0, 2)):
            pass
        self.model.remove_closed()

    @rule(tenant=st.none() | TENANTS, owner=st.none() | OWNERS, include_closed=st.booleans())
    def sessions(self, tenant: str | None, owner: str | None, include_closed: bool) -> None:
        self.ask("sessions", tenant, owner, include_closed)

    @rule()
    def open_again(self) -> None:
        self.runner.run(self.store.close())
        self.store = self.runner.run(open_store(self.place))

    @invariant()
    def everything_is_there(self) -> None:
        self.ask("sessions", None, None, True)
        for data in BLOBS:
            self.ask("get_blob", hashlib.sha256(data).hexdigest())
        for session in self.model.records:
            self.ask("events", session, 0, None)

    def teardown(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_does_what_its_model_does(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    files = iter(range(10**6))

    def place() -> str:
        if kind == "sqlite":
            return str(tmp_path / f"{next(files)}.db")
        server: RedisServer = request.getfixturevalue("redis_server")
        with server.client() as client:
            client.flushall()
        return server.url

    bounds = settings(max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))

    class MachineOfKind(Machine):
        def __init__(self) -> None:
            super().__init__(place)

    run_state_machine_as_test(MachineOfKind, settings=bounds)
