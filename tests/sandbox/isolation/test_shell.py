"""The shell inside a box."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.sandbox.isolation.notebooks import call, notebook_server, printed, run, shown, value
from workbook.sandbox.isolation.box import Box, BoxDied
from workbook.sandbox.isolation.cells import TIMED_OUT
from workbook.sandbox.isolation.limits import Limits
from workbook.sandbox.isolation.messages import MAX_PRINTED, TRUNCATED
from workbook.sandbox.isolation.server import ForkServer


@pytest.fixture(scope="module")
def server(sandboxes: None) -> Iterator[ForkServer]:
    with notebook_server() as server:
        yield server


@pytest.fixture(scope="module")
def box(server: ForkServer) -> Iterator[Box]:
    """A box that all tests here share: what one does must not reach the next."""
    with server.box(files={"beside.py": b"here = 7", "colorsys.py": b"raise RuntimeError('this is mine')"}) as box:
        yield box


def test_building_it_leaves_nothing_that_a_fork_would_break(tmp_path: Path) -> None:
    code = """
import os, sys, threading
from workbook.sandbox.isolation.shell import Shell
Shell()
import asyncio
assert threading.active_count() == 1, threading.enumerate()
assert len(os.listdir("/proc/self/task")) == 1
assert asyncio.get_event_loop_policy()._local._loop is None
ours = [name for name in sys.modules if name.startswith("workbook.sandbox.")]
assert all(name.startswith("workbook.sandbox.isolation") for name in ours), ours
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, cwd=Path.cwd(), env=environment)


def test_last_value_is_the_result_and_names_stay(box: Box) -> None:
    end, messages = run(box, "number = 6\nprint('before')\nnumber * 7")
    assert (end.error, shown(messages)) == (None, ["before\n", "42"])
    assert messages[-1]["content"]["execution_count"] == end.execution_count
    following, _ = run(box, "assert number == 6 and _ == 42")
    assert following.error is None
    assert following.execution_count == (end.execution_count or 0) + 1


def test_blank_cell_has_no_number(box: Box) -> None:
    end, messages = run(box, "  \n")
    assert (end.error, end.execution_count, messages) == (None, None, [])


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("1 +", "SyntaxError"),
        ("raise SystemExit", "SystemExit"),
        ("import sys; sys.exit('bye')", "SystemExit"),
        ("input('name?')", "StdinNotImplementedError"),
        ("import getpass; getpass.getpass()", "StdinNotImplementedError"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("class Empty(Exception):\n    def __bool__(self): return False\nraise Empty", "Empty"),
        ("class Bad:\n    def __repr__(self): raise KeyError('k')\nBad()", "KeyError"),
        ("import asyncio; await asyncio.wait_for(asyncio.sleep(9), 0.01)", "TimeoutError"),
        ("%no_such_magic", "UsageError"),
        ("get_ipython().enable_gui('qt')", "UsageError"),
    ],
)
def test_errors_end_the_cell_only(box: Box, code: str, error: str) -> None:
    end, messages = run(box, code)
    assert end.error == error
    told = [message["content"]["ename"] for message in messages if message["msg_type"] == "error"]
    assert told == [error] or printed(messages, "stderr").startswith(f"{error}: ")  # the latter for a UsageError
    assert value(box, "'alive'") == "'alive'"


def test_traceback_shows_the_cell(box: Box) -> None:
    _, messages = run(box, "def inner():\n    return 1 / 0\ninner()")
    text = re.sub("\x1b\\[[0-9;]*m", "", "\n".join(messages[-1]["content"]["traceback"]))
    assert "line 2, in inner()\n      1 def inner():\n----> 2     return 1 / 0" in text
    assert text.endswith("ZeroDivisionError: division by zero")


