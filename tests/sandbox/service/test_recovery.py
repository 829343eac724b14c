"""Sessions that come back: after the death of a context, a box, or a node, at any point, by log and checkpoint."""

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.system import unavailable
from workbook.sandbox.isolation.limits import Limits
from workbook.sandbox.isolation.server import ForkServer, available
from workbook.sandbox.service import journal
from workbook.sandbox.service.boxes import library
from workbook.sandbox.service.file_history import FileHistory
from workbook.sandbox.service.live import LiveBox
from workbook.sandbox.service.live_types import ContextLost, FileRefused, SessionLost
from workbook.sandbox.service.session import Session
from workbook.sandbox.service.session_calls import KeyConflictError
from workbook.sandbox.service.store import FencedError, RefusedError, SessionRecord, Store, StoreError

pytestmark = pytest.mark.anyio

CALL = "from workbook.sandbox.service.calls import call\n"
LIMITS = replace(Limits(), output=1 << 40)


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    if reason := available():
        unavailable(reason)
    with ForkServer("workbook.sandbox.service.inside", library=library()) as server:
        yield server


class World:
    """What a session's calls do, and a session of this world over a store.

    Attributes:
        done: The arguments of each call, in order.
        hold: While it is set, calls do not come to their end.
    """

    def __init__(self, server: ForkServer, store: Store) -> None:
        self.done: list[dict[str, Any]] = []
        self.hold: asyncio.Event | None = None
        self._server, self.store = server, store
        self.sessions: list[Session] = []

    async def _act(self, arguments: dict[str, Any]) -> tuple[Any, list[bytes]]:
        self.done.append(arguments)
        if self.hold is not None:
            await self.hold.wait()
        return {"number": len(self.done)}, [b"body"]

    async def _make_box(self, session: Session) -> LiveBox:
        return LiveBox(await asyncio.to_thread(self._server.box, LIMITS), session.on_call)

    async def begin(self) -> Session:
        record = SessionRecord("s", "tenant", "default", owner="first", epoch=1)
        await self.store.create(record)
        session = self._session(record)
        await session.create()
        return session

    def _session(self, record: SessionRecord) -> Session:
        session = Session(record, self.store, self._make_box, {"act": self._act})
        self.sessions.append(session)
        return session

    async def bring_back(self, owner: str = "second") -> Session:
        """As another node does, whatever the first one is doing."""
        before = await self.store.session("s")
        session = self._session(await self.store.claim("s", owner, before.epoch))
        await session.restore(owner)
        return session

    async def kinds(self) -> list[str]:
        return [event.kind for event in await self.store.events("s")]


@pytest.fixture
async def world(server: ForkServer, store: Store) -> AsyncIterator[World]:
    world = World(server, store)
    yield world
    for session in world.sessions:
        await session.let_go()


async def text(session: Session, code: str, **more: Any) -> str:
    return str((await session.execute(code, **more))["text"])


async def restored(world: World) -> dict[str, Any]:
    event = await world.store.last("s", journal.RESTORED)
    assert event is not None
    return event.data


async def test_state_files_and_calls_come_back_and_nothing_is_done_twice(world: World) -> None:
    session = await world.begin()
    await text(session, "import random, time, os\nx = random.random()\nnow = time.time()\ndef f(): return x")
    await text(session, f"{CALL}value = call('act', n=1)")
    await text(session, "os.makedirs('d'); open('d/f', 'w').write(str(now)); os.chmod('d/f', 0o600)")
    await session.file("write", [b"from outside"], path="d/g")
    await session.open_context("two")
    await text(session, "y = 2", context="two")
    seen = await text(session, "x, f(), value, sorted(os.listdir('d')), open('d/f').read()")
    session = await world.bring_back()
    came = await text(session, "x, f(), value, sorted(os.listdir('d')), open('d/f').read()")
    assert came == seen
    assert (
        await text(session, "os.stat('d/f').st_mode & 0o777 == 0o600, open('d/g').read()") == "(True, 'from outside')"
    )
    assert await text(session, "y", context="two") == "2"
    assert world.done == [{"n": 1}]
    assert (await restored(world))["cells"] == 5


