"""One node from the inside: what fails and what goes on at once costs it no room, and none of its sessions."""

import asyncio
import contextlib
from typing import Any, NoReturn

import pytest

from tests.sandbox.service.servers import needs_boxes
from workbook.sandbox.isolation.box import IsolationError
from workbook.sandbox.service.node import Node, NodeSettings
from workbook.sandbox.service.store import Store, StoreError

pytestmark = pytest.mark.anyio


async def no_box(*_: Any) -> NoReturn:
    raise IsolationError("not now")


@needs_boxes
async def test_a_session_that_could_not_be_made_can_be_asked_for_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Node(store, NodeSettings(capacity=1, ready=0)) as node:
        with monkeypatch.context() as patch:
            patch.setattr(node.boxes, "make", no_box)
            with pytest.raises(IsolationError):
                await node.create("ada", session="ada/s", key="k")
        session = await node.create("ada", session="ada/s", key="k")
        assert (await session.execute("1 + 1"))["text"] == "2"
        assert await node.problems() != []
        await node.close_session("ada/s", "ada")
        assert await node.problems() == []


@needs_boxes
async def test_a_box_that_does_not_end_keeps_no_room_and_stops_nobody(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Node(store, NodeSettings(capacity=2, ready=0, idle=0.3)) as node:
        first = await node.create("ada", session="ada/a")
        let_go = first.let_go

        async def fail() -> None:
            await let_go()
            raise IsolationError("it did not end")

        monkeypatch.setattr(first, "let_go", fail)
        await node.create("ada", session="ada/b")
        async with asyncio.timeout(20):
            while node.live:
                await asyncio.sleep(0.05)
        for name in ("ada/c", "ada/d"):
            await node.create("ada", session=name)


async def test_a_session_is_brought_back_by_one_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(store, NodeSettings())
    now: list[int] = []
    at_once: list[int] = []

    async def fail(*_: str) -> NoReturn:
        now.append(1)
        at_once.append(len(now))
        await asyncio.sleep(0.1)
        now.pop()
        raise StoreError("out of reach")

    monkeypatch.setattr(node, "_bring_back", fail)

    async def ask(after: float) -> None:
        await asyncio.sleep(after)
        with contextlib.suppress(StoreError):
            await node.get("ada/s", "ada")

    await asyncio.gather(ask(0), ask(0), ask(0.15))  # the last one comes when the first has failed
    assert at_once == [1, 1, 1]
    assert not node._locks