def test_streams_come_in_order(box: Box) -> None:
    code = """
import sys
for i in range(3):
    print("out", i)
    print("err", i, file=sys.stderr)
print("no line's", end=" ")
print("end", end="", file=sys.stderr)
print("!", end="")
"""
    _, messages = run(box, code)
    pieces = ["out 0\n", "err 0\n", "out 1\n", "err 1\n", "out 2\n", "err 2\n", "no line's ", "end", "!"]
    assert shown(messages) == pieces


def test_all_that_is_written_arrives(box: Box) -> None:
    _, messages = run(
        box,
        """
import multiprocessing, os, subprocess, threading
thread = threading.Thread(target=print, args=("thread",))
thread.start(); thread.join()
child = multiprocessing.get_context("fork").Process(target=print, args=("fork",))
child.start(); child.join()
os.write(1, b"descriptor\\n"); os.write(1, "h\\u00e9".encode()[:2]); os.write(1, "h\\u00e9\\n".encode()[2:])
subprocess.run(["echo", "subprocess"])
!echo shell
print("lone \\ud800")
os.write(2, b"error")
""",
    )
    text = printed(messages)
    for line in ("thread", "fork", "descriptor", "hé", "subprocess", "shell", "lone ?"):
        assert text.count(f"{line}\n") + text.count(f"{line}\r\n") == 1, (line, text)
    assert printed(messages, "stderr") == "error"


def test_what_a_subprocess_wrote_comes_before_what_follows_it(box: Box) -> None:
    for _ in range(20):
        _, messages = run(box, "import os\nos.system('echo first')\nprint('second')\nos.system('echo third')\n'fourth'")
        assert shown(messages)[-1] == "'fourth'"
        assert printed(messages).startswith("first\n")


def test_lines_before_a_crash_are_not_lost(server: ForkServer) -> None:
    with server.box() as box:
        end, messages = run(box, "import ctypes\nprint('one')\nprint('two')\nctypes.string_at(0)")
        assert (end.reason, printed(messages)) == ("SIGSEGV", "one\ntwo\n")
        assert "in <module>" in printed(messages, "stderr")


def test_a_flood_of_prints_is_cut_and_costs_only_the_cell(server: ForkServer) -> None:
    with server.box(Limits(output=2 * MAX_PRINTED)) as box:
        end, messages = run(box, "for n in range(300_000): print('line', n)", timeout=120)
        assert end.error is None
        text = printed(messages)
        assert text.startswith("line 0\nline 1\n")
        assert text.endswith(TRUNCATED)
        assert MAX_PRINTED // 2 < len(text) <= MAX_PRINTED + len(TRUNCATED)
        assert printed(run(box, "print('next')")[1]) == "next\n"


def test_forks_neither_write_to_the_channel_nor_go_on(box: Box) -> None:
    code = """
import os
from IPython.display import display
before = os.getpid()
pid = os.fork()
if pid == 0:
    print("in the fork"); display("lost")
else:
    os.waitpid(pid, 0)
    print("in the worker")
"""
    end, messages = run(box, code)
    assert end.error is None
    assert printed(messages) == "in the fork\nin the worker\n"
    assert {message["msg_type"] for message in messages} == {"stream"}
    assert value(box, "os.getpid() == before") == "True"
    assert call(box, "def question():\n    pid = os.fork()\n    if pid: os.waitpid(pid, 0)\n    return pid") > 0
    assert value(box, "'in step'") == "'in step'"


FORKING_TASK = """
import asyncio, os
async def fork():
    await asyncio.sleep(0.05)
    return os.fork()
forking = asyncio.create_task(fork())
"""


def test_a_fork_made_between_cells_takes_nothing_from_the_worker(box: Box) -> None:
    run(box, f"{FORKING_TASK}\nbefore = os.getpid()")
    time.sleep(0.3)
    for _ in range(5):
        assert value(box, "os.getpid() == before and forking.done()") == "True"


def test_modules_beside_the_notebook_are_found_and_hide_nothing(box: Box) -> None:
    assert value(box, "import beside, colorsys; beside.here, colorsys.rgb_to_yiq(0, 0, 0)[0]") == "(7, 0.0)"