async def test_the_former_owner_can_write_nothing_any_more(world: World) -> None:
    first = await world.begin()
    await text(first, "x = 1")
    second = await world.bring_back()
    for attempt in (first.execute("x = 2"), first.file("write", [b""], path="f"), first.call("act", {})):
        with pytest.raises((FencedError, SessionLost)):
            await attempt
    assert world.done == [], "what cannot be recorded is not done"
    assert await text(second, "x") == "1"


@pytest.mark.parametrize("death", ["os.kill(os.getppid(), 9)", "os.kill(os.getpid(), 9)"])
async def test_a_cell_that_kills_is_not_executed_again(world: World, death: str) -> None:
    session = await world.begin()
    await text(session, "import os\nx = 1\nopen('f', 'w').write('kept')")
    result = await session.execute(f"import os\n{death}\nimport time; time.sleep(5)", key="k")
    assert (result["status"], result["state_lost"]) == ("died", False)
    if not session.lost:
        assert await text(session, "x") == "1", "what the cells before it had defined is brought back"
    session = await world.bring_back()
    assert await text(session, "x, open('f').read()") == "(1, 'kept')"
    assert (await session.execute(f"import os\n{death}\nimport time; time.sleep(5)", key="k"))["status"] == "died"


async def test_a_kernel_killed_in_the_middle_of_a_cell_comes_back_with_its_checkpoint_and_its_calls(
    world: World,
) -> None:
    session = await world.begin()
    await text(session, "import time, os\nx = time.time()\ntime.sleep(2.1)")  # is kept by a checkpoint
    await text(session, f"{CALL}value = call('act', n=1)")
    seen = await text(session, "x, value")
    await session.open_context("two")
    for _ in range(2):
        begin = "open('g', 'a').write('x'); open('number', 'w').write(str(os.getpid()))"
        cell = asyncio.create_task(session.execute(f"{begin}; x = 0; time.sleep(30)"))
        kill = "import os, time\nwhile not (n := os.path.exists('number') and open('number').read()): time.sleep(0.01)"
        await text(session, f"{kill}\nos.remove('number'); os.kill(int(n), 9)", context="two")
        result = await cell
        assert (result["status"], result["state_lost"]) == ("died", False)
        assert await text(session, "x, value") == seen
    assert await text(session, "open('g').read()") == "'xx'", "its files stay as they were when it ended"
    assert world.done == [{"n": 1}]


async def test_cells_that_are_executed_again_find_the_files_that_they_found(world: World) -> None:
    session = await world.begin()
    await session.file("write", [b"first"], path="in/data")
    await text(session, "a = open('in/data').read()\nopen('out', 'a').write(a)")
    await session.file("write", [b"second"], path="in/data")
    await text(session, "b = open('in/data').read()\nimport os\nos.remove('out')")
    await session.file("remove", path="in")
    await session.open_context("two")
    await text(session, "c = os.listdir() if 'os' in globals() else __import__('os').listdir()", context="two")
    await session.file("write", [b"third"], path="in/other")
    await session.file("set_mode", path="in/other", mode=0o600)
    files = "import os\nsorted((f, os.stat(f).st_mode, open(f).read()) for f in ['in/other']), sorted(os.listdir())"
    seen = await text(session, files)
    for _ in range(2):
        session = await world.bring_back()
        assert (await restored(world))["otherwise"] == []
        assert await text(session, "a, b") == "('first', 'second')"
        assert await text(session, "c", context="two") == "[]"
        assert await text(session, files) == seen
    await text(session, "os._exit(1)")  # revived in its box
    assert await text(session, "a, b") == "('first', 'second')"
    assert await text(session, files) == seen


