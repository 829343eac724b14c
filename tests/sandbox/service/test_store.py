"""What every store does: sessions, logs, blobs and nodes, fenced, bounded and in order."""

import asyncio
import hashlib
import sqlite3
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import redis

from tests.sandbox.service.stores import a_session, an_event, in_another_process, numbers, opened, printed
from workbook.sandbox.service import checks
from workbook.sandbox.service.store import (
    FencedError,
    NewEvent,
    NodeRecord,
    QuotaError,
    RefusedError,
    SessionExistsError,
    Store,
    StoreError,
    UnknownSessionError,
)

pytestmark = pytest.mark.anyio

ABSENT = hashlib.sha256(b"absent").hexdigest()


# -- sessions ----------------------------------------------------------------------------------------------------------


async def test_a_session_is_found_as_it_was_made(store: Store) -> None:
    session = a_session("ä/漢 字", tenant="Tenant: 7", limits={"memory": 1 << 40, "cpus": 0.5}, created=1.25)
    await store.create(session)
    assert await store.session("ä/漢 字") == session
    with pytest.raises(SessionExistsError):
        await store.create(a_session("ä/漢 字", tenant="another"))
    assert await store.session("ä/漢 字") == session


async def test_sessions_are_listed_by_tenant_and_owner(store: Store) -> None:
    await store.create(a_session("first", created=1, tenant="x", owner="one"))
    await store.create(a_session("second", created=2, tenant="x", owner="two"))
    await store.create(a_session("third", created=3, tenant="y", owner="", epoch=0))
    await store.close_session("second")

    async def listed(**wanted: Any) -> list[str]:
        return [session.id for session in await store.sessions(**wanted)]

    assert await listed() == ["first", "third"]
    assert await listed(include_closed=True) == ["first", "second", "third"]
    assert await listed(tenant="x") == ["first"]
    assert await listed(tenant="x", include_closed=True) == ["first", "second"]
    assert await listed(owner="one") == ["first"]
    assert await listed(owner="one", tenant="y") == []
    assert await listed(owner="two") == []
    assert await listed(owner="") == ["third"]
    assert (await store.count(), await store.count("x"), await store.count("nobody")) == (2, 1, 0)
    await store.claim("third", "one", 0)
    assert await listed(owner="one") == ["first", "third"]


async def test_a_quota_holds_however_many_ask_at_once(store: Store) -> None:
    made = await asyncio.gather(
        *(store.create(a_session(str(number)), quota=5) for number in range(12)), return_exceptions=True
    )
    assert Counter(type(outcome) for outcome in made) == {type(None): 5, QuotaError: 7}
    await store.create(a_session("other", tenant="other"), quota=1)
    (first, *_) = await store.sessions(tenant="tenant")
    await store.close_session(first.id)
    await store.create(a_session("again"), quota=5)


async def test_what_is_unknown_is_said_to_be(store: Store) -> None:
    for call in (
        store.session("none"),
        store.claim("none", "one", 0),
        store.append("none", 1, [an_event()]),
        store.events("none"),
        store.last("none", "cell"),
        store.put_blob("none", b"data"),
        store.drop_blobs("none", 1, []),
        store.close_session("none"),
        store.delete_session("none"),
    ):
        with pytest.raises(UnknownSessionError, match="none"):
            await call
    assert await store.get_blob(hashlib.sha256(b"data").hexdigest()) is None


async def test_a_closed_session_can_be_read_and_not_changed(store: Store) -> None:
    await store.create(a_session())
    await store.append("a", 1, [an_event(7)])
    with pytest.raises(FencedError):
        await store.close_session("a", epoch=2)
    await store.close_session("a", epoch=1)
    await store.close_session("a", epoch=1)
    record = await store.session("a")
    assert (record.closed, record.owner, record.epoch) == (True, "", 2)
    for epoch in (1, 2):
        for call in (store.append("a", epoch, [an_event()]), store.claim("a", "two", epoch)):
            with pytest.raises(FencedError):
                await call
    assert numbers(await store.events("a")) == [7]


