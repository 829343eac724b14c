"""What is acknowledged survives `kill -9`: of who writes, and of Redis; and nothing is done twice."""

import asyncio
import json
import random
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.sandbox.service.stores import RedisServer, a_session, an_event, in_another_process, opened
from workbook.sandbox.service.redis_store import RedisStore
from workbook.sandbox.service.store import Event, FencedError, SessionExistsError, StoreError

pytestmark = pytest.mark.anyio

ROUNDS = 6

# Eight tasks append batches of one to three events, and say of each event that it was acknowledged.
WRITE = """
import os
async def write(task):
    for step in range(10**6):
        name = f"{arguments[0]} {task} {step}"
        batch = [NewEvent("cell", {"name": f"{name} {part}"}) for part in range(1 + step % 3)]
        lines = [json.dumps([event.seq, event.data["name"]]) for event in await store.append("a", 1, batch)]
        os.write(1, "".join(line + chr(10) for line in lines).encode())
await asyncio.gather(*(write(task) for task in range(8)))
"""


def check_whole(log: list[Event], acknowledged: dict[int, str]) -> None:
    """A log has all that was acknowledged, in its place; no gap, nothing twice, and no part of a batch."""
    assert [event.seq for event in log] == list(range(1, len(log) + 1))
    names = [event.data["name"] for event in log]
    assert len(set(names)) == len(names)
    assert {seq: names[seq - 1] for seq in acknowledged} == acknowledged
    parts = Counter(name.rpartition(" ")[0] for name in names)
    assert all(count == 1 + int(batch.split()[-1]) % 3 for batch, count in parts.items())


async def test_a_killed_writer_loses_nothing(place: str) -> None:
    acknowledged: dict[int, str] = {}
    async with opened(place) as store:
        await store.create(a_session())
    for attempt in range(ROUNDS):
        writers = [in_another_process(WRITE, place, f"{attempt}-{number}") for number in range(2)]
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()  # it is under way; a line that is lost here is looked for no more
        await asyncio.sleep(random.uniform(0, 0.2))
        for writer in writers:
            writer.kill()
        for writer in writers:
            output, _ = writer.communicate()
            complete = output[: output.rfind("\n") + 1]
            acknowledged |= dict(map(json.loads, complete.splitlines()))
        async with opened(place) as store:
            check_whole(await store.events("a"), acknowledged)
    assert len(acknowledged) > 10 * ROUNDS


async def test_a_killed_redis_loses_nothing() -> None:
    acknowledged: dict[int, str] = {}
    with RedisServer() as server:
        async with opened(server.url) as store:
            await store.create(a_session())

            async def write(task: int) -> None:
                for step in range(10**6):
                    batch = [an_event(0, name=f"0 {task} {step} {part}") for part in range(1 + step % 3)]
                    added = await store.append("a", 1, batch)
                    acknowledged.update({event.seq: event.data["name"] for event in added})

            writers = [asyncio.create_task(write(task)) for task in range(8)]
            for _ in range(ROUNDS):
                before = len(acknowledged)
                await asyncio.sleep(random.uniform(0.1, 0.3))
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
                async with asyncio.timeout(20):
                    while len(acknowledged) < before + 10:
                        await asyncio.sleep(0.01)
            assert not any(writer.done() for writer in writers)
            for writer in writers:
                writer.cancel()
            await asyncio.gather(*writers, return_exceptions=True)
            check_whole(await store.events("a"), acknowledged)


@asynccontextmanager
async def losing_answers(server: RedisServer, lost: float) -> AsyncIterator[str]:
    """A way to Redis on which questions get through, but some answers are lost with the connection."""
    chance = random.Random(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_redis, to_redis = await asyncio.open_unix_connection(server.url.removeprefix("unix://"))

        async def ask() -> None:
            while data := await reader.read(1 << 16):
                to_redis.write(data)
            to_redis.close()

        asking = asyncio.create_task(ask())
        with suppress(ConnectionError):
            while (data := await from_redis.read(1 << 16)) and chance.random() > lost:
                writer.write(data)
                await writer.drain()
        asking.cancel()
        to_redis.close()
        writer.close()

    with TemporaryDirectory() as folder:
        path = str(Path(folder) / "socket")
        async with await asyncio.start_unix_server(serve, path):
            yield f"unix://{path}"


async def test_a_question_that_is_asked_again_changes_nothing_twice(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.flushall()
    async with losing_answers(redis_server, 0.08) as url, opened(url) as store:
        epochs, acknowledged = list[int](), dict[int, str]()
        for number in range(12):
            await store.create(a_session(str(number)), quota=12)
        for _ in range(12):
            epochs.append((await store.claim("0", "two", 1 + len(epochs))).epoch)

        async def write(task: int) -> None:
            for step in range(12):
                batch = [an_event(0, name=f"0 {task} {step} {part}") for part in range(1 + step % 3)]
                acknowledged.update({event.seq: event.data["name"] for event in await store.append("0", 13, batch)})

        await asyncio.gather(*(write(task) for task in range(8)))
        log = await store.events("0")
        check_whole(log, acknowledged)
        assert len(log) == 8 * 24
        assert epochs == list(range(2, 14))
        assert await store.count() == 12
        with pytest.raises(FencedError):
            await store.claim("0", "two", 1)
        with pytest.raises(SessionExistsError):
            await store.create(a_session("0"))
        for number in range(12):
            await store.delete_session(str(number))


async def test_a_redis_that_stays_away_is_an_error() -> None:
    clock = asyncio.get_running_loop().time
    with RedisServer() as server:
        store = await RedisStore.open(server.url, patience=0.5)
        await store.create(a_session())
        server.kill()
        before = clock()
        calls: list[Any] = [store.append("a", 1, [an_event()]), store.session("a"), store.nodes(1), store.count()]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {StoreError}
        assert "see whether it runs" in str(outcomes[0])
        assert clock() - before < 5
        with pytest.raises(StoreError, match="cannot be reached"):
            await RedisStore.open(server.url, patience=0.1)
        server.start()
        await store.append("a", 1, [an_event()])
        assert len(await store.events("a")) == 1
        await store.close()


async def test_a_process_that_waits_is_not_locked_out_by_a_dead_one(tmp_path: Path) -> None:
    """SQLite's locks go with the process that has them, even if it is stopped in the middle of a transaction."""
    place = str(tmp_path / "store.db")
    async with opened(place) as store:
        await store.create(a_session())
        code = """
connection = __import__("sqlite3").connect(place, isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE sessions SET epoch = 99")
print("locked", flush=True)
await asyncio.sleep(60)
"""
        holder: subprocess.Popen[str] = in_another_process(code, place)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        appending = asyncio.create_task(store.append("a", 1, [an_event()]))
        assert (await store.session("a")).epoch == 1  # who reads does not wait
        await asyncio.sleep(0.1)
        assert not appending.done()
        holder.kill()
        holder.communicate()
        assert len(await appending) == 1
