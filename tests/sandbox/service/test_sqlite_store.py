"""SQLite's own troubles: a full disk, a damaged file, a lock that is not let go."""

import asyncio
import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.sandbox.service.stores import a_session, an_event, in_another_process, numbers, opened, printed
from tests.system import unavailable
from workbook.sandbox.service import checks, sqlite_file
from workbook.sandbox.service.sqlite_store import SqliteStore
from workbook.sandbox.service.sqlite_thread import SqliteThread
from workbook.sandbox.service.store import StoreError

pytestmark = pytest.mark.anyio


async def fill(store: SqliteStore) -> int:
    """Writes until there is no room; how many events were acknowledged."""
    acknowledged, refused = 0, ""
    while not refused:
        try:
            acknowledged += len(await store.append("a", 1, [an_event(acknowledged, text="x" * 20_000)]))
        except StoreError as error:
            refused = str(error)
    assert "make room" in refused
    return acknowledged


async def check_full(store: SqliteStore, again: SqliteStore) -> None:
    """A full store keeps what it has, and goes on when there is room."""
    for session in ("a", "b"):
        await store.create(a_session(session))
    await store.put_blob("b", os.urandom(checks.MIB // 2))
    acknowledged = await fill(store)
    assert acknowledged > 10
    with pytest.raises(StoreError, match="make room"):
        await store.put_blob("a", os.urandom(checks.MIB))
    assert numbers(await store.events("a")) == list(range(acknowledged))
    assert numbers(await again.events("a")) == list(range(acknowledged))


async def test_a_store_that_may_not_grow_keeps_what_it_has(tmp_path: Path) -> None:
    store, again = [await SqliteStore.open(tmp_path / "store.db", most_bytes=2 * checks.MIB) for _ in range(2)]
    await check_full(store, again)
    acknowledged = len(await store.events("a"))
    # The one for which there is no room takes those that are written together with it nowhere.
    large, *small = await asyncio.gather(
        store.append("a", 1, [an_event(-1, text="x" * 900_000)]),
        *(store.append("b", 1, [an_event(number)]) for number in range(3)),
        return_exceptions=True,
    )
    assert isinstance(large, StoreError)
    assert [isinstance(outcome, list) for outcome in small] == [True] * 3
    await store.delete_session("b")
    await store.append("a", 1, [an_event(acknowledged, text="x" * 20_000)])
    assert numbers(await again.events("a")) == list(range(acknowledged + 1))
    await store.close()
    await again.close()
    with sqlite3.connect(tmp_path / "store.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if subprocess.run(mounting, check=False, capture_output=True).returncode:
        unavailable("a small file system cannot be mounted: only root may, and not in every container")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_a_full_disk_is_an_error_and_no_damage(small_disk: Path) -> None:
    store, again = [await SqliteStore.open(small_disk / "store.db") for _ in range(2)]
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(checks.MIB))
    await check_full(store, again)
    acknowledged = len(await store.events("a"))
    ballast.unlink()
    await store.append("a", 1, [an_event(acknowledged)])
    assert numbers(await again.events("a")) == list(range(acknowledged + 1))
    await store.close()
    await again.close()
    with sqlite3.connect(small_disk / "store.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_what_is_no_store_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"Dear diary, " * 1000)
    with pytest.raises(StoreError, match="no database at all"):
        await SqliteStore.open(path)
    assert path.read_bytes() == b"Dear diary, " * 1000
    with pytest.raises(StoreError, match="look at its folder"):
        await SqliteStore.open(tmp_path / "nowhere" / "store.db")
    for name, statement in [("later", "PRAGMA user_version = 3"), ("another", "CREATE TABLE diary (day)")]:
        with sqlite3.connect(tmp_path / name) as connection:
            connection.execute(statement)
        with pytest.raises(StoreError, match="use another file"):
            await SqliteStore.open(tmp_path / name)


async def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with opened(str(path)) as store:
        await store.create(a_session())
        for number in range(200):
            await store.append("a", 1, [an_event(number, text="x" * 1000)])
    content = bytearray(path.read_bytes())
    content[4 * 4096 : -4096] = os.urandom(len(content) - 5 * 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"damaged.*store\.db|store\.db.*damaged"):
        async with opened(str(path)) as store:
            await store.events("a")
    path.write_bytes(content[:8192])
    with pytest.raises(StoreError, match="damaged"):
        async with opened(str(path)) as store:
            await store.events("a")


async def test_events_that_are_no_json_any_more_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with opened(str(path)) as store:
        await store.create(a_session())
        await store.append("a", 1, [an_event()])
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE events SET data = '{'")
        with pytest.raises(StoreError, match="an event of the session 'a' is damaged"):
            await store.events("a")


async def test_a_lock_that_is_not_let_go_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "_PATIENCE", 0.2)
    async with opened(str(tmp_path / "store.db")) as store:
        await store.create(a_session())
        other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        appends = (store.append("a", 1, [an_event(number)]) for number in range(20))
        outcomes = await asyncio.wait_for(asyncio.gather(*appends, return_exceptions=True), 5)
        assert {type(outcome) for outcome in outcomes} == {StoreError}
        assert "another process" in str(outcomes[0])
        other.execute("ROLLBACK")
        other.close()
        await store.append("a", 1, [an_event()])
        assert len(await store.events("a")) == 1


async def test_processes_that_make_the_file_at_once_share_it(tmp_path: Path) -> None:
    code = """
await store.create(a_session(arguments[0]))
print(json.dumps((await store.append(arguments[0], 1, [an_event()]))[0].seq))
"""
    processes = [in_another_process(code, str(tmp_path / "store.db"), str(number)) for number in range(4)]
    assert [printed(process) for process in processes] == [1] * 4
    async with opened(str(tmp_path / "store.db")) as store:
        assert await store.count() == 4


async def test_a_durable_store_waits_for_the_disk(tmp_path: Path) -> None:
    for durable, mode in ((False, 1), (True, 2)):
        connection = sqlite_file.connect(tmp_path / "store.db", durable, None)
        assert connection.execute("PRAGMA synchronous").fetchone() == (mode,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.close()


async def test_a_job_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    connection = sqlite_file.connect(tmp_path / "store.db", False, None)
    thread = SqliteThread(connection, tmp_path / "store.db", writes=True)

    def keep(name: str, connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO blobs VALUES (?, '')", (name,))
        if name in "bd":
            raise OverflowError

    outcomes = await asyncio.gather(*(thread.run(partial(keep, name)) for name in "abcde"), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), OverflowError] * 2 + [type(None)]
    await thread.close()
    with sqlite3.connect(tmp_path / "store.db") as reading:
        assert reading.execute("SELECT name FROM blobs ORDER BY name").fetchall() == [("a",), ("c",), ("e",)]


def test_a_new_file_is_opened_by_many_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for number in range(20):
            start = threading.Barrier(8)

            def open_file(path: Path, start: threading.Barrier = start) -> sqlite3.Connection:
                start.wait()
                return sqlite_file.connect(path, False, None)

            for connection in list(pool.map(open_file, [tmp_path / str(number)] * 8)):
                assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (0,)
                connection.close()
