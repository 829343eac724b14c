"""Redis' own troubles: settings that forget, memory that is full, another's keys."""

import pytest

from tests.sandbox.service.stores import RedisServer, a_session, an_event, numbers, opened
from workbook.sandbox.service.redis_store import RedisStore
from workbook.sandbox.service.store import StoreError

pytestmark = pytest.mark.anyio


async def test_a_redis_that_forgets_is_refused() -> None:
    for option, value, why in [
        ("appendonly", "no", "forgets"),
        ("maxmemory-policy", "allkeys-lru", "throws keys away"),
    ]:
        with RedisServer(f"--{option}", value) as server:
            with pytest.raises(StoreError, match=why):
                await RedisStore.open(server.url)
            store = await RedisStore.open(server.url, durable=False)
            await store.create(a_session())
            await store.close()


async def test_a_redis_without_memory_keeps_what_it_has() -> None:
    with RedisServer("--maxmemory", "4mb") as server:
        async with opened(server.url) as store:
            for session in ("a", "b"):
                await store.create(a_session(session))
            await store.put_blob("b", bytes(1 << 20))
            acknowledged, refused = 0, ""
            while not refused:
                batch = [an_event(acknowledged + number, text="x" * 10_000) for number in range(3)]
                try:
                    acknowledged += len(await store.append("a", 1, batch))
                except StoreError as error:
                    refused = str(error)
            assert "raise its `maxmemory`" in refused
            assert acknowledged > 10
            assert numbers(await store.events("a")) == list(range(acknowledged))
            client = server.client()
            client.config_set("maxmemory", "100mb")
            client.close()
            await store.append("a", 1, [an_event(acknowledged)])
            assert numbers(await store.events("a")) == list(range(acknowledged + 1))


async def test_a_password_that_is_wrong_is_said_to_be() -> None:
    with pytest.raises(StoreError, match="no address of a Redis"):
        await RedisStore.open("file:///store.db")
    with RedisServer() as server:
        client = server.client()
        client.config_set("requirepass", "secret")
        for url in (server.url, server.url + "?password=wrong"):
            with pytest.raises(StoreError, match="does not let us in"):
                await RedisStore.open(url)
        async with opened(server.url + "?password=secret") as store:
            await store.create(a_session())


async def test_stores_of_different_prefixes_share_nothing(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.flushall()
    left, right = [await RedisStore.open(redis_server.url, prefix=prefix) for prefix in ("left:", "right:")]
    await left.create(a_session())
    name = await left.put_blob("a", b"data")
    assert await right.sessions() == []
    assert await right.get_blob(name) is None
    for store in (left, right):
        await store.close()
    with redis_server.client() as client:
        keys: list[bytes] = client.keys("*")
        assert {key.partition(b":")[0] for key in keys} == {b"left"}


async def test_scripts_that_redis_has_forgotten_are_sent_again(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        with redis_server.client() as client:
            client.flushall()
            await store.create(a_session())
            await store.append("a", 1, [an_event()])
            client.script_flush()
            await store.append("a", 1, [an_event()])
        assert [event.seq for event in await store.events("a")] == [1, 2]
