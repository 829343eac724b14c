"""Logs of sessions that are over are kept for a while, and removed then, bit by bit and with all that was theirs."""

import asyncio
import hashlib
import sqlite3
from pathlib import Path

import pytest
import redis

from tests.sandbox.service.servers import Server, needs_boxes, wait_for
from tests.sandbox.service.stores import a_session, an_event, opened
from workbook.sandbox.client import SessionNotFound
from workbook.sandbox.service.retention import removing
from workbook.sandbox.service.store import NewEvent, RefusedError, Store, StoreError, UnknownSessionError

pytestmark = pytest.mark.anyio


def left(place: str) -> int:
    """How many rows, or keys, there are of sessions."""
    if place.startswith("unix:"):
        with redis.Redis.from_url(place) as client:
            keys: list[bytes] = client.keys("*")
            return sum(not key.startswith(b"sandbox:done:") for key in keys)
    with sqlite3.connect(place) as connection:
        tables = ("sessions", "events", "blobs", "holds")
        return sum(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables)


async def test_what_was_closed_long_ago_is_removed_with_what_nobody_else_holds(store: Store, place: str) -> None:
    for session in ("open", "early", "late"):
        await store.create(a_session(session))
        for data in (b"of all", session.encode()):
            await store.append(session, 1, [NewEvent("blob", {}, (await store.put_blob(session, data),))])
    await store.close_session("early")
    await asyncio.sleep(0.6)
    await store.close_session("late")
    before = await store.events("late"), await store.events("open")
    assert not await store.remove_closed(60)
    while await store.remove_closed(0.3):
        pass
    with pytest.raises(UnknownSessionError):
        await store.session("early")
    assert [session.id for session in await store.sessions(include_closed=True)] == ["open", "late"]
    assert (await store.events("late"), await store.events("open")) == before
    kept = [await store.get_blob(hashlib.sha256(data).hexdigest()) for data in (b"of all", b"late", b"early")]
    assert kept == [b"of all", b"late", None]
    while await store.remove_closed(0):
        pass
    assert [session.id for session in await store.sessions(include_closed=True)] == ["open"]
    await store.delete_session("open")
    assert left(place) == 0
    await store.create(a_session("early"))
    assert await store.events("early") == []


async def test_a_large_log_is_removed_bit_by_bit(store: Store, place: str) -> None:
    await store.create(a_session())
    names = [await store.put_blob("a", b"%d" % number) for number in range(25)]
    await store.append("a", 1, [an_event(number) for number in range(25)])
    await store.close_session("a")
    before, calls = left(place), 0
    while await store.remove_closed(0, most=10):
        calls += 1
        if place.startswith("unix:"):  # a log is a key there
            assert sum([await store.get_blob(name) is not None for name in names]) == max(0, 25 - 10 * calls)
        else:
            assert before - left(place) <= 20 * calls  # a blob is two rows
        if calls < 4:
            log = await store.events("a")
            assert [event.seq for event in log] == list(range(1, len(log) + 1))
    assert calls >= 4
    assert left(place) == 0


async def test_blobs_that_are_large_are_few_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a file; Redis frees memory by and by, whatever its size."""
    monkeypatch.setattr("workbook.sandbox.service.sqlite_store._REMOVED_AT_ONCE", 1 << 20)
    place = str(tmp_path / "store.db")
    async with opened(place) as store:
        await store.create(a_session())
        for number in range(4):
            await store.put_blob("a", bytes([number]) * 700_000)
        await store.close_session("a")
        for rows in (4, 0):
            assert await store.remove_closed(0)
            assert left(place) == 1 + rows


async def test_several_may_remove_at_once(place: str) -> None:
    async with opened(place) as one, opened(place) as other:
        for number in range(30):
            await one.create(a_session(str(number)))
            await one.append(str(number), 1, [NewEvent("blob", {}, (await one.put_blob(str(number), b"shared"),))])
            if number % 3:
                await one.close_session(str(number))

        async def remove(store: Store) -> None:
            while await store.remove_closed(0, most=1):
                pass

        await asyncio.gather(*(remove(store) for store in (one, other, one, other)))
        open_ones = {str(number) for number in range(0, 30, 3)}
        assert {session.id for session in await other.sessions(include_closed=True)} == open_ones
        for session in open_ones:
            assert len(await one.events(session)) == 1
        assert await one.get_blob(hashlib.sha256(b"shared").hexdigest()) == b"shared"


async def test_ages_that_are_none(store: Store) -> None:
    for age in (float("nan"), float("inf")):
        with pytest.raises(RefusedError):
            await store.remove_closed(age)
    assert not await store.remove_closed(0, most=0)


async def test_a_file_of_the_first_format_is_taken_over(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    async with opened(path) as store:
        for session in ("a", "b"):
            await store.create(a_session(session))
        await store.close_session("a")
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "DROP INDEX sessions_of_end; ALTER TABLE sessions DROP COLUMN ended; PRAGMA user_version = 1"
        )
    async with opened(path) as store, opened(path) as other:
        assert not await store.remove_closed(60)
        assert await other.remove_closed(-60)
        assert [session.id for session in await store.sessions(include_closed=True)] == ["b"]


async def test_a_store_that_fails_is_tried_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("workbook.sandbox.service.retention._MOST_EVERY", 0.05)
    await store.create(a_session())
    await store.close_session("a")
    async with removing(store, float("inf")), removing(store, 60):
        await asyncio.sleep(0.2)
    assert len(await store.sessions(include_closed=True)) == 1
    works = store.remove_closed
    answers = iter([True, False])

    async def fails(age: float) -> bool:
        if next(answers, False):
            raise StoreError("out of reach")
        return await works(age)

    monkeypatch.setattr(store, "remove_closed", fails)
    async with removing(store, 0):
        async with asyncio.timeout(10):
            while await store.sessions(include_closed=True):
                await asyncio.sleep(0.05)


@needs_boxes
def test_through_the_service(tmp_path: Path) -> None:
    options = ("--ready", "0", "--keep-logs", str(0.5 / 86_400))
    with Server(tmp_path, *options) as server, server.client() as client:
        stays = client.session()
        stays.execute("x = 1")
        agent = client.session()
        agent.filesystem.write("file", bytes(1000))
        agent.close()
        assert any(one["kind"] == "session.closed" for one in agent.events())

        def is_gone() -> bool:
            try:
                return not list(agent.events())
            except SessionNotFound:
                return True

        wait_for(is_gone)
        assert stays.execute("x").text == "1"
        assert client.sessions() == [stays.id]