# -- claims ------------------------------------------------------------------------------------------------------------


async def test_a_new_owner_fences_the_old_one(store: Store) -> None:
    await store.create(a_session())
    await store.append("a", 1, [an_event(1)])
    claimed = await store.claim("a", "two", 1)
    assert (claimed.owner, claimed.epoch) == ("two", 2)
    assert claimed == await store.session("a")
    for epoch in (0, 1, 3):
        for call in (
            store.append("a", epoch, [an_event(99)]),
            store.append("a", epoch, []),
            store.claim("a", "one", epoch),
            store.drop_blobs("a", epoch, []),
        ):
            with pytest.raises(FencedError, match=r"epoch 2"):
                await call
    await store.append("a", 2, [an_event(2)])
    assert numbers(await store.events("a")) == [1, 2]


async def test_no_append_of_an_old_epoch_follows_a_claim(place: str) -> None:
    """The old owner writes as fast as it can, from connections of its own, while another one claims."""
    async with opened(place) as old, opened(place) as new:
        await new.create(a_session())

        async def write() -> None:
            while True:
                await old.append("a", 1, [an_event(1), an_event(1)])

        writers = [asyncio.create_task(write()) for _ in range(8)]
        await asyncio.sleep(0.2)
        await new.claim("a", "two", 1)
        before = len(await new.events("a"))
        await new.append("a", 2, [an_event(2)])
        outcomes = await asyncio.gather(*writers, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {FencedError}
        assert before > 0
        assert numbers(await new.events("a")) == [1] * before + [2]


async def test_of_many_claims_one_succeeds(place: str) -> None:
    async with opened(place) as store, opened(place) as other:
        await store.create(a_session())
        claims = [(store, other)[number % 2].claim("a", f"node {number}", 1) for number in range(16)]
        outcomes = await asyncio.gather(*claims, return_exceptions=True)
        winners = [outcome for outcome in outcomes if not isinstance(outcome, FencedError)]
        assert winners == [await store.session("a")]


async def test_of_two_processes_one_gets_each_session(place: str) -> None:
    sessions = 40
    async with opened(place) as store:
        for number in range(sessions):
            await store.create(a_session(str(number)))
        code = """
won = []
for number in range(int(arguments[1])):
    try:
        await store.claim(str(number), arguments[0], 1)
        won.append(str(number))
    except FencedError:
        pass
print(json.dumps(won))
"""
        racers = {name: in_another_process(code, place, name, str(sessions)) for name in ("left", "right")}
        won = {name: printed(process) for name, process in racers.items()}
        assert sorted(won["left"] + won["right"], key=int) == [str(number) for number in range(sessions)]
        for name, sessions_won in won.items():
            for session in sessions_won:
                record = await store.session(session)
                assert (record.owner, record.epoch) == (name, 2)


# -- logs --------------------------------------------------------------------------------------------------------------


async def test_events_come_back_as_they_were(store: Store) -> None:
    await store.create(a_session())
    name = await store.put_blob("a", b"\0blob")
    data: dict[str, Any] = {
        "text": "ä漢\0\u2028😀'\"\\",
        "numbers": [0, -1.5, 1e300, 1 << 200],
        "none": None,
        "": {"deep": [[[]]]},
    }
    given = [NewEvent("kind", data, (name,), 12.125), NewEvent("other", {}, (), 0.1)]
    added = await store.append("a", 1, given)
    assert [(event.seq, event.time, event.kind, event.data, event.blobs) for event in added] == [
        (1, 12.125, "kind", data, (name,)),
        (2, 0.1, "other", {}, ()),
    ]
    assert await store.events("a") == added
    assert await store.append("a", 1, []) == []
    assert await store.append("a", 1, [NewEvent("kind", {1: ("tuple",)})]) == (await store.events("a"))[2:]  # type: ignore[dict-item]


async def test_a_log_is_read_from_where_one_wants(store: Store) -> None:
    await store.create(a_session())
    await store.create(a_session("empty"))
    for start in range(0, 250, 50):
        await store.append("a", 1, [an_event(number) for number in range(start, start + 50)])
    assert numbers(await store.events("a")) == list(range(250))
    assert numbers(await store.events("a", after=240)) == list(range(240, 250))
    assert numbers(await store.events("a", after=10, limit=120)) == list(range(10, 130))
    assert numbers(await store.events("a", limit=0)) == []
    for after in (250, 1 << 70):
        assert await store.events("a", after=after) == []
    assert await store.events("a", after=-(1 << 70)) == await store.events("a", limit=1 << 70)
    assert await store.events("empty") == []


async def test_the_last_event_of_a_kind_is_found(store: Store) -> None:
    await store.create(a_session())
    assert await store.last("a", "checkpoint") is None
    for number in range(3):
        await store.append("a", 1, [NewEvent("checkpoint", {"number": number}), an_event(number), an_event(-number)])
    last = await store.last("a", "checkpoint")
    assert last is not None
    assert (last.seq, last.data) == (7, {"number": 2})
    assert await store.last("a", "Checkpoint") is None


async def test_32_tasks_write_one_log_without_a_gap(place: str) -> None:
    async with opened(place) as store, opened(place) as other:
        await store.create(a_session())
        added: dict[int, list[int]] = {}

        async def write(task: int) -> None:
            for step in range(0, 20, 2):
                batch = [an_event(step, task=task), an_event(step + 1, task=task)]
                events = await (store, other)[task % 2].append("a", 1, batch)
                added.setdefault(task, []).extend(event.seq for event in events)

        await asyncio.gather(*(write(task) for task in range(32)))
        log = await store.events("a")
        assert [event.seq for event in log] == list(range(1, 641))
        for task, places in added.items():
            assert [event.seq for event in log if event.data["task"] == task] == places
            assert numbers([event for event in log if event.data["task"] == task]) == list(range(20))
            # Nothing came between the two of one call.
            assert all(second == first + 1 for first, second in zip(places[::2], places[1::2], strict=True))


async def test_a_cancelled_append_leaves_a_whole_log(store: Store) -> None:
    await store.create(a_session())
    for number in range(40):
        writing = asyncio.create_task(store.append("a", 1, [an_event(number), an_event(number)]))
        await asyncio.sleep(0.0001 * (number % 10))
        writing.cancel()
    await store.append("a", 1, [an_event(40)])
    await asyncio.sleep(0.1)
    log = await store.events("a")
    assert [event.seq for event in log] == list(range(1, len(log) + 1))
    assert set(Counter(numbers(log)).values()) <= {1, 2}
    assert all(count == 2 for number, count in Counter(numbers(log)).items() if number < 40)


async def test_a_cancelled_task_ends(store: Store) -> None:
    await store.create(a_session())

    async def write() -> None:
        while True:
            await store.append("a", 1, [an_event()])

    for attempt in range(50):
        writers = [asyncio.create_task(write()) for _ in range(4)]
        await asyncio.sleep(0.0001 * attempt)
        for writer in writers:
            writer.cancel()
        _, going = await asyncio.wait(writers, timeout=2)
        assert not going


async def test_the_loop_goes_on_while_a_store_works(store: Store) -> None:
    await store.create(a_session())
    longest = 0.0
    clock = asyncio.get_running_loop().time

    async def watch() -> None:
        nonlocal longest
        while True:
            before = clock()
            await asyncio.sleep(0.001)
            longest = max(longest, clock() - before)

    watching = asyncio.create_task(watch())
    data = bytes(16 * checks.MIB)
    await asyncio.gather(
        *(store.append("a", 1, [an_event(number)]) for number in range(200)),
        *(store.put_blob("a", data[: -1 - number]) for number in range(3)),
    )
    watching.cancel()
    assert longest < 1, "the machine is busy, or a call waited for the disk on the loop"


# -- blobs -------------------------------------------------------------------------------------------------------------


async def test_a_blob_is_kept_once_and_as_long_as_someone_has_it(store: Store) -> None:
    for session in ("a", "b"):
        await store.create(a_session(session))
    shared, own = b"shared" * 1000, b"own"
    names = [await store.put_blob("a", shared), await store.put_blob("a", own), await store.put_blob("b", shared)]
    assert names == [hashlib.sha256(data).hexdigest() for data in (shared, own, shared)]
    await store.append("b", 1, [NewEvent("checkpoint", {}, (names[0],))])
    await store.delete_session("a")
    assert await store.get_blob(names[0]) == shared
    assert await store.get_blob(names[1]) is None
    with pytest.raises(UnknownSessionError):
        await store.events("a")
    await store.drop_blobs("b", 1, [names[0], ABSENT])
    assert await store.get_blob(names[0]) is None
    assert len(await store.events("b")) == 1
    assert await store.put_blob("b", b"") == hashlib.sha256(b"").hexdigest()
    assert await store.get_blob(hashlib.sha256(b"").hexdigest()) == b""


async def test_an_event_refers_to_blobs_that_the_session_has(store: Store) -> None:
    for session in ("a", "b"):
        await store.create(a_session(session))
    of_another = await store.put_blob("b", b"of another")
    for name in (ABSENT, of_another):
        with pytest.raises(RefusedError, match=name):
            await store.append("a", 1, [an_event(), NewEvent("checkpoint", {}, (name,))])
    assert await store.events("a") == []


async def test_a_damaged_blob_is_not_returned(store: Store, place: str) -> None:
    await store.create(a_session())
    name = await store.put_blob("a", b"as it was")
    if place.startswith("unix:"):
        with redis.Redis.from_url(place) as client:
            client.set(f"sandbox:blob:{name}", b"as it is not")
    else:
        with sqlite3.connect(place) as connection:
            connection.execute("UPDATE blobs SET data = ?", (b"as it is not",))
    with pytest.raises(StoreError, match="damaged"):
        await store.get_blob(name)


async def test_deleting_leaves_nothing_behind(store: Store, place: str) -> None:
    await store.create(a_session())
    await store.append("a", 1, [NewEvent("checkpoint", {}, (await store.put_blob("a", b"data"),))])
    await store.close_session("a")
    await store.delete_session("a")
    assert await store.sessions(include_closed=True) == []
    if place.startswith("unix:"):
        with redis.Redis.from_url(place) as client:
            left: list[bytes] = client.keys("*")
            assert [key for key in left if not key.startswith(b"sandbox:done:")] == []
    else:
        with sqlite3.connect(place) as connection:
            for table in ("sessions", "events", "blobs", "holds"):
                assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    await store.create(a_session())
    assert await store.events("a") == []


# -- nodes -------------------------------------------------------------------------------------------------------------


async def test_a_node_lives_as_long_as_its_heart_beats(store: Store) -> None:
    first, second = NodeRecord("first", "http://first:1", 8), NodeRecord("second", "http://second:1", 4, 4, True)
    await store.heartbeat(second)
    await asyncio.sleep(0.5)
    await store.heartbeat(first)

    async def alive(within: float) -> list[NodeRecord]:
        return [replace(node, seen=0) for node in await store.nodes(within)]

    assert await alive(0.4) == [first]
    assert await alive(60) == [first, second]
    await store.heartbeat(replace(second, used=3))
    assert await alive(0.4) == [first, replace(second, used=3)]
    seen = [node.seen for node in await store.nodes(60)]
    assert 0 < seen[1] - seen[0] < 60
    for _ in range(2):
        await store.remove_node("first")
    assert await alive(60) == [replace(second, used=3)]


async def test_a_closed_store_says_so(store: Store, place: str) -> None:
    await store.create(a_session())
    for _ in range(2):
        await store.close()
    with pytest.raises(StoreError, match="closed"):
        await store.session("a")
    async with opened(place) as again:
        assert (await again.session("a")).id == "a"
