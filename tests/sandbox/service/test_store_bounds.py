"""What every store refuses: names, JSON and blobs that it could not keep, or not give back as they were."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.sandbox.service.stores import a_session, an_event
from workbook.sandbox.service import checks
from workbook.sandbox.service.store import NewEvent, NodeRecord, RefusedError, Store

pytestmark = pytest.mark.anyio

ABSENT = hashlib.sha256(b"absent").hexdigest()


@pytest.mark.parametrize("name", ["", "a\0b", "line\nbreak", "\ud800", "x" * 257, "漢" * 86, "\x7f", "\u202e"])
async def test_names_are_printable_and_short(store: Store, name: str) -> None:
    await store.create(a_session())
    calls: list[Callable[[], Any]] = [
        lambda: store.create(a_session(name)),
        lambda: store.create(a_session("b", tenant=name)),
        lambda: store.create(a_session("b", environment=name)),
        lambda: store.session(name),
        lambda: store.append(name, 1, []),
        lambda: store.append("a", 1, [NewEvent(name)]),
        lambda: store.events(name),
        lambda: store.last("a", name),
        lambda: store.put_blob(name, b""),
        lambda: store.delete_session(name),
        lambda: store.heartbeat(NodeRecord(name, "", 1)),
        lambda: store.remove_node(name),
    ]
    if name:
        calls.append(lambda: store.claim("a", name, 1))
    for call in calls:
        with pytest.raises(RefusedError, match="the name of"):
            await call()
    assert await store.session("a") == a_session(created=(await store.session("a")).created)


def nested(depth: int) -> dict[str, Any]:
    inner: Any = {}
    for _ in range(depth - 1):
        inner = {"in": inner}
    return inner  # type: ignore[no-any-return]


NO_EVENTS: dict[str, tuple[Any, str]] = {
    "half a pair": ({"text": "half \ud83d"}, "surrogate"),
    "half a pair as key": ({"\udc00": 1}, "surrogate"),
    "not a number": ({"number": float("nan")}, "no JSON"),
    "infinite": ({"number": float("-inf")}, "no JSON"),
    "bytes": ({"bytes": b"x"}, "no JSON"),
    "a tuple as key": ({("a", "b"): 1}, "no JSON"),
    "a number of 5,000 digits": ({"number": 10**5000}, "no JSON"),
    "deep": (nested(checks.MAX_DEPTH + 1), "nested"),
    "bottomless": (nested(100_000), "no JSON"),
    "large": ({"text": "x" * checks.MAX_EVENT}, "put the large part in a blob"),
    "large in bytes": ({"text": "漢" * (checks.MAX_EVENT // 3)}, "put the large part in a blob"),
}


@pytest.mark.parametrize(("data", "why"), NO_EVENTS.values(), ids=NO_EVENTS)
async def test_an_event_is_json_within_bounds(store: Store, data: Any, why: str) -> None:
    await store.create(a_session())
    with pytest.raises(RefusedError, match=why):
        await store.append("a", 1, [an_event(1), NewEvent("cell", data)])
    with pytest.raises(RefusedError, match=why):
        await store.create(a_session("b", limits=data))
    assert await store.events("a") == []


async def test_what_is_just_small_enough_is_kept(store: Store) -> None:
    await store.create(a_session("x" * checks.MAX_NAME))
    data = {"text": "x" * (checks.MAX_EVENT - len('{"text":""}'))}
    added = await store.append("x" * checks.MAX_NAME, 1, [NewEvent("k", data), NewEvent("k", nested(checks.MAX_DEPTH))])
    assert await store.events("x" * checks.MAX_NAME) == added
    blob = bytes(checks.MAX_BLOB)
    name = await store.put_blob("x" * checks.MAX_NAME, blob)
    assert await store.get_blob(name) == blob
    with pytest.raises(RefusedError, match="a blob is"):
        await store.put_blob("x" * checks.MAX_NAME, blob + b"x")


async def test_other_bounds(store: Store) -> None:
    await store.create(a_session())
    half = NewEvent("k", {"text": "x" * (checks.MAX_EVENT // 2)})
    for events, why in [
        ([half] * 129, "together"),
        ([NewEvent("k", {}, (ABSENT,) * 1001)], "1000 blobs"),
        ([NewEvent("k", {}, ("../../etc/passwd",))], "no name of a blob"),
        ([NewEvent("k", {}, (ABSENT.upper(),))], "no name of a blob"),
        ([NewEvent("k", {}, (), float("inf"))], "a time"),
    ]:
        with pytest.raises(RefusedError, match=why):
            await store.append("a", 1, events)
    for session in (a_session("b", epoch=-1), a_session("b", epoch=1 << 60), a_session("b", created=float("nan"))):
        with pytest.raises(RefusedError):
            await store.create(session)
    with pytest.raises(RefusedError, match="open"):
        await store.create(a_session("b", closed=True))
    with pytest.raises(RefusedError):
        await store.get_blob("*")