# Interrupts


BLOCKING_TASK = """
import asyncio
async def spin():
    while True: pass
asyncio.create_task(spin())
await asyncio.sleep(60)
"""


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("while True: pass", "KeyboardInterrupt"),
        ("import time; time.sleep(60)", "KeyboardInterrupt"),
        ("while True: print('x')", "KeyboardInterrupt"),
        ("import asyncio; await asyncio.sleep(60)", "CancelledError"),
        ("import asyncio; await asyncio.sleep(0)\nwhile True: pass", "KeyboardInterrupt"),
        (BLOCKING_TASK, "CancelledError"),
        ("!sleep 60", None),
    ],
)
def test_an_interrupt_ends_the_cell(box: Box, code: str, error: str | None) -> None:
    end, messages = run(box, code, timeout=1)
    assert end.error == TIMED_OUT
    assert box.alive
    errors = [message["content"]["ename"] for message in messages if message["msg_type"] == "error"]
    assert errors == ([error] if error else [])
    assert value(box, "'alive'") == "'alive'"


def test_the_traceback_of_an_interrupt_is_the_cells_own(box: Box) -> None:
    _, messages = run(box, "while True: pass", timeout=0.3)
    assert "shell.py" not in "".join(messages[-1]["content"]["traceback"])


TICKING = """
import asyncio
ticks = 0
async def tick():
    global ticks
    while True:
        ticks += 1
        await asyncio.sleep(0.001)
ticking = asyncio.create_task(tick())
"""


def test_an_interrupt_reaches_nothing_but_cells_and_questions(box: Box) -> None:
    run(box, TICKING)
    before = int(value(box, "ticks"))
    for _ in range(50):
        box.interrupt()
        time.sleep(0.005)
    _, messages = run(box, f"ticking.cancel(), ticks > {before}")
    assert shown(messages) == ["(True, True)"]  # it was not done, and nothing was complained of


def test_a_cell_that_turns_interrupts_off_does_so_for_itself(box: Box) -> None:
    run(box, "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)")
    end, _ = run(box, "while True: pass", timeout=0.5)
    assert (end.error, box.alive) == (TIMED_OUT, True)


# Questions


def test_a_question_is_answered_with_the_names_of_the_notebook(box: Box) -> None:
    run(box, "state = [1]")
    assert call(box, "def question():\n    state.append(2)\n    return state") == [1, 2]
    assert value(box, "state") == "[1, 2]"


def test_prints_between_cells_stay_off_the_channel(box: Box) -> None:
    outputs: list[tuple[str, bytes]] = []
    run(box, "def question():\n    print('while asked'); display('shown'); return 1")
    box.send({"call": "question"})
    answer, _ = box.receive(60, lambda name, data: outputs.append((name, data)))
    box.drain(lambda name, data: outputs.append((name, data)))
    assert answer == {"value": 1}
    assert b"".join(data for _, data in outputs) == b"while asked\n"


@pytest.mark.parametrize(
    "body", ["while True: pass", "import time; time.sleep(60)", "import asyncio; asyncio.run(asyncio.sleep(60))"]
)
def test_an_interrupt_raises_in_a_question(box: Box, body: str) -> None:
    assert call(box, f"def question():\n    {body}", interrupt_after=0.3).startswith("KeyboardInterrupt")
    assert call(box, "def question(): return 'next'") == "next"


def test_exit_in_a_question_is_raised(box: Box) -> None:
    assert call(box, "import sys\ndef question(): sys.exit(3)") == "SystemExit: 3"


# The end


def test_a_worker_whose_host_hangs_up_exits(server: ForkServer) -> None:
    with server.box() as box:
        worker = psutil.Process(box.pid)
        run(box, "print('works')")
        box._channel._socket.shutdown(1)
        with pytest.raises(BoxDied, match="exit status 0"):
            box.receive(30)
        assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