async def test_an_interrupted_cell_is_interrupted_again(world: World) -> None:
    session = await world.begin()
    forever = "n = 0\ntry:\n    import time; time.sleep(600)\nexcept KeyboardInterrupt:\n    n = 1\n    raise"
    cell = asyncio.create_task(session.execute(forever, timeout=1000))
    await asyncio.sleep(0.5)
    session.interrupt()
    assert (await cell)["error"]["name"] == "KeyboardInterrupt"
    session = await world.bring_back()
    assert await text(session, "n") == "1"


async def test_what_ends_otherwise_when_it_is_executed_again_is_told(world: World) -> None:
    session = await world.begin()
    await text(session, "import os, time\nx = 1")
    once = (
        "import pathlib\nif pathlib.Path('/tmp/seen').exists(): raise RuntimeError\npathlib.Path('/tmp/seen').touch()"
    )
    await text(session, once)
    await text(session, "os._exit(1)")
    result = await session.execute("x")
    assert (result["text"], result["state_lost"]) == ("1", True)
    event = await world.store.last("s", journal.CONTEXT_RESTORED)
    assert event is not None
    assert len(event.data["otherwise"]) == 1
    assert not (await session.execute("x"))["state_lost"]


async def test_a_context_that_cannot_be_brought_back_begins_anew_and_tells_so(world: World) -> None:
    session = await world.begin()
    dies_again = "import os\nif os.path.exists('/tmp/trap'): os._exit(1)\nx = 1\nopen('/tmp/trap', 'w').close()"
    await text(session, dies_again)
    await text(session, "os._exit(1)")
    result = await session.execute("globals().get('x')")
    assert (result["status"], result["text"], result["state_lost"]) == ("ok", "", True)
    result = await session.execute("y = 2")
    assert (result["status"], result["state_lost"]) == ("ok", False)
    session = await world.bring_back()
    assert await text(session, "globals().get('x'), y") == "(None, 2)"


async def test_a_program_and_a_change_with_a_key_are_made_once(world: World) -> None:
    session = await world.begin()
    first = await session.start(["sh", "-c", "echo once >> log"], key="p")
    second = await session.start(["sh", "-c", "echo once >> log"], key="p")
    assert first is second
    with pytest.raises(KeyConflictError):
        await session.start(["true"], key="p")
    with pytest.raises(KeyConflictError):
        await session.start(["sh", "-c", "echo once >> log"], {"NAME": "x"}, key="p")
    with pytest.raises(FileRefused):
        await session.start(["/no/such/program"], key="q")
    await session.start(["true"], key="q")
    while not first.ended:
        await asyncio.sleep(0.01)
    size = await session.file("write", [b"line\n"], path="f", append=True, key="a")
    assert await session.file("write", [b"line\n"], path="f", append=True, key="a") == size
    with pytest.raises(KeyConflictError):
        await session.file("write", [b"another\n"], path="f", append=True, key="a")
    session = await world.bring_back()
    assert await session.file("write", [b"line\n"], path="f", append=True, key="a") == size
    assert (await session.start(["sh", "-c", "echo once >> log"], key="p")).status == 0
    assert await text(session, "open('f').read(), open('log').read()") == r"('line\n', 'once\n')"


async def test_a_key_gives_the_same_result_again_and_again(world: World) -> None:
    session = await world.begin()
    code = f"{CALL}n = globals().get('n', 0) + 1\ncall('act', n=n)\nn"
    first = await session.execute(code, key="k")
    both = await asyncio.gather(session.execute(code, key="k"), session.execute(code, key="k"))
    session = await world.bring_back()
    assert [first, first, first] == [*both, await session.execute(code, key="k")]
    assert len(world.done) == 1
    with pytest.raises(KeyConflictError):
        await session.execute("another", key="k")
    assert await text(session, "n") == "1"


