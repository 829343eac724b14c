"""asyncio inside a box: the loop runs in cells and between them, and not while a question is answered."""

import time
from collections.abc import Iterator

import pytest

from tests.sandbox.isolation.notebooks import call, notebook_server, run, value
from workbook.sandbox.isolation.box import Box
from workbook.sandbox.isolation.server import ForkServer


@pytest.fixture(scope="module")
def server(sandboxes: None) -> Iterator[ForkServer]:
    with notebook_server() as server:
        yield server


COUNTING = """
import asyncio
async def count():
    global counted
    for counted in range(10):
        await asyncio.sleep(0.01)
counting = asyncio.create_task(count())
"""


def test_tasks_go_on_between_cells(box: Box) -> None:
    run(box, COUNTING)
    time.sleep(0.5)
    assert value(box, "counting.done(), counted") == "(True, 9)"


def test_await_at_the_top_and_a_running_loop_in_every_cell(box: Box) -> None:
    assert value(box, "import asyncio\nawait asyncio.sleep(0.01)\nasyncio.get_running_loop().is_running()") == "True"
    assert value(box, "asyncio.get_running_loop().is_running()") == "True"
    end, _ = run(box, "asyncio.run(asyncio.sleep(0))")
    assert end.error == "RuntimeError"  # as in a kernel


ENDING = """
import asyncio, sys
async def end():
    await asyncio.sleep(0.02)
    {how}
ending = asyncio.create_task(end())
"""


@pytest.mark.parametrize("how", ["sys.exit()", "asyncio.get_running_loop().stop()", "raise KeyboardInterrupt"])
def test_a_task_that_ends_the_loop_ends_neither_cell_nor_worker(box: Box, how: str) -> None:
    code = ENDING.format(how=how)
    end, _ = run(box, f"{code}\nawait asyncio.sleep(0.2)")
    assert end.error == ("CancelledError" if "Keyboard" in how else None)
    run(box, code)
    time.sleep(0.2)
    assert value(box, "ending.done() and 'alive'") == "'alive'"


ANSWER = """
import asyncio, threading
async def answer():
    await asyncio.sleep(0.01)
    return 42
def question():
    {body}
"""

LOOPS = {
    "asyncio.run": "return asyncio.run(answer())",
    "its own loop": "return asyncio.new_event_loop().run_until_complete(answer())",
    "the current loop": "return asyncio.get_event_loop().run_until_complete(answer())",
    "a thread's loop": """loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return asyncio.run_coroutine_threadsafe(answer(), loop).result(10)""",
    "the current loop, closed": """loop = asyncio.get_event_loop()
    try: return loop.run_until_complete(answer())
    finally: loop.close()""",
    "the current loop, taken by a thread": """loop = asyncio.get_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return asyncio.run_coroutine_threadsafe(answer(), loop).result(10)""",
    "a loop it made current": """loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return asyncio.get_event_loop().run_until_complete(answer())""",
}


@pytest.mark.parametrize("how", LOOPS)
def test_a_question_may_run_a_loop_of_any_kind(box: Box, how: str) -> None:
    definition = ANSWER.format(body=LOOPS[how])
    assert [call(box, definition) for _ in range(3)] == [42, 42, 42]
    assert value(box, "await answer()") == "42"
    run(box, "later = asyncio.create_task(answer())")
    time.sleep(0.2)
    assert value(box, "later.done()") == "True"


REMEMBERING = """
import asyncio
def question():
    global mine
    mine = asyncio.new_event_loop()
    asyncio.set_event_loop(mine)
"""


def test_the_current_loop_stays_the_students(box: Box) -> None:
    call(box, REMEMBERING)
    assert call(box, "def question(): return asyncio.get_event_loop() is mine")


def test_context_variables_last(box: Box) -> None:
    run(box, "import contextvars; variable = contextvars.ContextVar('variable')")
    run(box, "variable.set('kept')")
    assert value(box, "variable.get()") == "'kept'"
    assert call(box, "def question(): return variable.get()") == "kept"