async def test_two_at_once_with_one_key_execute_once(world: World) -> None:
    session = await world.begin()
    code = f"{CALL}import time; time.sleep(0.3); call('act', n=1)"
    first, second = await asyncio.gather(session.execute(code, key="k"), session.execute(code, key="k"))
    assert first == second
    assert len(world.done) == 1


async def test_a_cell_that_was_cut_off_runs_again_by_its_key_without_its_calls(world: World) -> None:
    session = await world.begin()
    code = f"{CALL}a = call('act', n=1)[0]\nimport time; time.sleep(0.5)\nb = call('act', n=2)[0]\n(a, b)"
    cell = asyncio.create_task(session.execute(code, key="k"))
    while not world.done:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    second = await world.bring_back()  # the first call is in the log, its cell has no end
    with pytest.raises((FencedError, SessionLost)):
        await cell
    assert await text(second, code, key="k") == "({'number': 1}, {'number': 2})"
    assert world.done == [{"n": 1}, {"n": 2}]


async def test_a_call_of_which_nobody_knows_the_end_is_not_made_again(world: World) -> None:
    session = await world.begin()
    world.hold = asyncio.Event()
    code = f"{CALL}call('act', n=1)"
    cell = asyncio.create_task(session.execute(code, key="k"))
    while not world.done:
        await asyncio.sleep(0.01)
    second = await world.bring_back()
    world.hold.set()
    with pytest.raises((FencedError, SessionLost)):
        await cell
    assert "nobody knows what came of it, and it is not done twice" in await text(second, code, key="k")
    assert world.done == [{"n": 1}]


async def test_checkpoints_save_what_would_be_executed_again(world: World) -> None:
    session = await world.begin()
    await text(session, "import time\nx = time.time()\ntime.sleep(2.1)")
    await text(session, "y = x + 1")
    assert journal.CHECKPOINT in await world.kinds()
    seen = await text(session, "x, y")
    session = await world.bring_back()
    assert await text(session, "x, y") == seen, "what a checkpoint holds is what it was, clocks and all"
    assert (await restored(world))["cells"] == 2


async def test_what_cannot_be_kept_is_executed_again(world: World) -> None:
    session = await world.begin()
    await text(session, "import time\nfile = open('f', 'w')\ntime.sleep(2.1)\nx = 5")
    assert journal.CHECKPOINT not in await world.kinds()
    session = await world.bring_back()
    assert await text(session, "x, file.closed") == "(5, False)"


async def test_files_are_what_was_acknowledged_even_if_code_would_make_others(world: World) -> None:
    session = await world.begin()
    await text(session, "import os, secrets\nname = secrets.token_hex(4)\nopen(name, 'w').write(secrets.token_hex(4))")
    await text(session, "os.symlink(name, 'link'); os.makedirs('a/b')")
    await session.file("remove", path="a")
    before = sorted((one["name"], one["kind"], one["size"]) for one in (await session.file("list", path="."))[0])
    contents = (await session.file("read", path="link", offset=0, size=100))[1]
    session = await world.bring_back()
    after = sorted((one["name"], one["kind"], one["size"]) for one in (await session.file("list", path="."))[0])
    assert after == before
    assert (await session.file("read", path="link", offset=0, size=100))[1] == contents


async def test_large_results_and_files_come_back(world: World) -> None:
    session = await world.begin()
    result = await session.execute("print('x' * 700_000)\nopen('big', 'wb').write(b'y' * 20_000_000)", key="k")
    session = await world.bring_back()
    again = await session.execute("print('x' * 700_000)\nopen('big', 'wb').write(b'y' * 20_000_000)", key="k")
    assert json.dumps(again) == json.dumps(result)
    assert (await session.file("stat", path="big"))[0]["size"] == 20_000_000


async def test_a_session_that_moves_often_stays_the_same(world: World) -> None:
    session = await world.begin()
    await text(session, "x = 0")
    for number in range(4):
        session = await world.bring_back(f"node{number}")
        await text(session, "x += 1")
    assert await text(session, "x") == "4"
    sequence = [event.seq for event in await world.store.events("s")]
    assert sequence == list(range(1, len(sequence) + 1))


async def test_a_closed_session_stays_closed(world: World) -> None:
    session = await world.begin()
    await session.close("done")
    with pytest.raises(FencedError):
        await world.bring_back()
    assert (await world.kinds())[-1] == journal.CLOSED


# What goes on at once, and what fails in the middle.

DIES = "import os; os._exit(1)"


def held_up(monkeypatch: pytest.MonkeyPatch, world: World, name: str) -> tuple[asyncio.Event, asyncio.Event]:
    """Holds up what a store is asked for; returns what tells that it was asked, and what lets it go on."""
    asked, going = asyncio.Event(), asyncio.Event()
    real = getattr(world.store, name)

    async def slow(*arguments: Any) -> Any:
        asked.set()
        await going.wait()
        return await real(*arguments)

    monkeypatch.setattr(world.store, name, slow)
    return asked, going


def failing(monkeypatch: pytest.MonkeyPatch, world: World, name: str, times: int) -> None:
    """Has a store refuse so often."""
    real, left = getattr(world.store, name), iter(range(times))

    async def fail(*arguments: Any) -> Any:
        if next(left, None) is not None:
            raise StoreError("out of reach")
        return await real(*arguments)

    monkeypatch.setattr(world.store, name, fail)


async def gone_on(world: World, session: Session) -> Session:
    """The session, brought back if its box was given up."""
    return await world.bring_back() if session.lost else session


@pytest.mark.parametrize("code", ["x = '" + "x" * 1_200_000 + "'", "x = '\ud800'"])
async def test_a_cell_that_no_log_takes_costs_nothing(world: World, code: str) -> None:
    session = await world.begin()
    await text(session, "x = 1")
    with pytest.raises(RefusedError):
        await session.execute(code, key="k")
    assert await text(session, "x", key="k") == "1"


@pytest.mark.parametrize("times", [1, 3])
async def test_a_store_that_does_not_take_what_was_made_has_nothing_made_twice(
    world: World, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    session = await world.begin()
    code = "n = globals().get('n', 0) + 1\nopen('f', 'a').write('x')\nn"
    for asked in ("cell", "file"):
        failing(monkeypatch, world, "put_blob", times)
        for _ in range(2):
            session = await gone_on(world, session)
            try:
                if asked == "cell":
                    assert await text(session, code, key="k") == "1"
                else:
                    await session.file("write", [b"y"], path="f", append=True, key="f")
            except StoreError:
                continue
            break
    assert await text(session, "open('f').read(), n") == "('xy', 1)"
    assert await text(await world.bring_back(), "open('f').read(), n") == "('xy', 1)"


async def test_what_a_store_took_and_denied_counts_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    session = await world.begin()
    await text(session, "x = 0")
    real, denied = world.store.append, iter([True])

    async def deny(name: str, epoch: int, events: Any) -> Any:
        kept = await real(name, epoch, events)
        if events[-1].kind == journal.CELL_FINISHED and next(denied, False):
            raise StoreError("the answer was lost")
        return kept

    monkeypatch.setattr(world.store, "append", deny)
    await text(session, "x += 1")
    assert await text(await world.bring_back(), "x") == "1"


async def test_a_context_that_a_failing_store_could_not_bring_back_is_brought_back_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await world.begin()
    await text(session, "import time\nx = 1\ntime.sleep(2.1)")  # is kept by a checkpoint
    await session.execute(DIES)
    failing(monkeypatch, world, "get_blob", 1)
    with pytest.raises(StoreError):
        await session.execute("x")
    result = await (await gone_on(world, session)).execute("x")
    assert (result["text"], result["state_lost"]) == ("1", False)


async def test_a_cell_counts_as_work_until_it_is_recorded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    session = await world.begin()
    asked, going = held_up(monkeypatch, world, "put_blob")
    cell = asyncio.create_task(session.execute("open('f', 'w').write('x')"))
    await asked.wait()
    assert session.busy, "or its box would be ended, where it has run for long"
    going.set()
    await cell
    await asyncio.sleep(0)
    assert not session.busy


async def test_contexts_with_equal_checkpoints_keep_theirs(world: World) -> None:
    session = await world.begin()
    await session.open_context("two")
    for context in ("main", "two"):
        await text(session, "import time\nx = 1\ntime.sleep(2.1)", context=context)
    await text(session, "x = 2\ntime.sleep(2.1)")
    assert await text(await world.bring_back(), "x", context="two") == "1"


async def test_a_context_of_the_same_name_has_nothing_of_the_one_that_ended(world: World) -> None:
    session = await world.begin()
    await asyncio.gather(session.open_context("two"), session.open_context("two"))
    await text(session, "import time\nx = 1\ntime.sleep(2.1)", context="two")
    await session.end_context("two")
    await session.open_context("two")
    await session.execute(DIES, context="two")
    assert await text(session, "'x' in globals()", context="two") == "False"


async def test_a_context_that_ends_while_it_is_kept_stays_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    session = await world.begin()
    await session.open_context("two")
    asked, going = held_up(monkeypatch, world, "put_blob")
    cell = asyncio.create_task(session.execute("import time; time.sleep(2.1)", context="two"))
    await asked.wait()
    await session.end_context("two")
    going.set()
    await cell
    assert session.contexts == ["main"]
    assert (await world.bring_back()).contexts == ["main"]


@pytest.mark.parametrize("before", [True, False])
async def test_a_context_that_ends_while_it_is_brought_back_stays_ended(world: World, before: bool) -> None:
    session = await world.begin()
    await session.open_context("two")
    await text(session, "import time\ntime.sleep(0.7)", context="two")
    await session.execute(DIES, context="two")
    async with session._files.lock:
        cell = asyncio.create_task(session.execute("1", context="two"))
        await asyncio.sleep(0.1)
        if before:
            await session.end_context("two")
    if not before:
        await asyncio.sleep(0.4)
        await session.end_context("two")
    with pytest.raises(ContextLost):
        await cell
    assert session._live().contexts == session.contexts == ["main"]
    await session.open_context("two")
    assert await text(session, "'time' in globals()", context="two") == "False"
    assert sorted((await world.bring_back()).contexts) == ["main", "two"]


async def test_cells_that_wait_in_a_context_end_with_it(world: World) -> None:
    session = await world.begin()
    await session.open_context("two")
    first = asyncio.create_task(session.execute("import time; time.sleep(20)", context="two"))
    await asyncio.sleep(0.3)
    waiting = asyncio.create_task(session.execute("'of the first'", context="two"))
    await asyncio.sleep(0.1)
    async with session._files.lock:
        await session.end_context("two")
        await session.open_context("two")
    assert await text(session, "import time; time.sleep(0.3); 'of the second'", context="two") == "'of the second'"
    assert (await first)["status"] == "died"
    with pytest.raises(ContextLost):
        await waiting


async def test_what_is_interrupted_is_the_cell_and_not_what_is_brought_back_before_it(world: World) -> None:
    session = await world.begin()
    await text(session, "import time; time.sleep(1); x = 5")
    await session.execute(DIES)
    cell = asyncio.create_task(session.execute("x"))
    await asyncio.sleep(0.5)
    session.interrupt()
    assert (await cell)["text"] == "5"


async def test_who_works_beside_a_context_that_is_brought_back_keeps_its_files(world: World) -> None:
    session = await world.begin()
    await session.open_context("two")
    await text(session, "x = 1\nopen('own', 'a').write('x')")
    await session.file("write", [b"0\n"], path="known")
    script = "for i in 1 2 3 4 5 6 7 8; do echo $i >> log; sleep 0.2; done"
    program = await session.start(["sh", "-c", script])
    code = "import time\nf = open('known', 'a')\nfor i in range(8): print(i, file=f, flush=True); time.sleep(0.2)"
    cell = asyncio.create_task(session.execute(code, context="two"))
    await asyncio.sleep(0.4)
    await session.execute(DIES)
    await asyncio.sleep(0.3)
    assert await text(session, "x") == "1"
    await cell
    while not program.ended:
        await asyncio.sleep(0.05)
    look = "[len(open(f).read().split()) for f in ('log', 'known', 'own')]"
    assert await text(session, look) == "[8, 9, 1]"
    assert await text(await world.bring_back(), look) == "[8, 9, 1]"


async def test_a_checkpoint_leaves_the_files_that_a_cell_beside_it_has_found(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await world.begin()
    await session.open_context("two")
    await session.file("write", [b"1"], path="in")
    kept = asyncio.create_task(session.execute("import time; time.sleep(2.1)", context="two"))
    await asyncio.sleep(0.2)
    await text(session, "a = open('in').read()")
    await session.file("write", [b"2"], path="in")
    await kept
    await session.execute(DIES)
    assert await text(session, "a") == "'1'"


@pytest.mark.parametrize("mode", ["0o555", "0o0"])
async def test_a_folder_that_is_closed_comes_back_as_it_was(world: World, mode: str) -> None:
    session = await world.begin()
    await session.file("write", [b"x"], path="d/e/f")
    await text(session, f"import os\nos.chmod('d/e/f', 0o444); os.chmod('d/e', 0o555); os.chmod('d', {mode})")
    for _ in range(2):
        session = await world.bring_back()
        assert await text(session, "oct(os.stat('d').st_mode & 0o777)") == f"'{mode}'"
    if mode == "0o555":
        assert await text(session, "open('d/e/f').read()") == "'x'"


async def test_a_workspace_that_is_nearly_full_comes_back(world: World) -> None:
    session = await world.begin()
    await text(session, "with open('f', 'wb') as f: f.write(b'x' * (40 << 20))")
    assert await text(await world.bring_back(), "len(open('f', 'rb').read()) >> 20") == "40"


async def test_a_file_with_holes_is_not_read_into_the_service(world: World) -> None:
    session = await world.begin()
    reads: list[str] = []
    real = session._live().file

    async def file(action: str, blobs: Any = (), **arguments: Any) -> Any:
        reads.append(action)
        return await real(action, blobs, **arguments)

    session._live().file = file  # type: ignore[method-assign]
    await text(session, "with open('f', 'wb') as f: f.truncate(500 << 20)")
    assert "read" not in reads


async def test_results_of_cells_are_not_held_in_memory(world: World) -> None:
    session = await world.begin()
    result = await session.execute("print('x' * 100_000)", key="k")
    gc.collect()
    held = [one for one in gc.get_objects() if type(one) is dict and one.get("seconds") == result["seconds"]]
    assert all(one is result for one in held if "outputs" in one)
    assert await session.execute("print('x' * 100_000)", key="k") == result


def test_many_files_that_go_at_once_hold_nobody_up() -> None:
    history = FileHistory()
    names = [f"d/{number}" for number in range(10_000)]
    folder = {"path": "d", "kind": "folder", "mode": 0o755}
    history.note({"changed": [folder, *({"path": name, "kind": "file", "mode": 0o644} for name in names)]})
    began = time.monotonic()
    history.note({"removed": names[::-1]})
    assert list(history.entries) == ["d"]
    history.note({"changed": [{"path": "d/e", "kind": "file", "mode": 0o644}], "removed": []})
    history.note({"removed": ["d"]})
    assert not history.entries
    assert time.monotonic() - began < 1
