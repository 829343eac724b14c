"""What the executor makes of a cell: its output, whose it is, when it is over, and what it does to the kernel."""

import functools
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import nbformat.v4
import psutil
import pytest

from tests.sandbox.kernels import FORGE, ROOT, SLEEP, STUBBORN, is_running, once_begun
from workbook.sandbox.kernel import Kernel, Message

# What a cell gives


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("print(sum([1,2,3]))", "6"),
        ("2 * 21", "42"),
        ("print('a')\n'b'", "a\n'b'"),
        ("print('no newline', end='')\n7", "no newline\n7"),
        ("print('two\\n')", "two\n"),
        ("x = 1", ""),
        ("", ""),
        ("   \n# a comment", ""),
        ("print('é 中文 \\U0001f600')", "é 中文 \U0001f600"),
        (
            "import sys\nprint('out', flush=True)\nprint('err', file=sys.stderr, flush=True)\nprint('out')",
            "out\nerr\nout",
        ),
        (
            "from IPython.display import HTML, display\ndisplay(HTML('<b>x</b>'))\n3",
            "<IPython.core.display.HTML object>\n3",
        ),
        ("!echo from a shell", "from a shell"),
        ("%%bash\necho from bash", "from bash"),
        ("%pwd", repr(str(ROOT))),
        ("import os; _ = os.write(1, b'to the descriptor\\n')", "to the descriptor"),
        ("import subprocess; _ = subprocess.run('echo from a child', shell=True)", "from a child"),
        ("await __import__('asyncio').sleep(0, 'awaited')", "'awaited'"),
    ],
)
def test_text(kernel: Kernel, code: str, text: str) -> None:
    result = kernel.execute(code)
    assert (result.text, result.status, result.error, result.state_lost, result.truncated) == (
        text,
        "ok",
        None,
        False,
        False,
    )


@pytest.mark.parametrize(
    ("code", "name", "message"),
    [
        ("print('before')\n1/0", "ZeroDivisionError", "division by zero"),
        ("def f(:", "SyntaxError", "invalid syntax"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", ""),
        ("import sys; sys.exit(3)", "SystemExit", "3"),
        ("raise SystemExit", "SystemExit", ""),
        ("input('name? ')", "StdinNotImplementedError", "does not support input"),
        ("import getpass; getpass.getpass()", "StdinNotImplementedError", "does not support input"),
        ("%%bash\nexit 3", "CalledProcessError", "exit status 3"),
    ],
)
def test_error(kernel: Kernel, code: str, name: str, message: str) -> None:
    kernel.execute("kept = 'kept'")
    result = kernel.execute(code)
    assert result.status == "error"
    assert result.error is not None
    assert result.error.name == name
    assert message in result.error.message
    assert "\x1b" not in result.error.traceback
    assert result.text.splitlines()[-1].startswith(f"Error: {name}: {message}"[:10])
    assert ("before" in result.text) == ("before" in code)
    assert not result.state_lost
    assert kernel.execute("kept").text == "'kept'"


def test_outputs_are_a_notebooks_outputs(kernel: Kernel) -> None:
    code = (
        "from IPython.display import display\nimport sys\nprint('a')\nprint('b', file=sys.stderr)\n"
        "display({'text/plain': 'x', 'text/html': '<b>x</b>', 'application/json': {'x': 1}}, raw=True)\n"
        "class Value:\n    def _repr_html_(self): return '<i>v</i>'\n    def __repr__(self): return 'v'\nValue()"
    )
    result = kernel.execute(code)
    nbformat.validate(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=result.outputs)]))
    displayed, value = (output for output in result.outputs if "data" in output)
    assert displayed["data"] == {"text/plain": "x", "text/html": "<b>x</b>", "application/json": {"x": 1}}
    assert value["data"] == {"text/plain": "v", "text/html": "<i>v</i>"}
    assert value["execution_count"] == result.execution_count
    error = kernel.execute("1/0")
    nbformat.validate(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=error.outputs)]))
    assert error.execution_count == result.execution_count + 1 if result.execution_count else False


def test_displays_are_updated_and_cleared(kernel: Kernel) -> None:
    shown = kernel.execute(
        "from IPython.display import clear_output, display\nprint('gone')\nclear_output(wait=True)\n"
        "handle = display('one', display_id=True)\nhandle.update('two')\nprint('end')"
    )
    assert shown.text == "'two'\nend"
    assert kernel.execute("print('gone')\nclear_output(wait=True)").text == "gone"  # nothing came that would clear it
    assert kernel.execute("print('gone')\nclear_output()").text == ""
    assert kernel.execute("handle.update('three')").text == ""  # a display of an earlier cell's


def test_code_that_is_not_text_is_refused(kernel: Kernel) -> None:
    with pytest.raises(ValueError, match="surrogate"):
        kernel.execute("'\ud83d'")
    assert kernel.execute("print('\\ud83d')").status == "ok"  # whatever ipykernel makes of it, it comes back
    assert kernel.execute("1 + 1").text.endswith("2")


@pytest.mark.parametrize("closing", ["os.close(1)", "os.close(2)", "sys.stdout.close()", "sys.stderr.close()"])
def test_a_cell_that_closes_its_output(kernel: Kernel, closing: str) -> None:
    kernel.execute(f"import os, subprocess, sys; {closing}; print('x')")
    assert kernel.execute("1 + 1").outputs[0]["data"]["text/plain"] == "2"
    loud = kernel.execute(
        "_ = subprocess.run('seq 50000; seq 50000 >&2', shell=True, stdin=subprocess.DEVNULL)", timeout=60
    )
    assert loud.status == "ok"  # nobody hears it, but it is not stuck either
    kernel.restart()


def test_what_a_child_prints_is_in_the_cells_output_to_the_last_line(kernel: Kernel) -> None:
    # Without a kernel that waits for it, one cell in ten lacks its end.
    kernel.execute("import subprocess")
    for _ in range(60):
        assert kernel.execute("_ = subprocess.run('seq 20000', shell=True)").text.endswith("\n19999\n20000")
    mixed = kernel.execute(
        "import sys\nprint('before', flush=True)\n_ = subprocess.run(['echo', 'child'], stdout=sys.stdout)\n"
        "_ = subprocess.run('echo error >&2', shell=True)"
    )
    assert [(o["name"], o["text"]) for o in mixed.outputs] == [("stdout", "before\nchild\n"), ("stderr", "error\n")]


def test_a_child_that_prints_without_end(kernel: Kernel) -> None:
    endless = kernel.execute("import subprocess, time; child = subprocess.Popen('yes'); time.sleep(1)", timeout=60)
    assert (endless.status, endless.truncated, endless.seconds < 15) == ("ok", True, True)
    assert psutil.Process(kernel.pid).memory_info().rss < 400 * 2**20
    assert kernel.execute("child.kill(); child.wait(); 1 + 1", timeout=60).status == "ok"


# Which cell a message belongs to


def test_late_output_of_an_earlier_cell_is_not_the_next_ones(kernel: Kernel) -> None:
    # A thread in a copy of the cell's context, or a task, prints with the cell's header. (From a plain thread or child
    # ipykernel itself labels output as the running cell's.)
    kernel.execute(
        "import asyncio, contextvars, threading, time\ngo = threading.Event()\n"
        "def late():\n    go.wait(); print('LATE', flush=True)\n"
        "threading.Thread(target=contextvars.copy_context().run, args=(late,)).start()\n"
        "async def later():\n    await asyncio.sleep(0.2); print('LATER', flush=True)\n"
        "task = asyncio.create_task(later())"
    )
    seen: list[Message] = []
    result = kernel.execute("go.set()\nawait asyncio.sleep(0.5)\nprint('mine')", on_message=seen.append)
    assert {m.content["text"].strip() for m in seen if m.type == "stream"} - {""} >= {"LATE", "LATER", "mine"}
    assert result.text == "mine"


def test_a_cell_ends_when_both_reply_and_idle_have_come(kernel: Kernel) -> None:
    # The status is held back by 0.3 s, and output with it: who stops at the reply misses both.
    code = (
        FORGE + "import time\nplain = kernel._publish_status_and_flush\n"
        "def slow(status, *rest):\n    if status == 'idle':\n        kernel._publish_status_and_flush = plain\n"
        "        time.sleep(0.3)\n        publish('stream', {'name': 'stdout', 'text': 'after the reply'})\n"
        "    plain(status, *rest)\nkernel._publish_status_and_flush = slow"
    )
    assert kernel.execute(code).text == "after the reply"
    # And the other way round: a status is no reply.
    result = kernel.execute(
        FORGE + "import time\npublish('status', {'execution_state': 'idle'})\ntime.sleep(0.3)\n'end'"
    )
    assert (result.text, result.status) == ("'end'", "ok")


def test_a_dropped_idle_does_not_hang(kernel: Kernel) -> None:
    code = (
        "kernel = get_ipython().kernel\nplain = kernel._publish_status_and_flush\n"
        "def dropped(status, *rest):\n    kernel._publish_status_and_flush = plain\n"
        "kernel._publish_status_and_flush = dropped\nprint('x')"
    )
    result = kernel.execute(code, timeout=60)
    assert (result.status, result.truncated, result.state_lost) == ("ok", True, False)
    assert result.seconds < 20
    assert kernel.execute("1 + 1").text == "2"


def test_threads_take_turns(kernel: Kernel) -> None:
    kernel.execute("inside = []")

    def call(i: int) -> str:
        return kernel.execute(
            f"inside.append({i}); import time; time.sleep(0.01); print({i}, len(inside)); inside.clear()", timeout=30
        ).text

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(call, range(24))) == [f"{i} 1" for i in range(24)]


def test_messages_are_shown_with_their_times(kernel: Kernel) -> None:
    seen: list[Message] = []
    result = kernel.execute("print('x')\n1", on_message=seen.append)
    own = [(m.channel, m.type) for m in seen if m.parent_id == seen[0].id]
    assert (seen[0].channel, seen[0].type) == ("shell", "execute_request")
    assert [kind for channel, kind in own if channel == "iopub"] == [
        "status",
        "execute_input",
        "stream",
        "execute_result",
        "status",
    ]
    assert [kind for channel, kind in own if channel == "shell"] == ["execute_reply"]
    for channel in ("shell", "iopub"):
        times = [m.time for m in seen if m.channel == channel]
        assert times == sorted(times)
    assert 0 <= seen[-1].time - seen[0].time <= result.seconds


# Time


@pytest.mark.parametrize(
    "code",
    [
        "import time; time.sleep(60)",
        "while True: pass",
        "await __import__('asyncio').sleep(60)",
        "import threading; threading.Event().wait(60)",
        "!sleep 60",
    ],
)
def test_a_cell_that_is_interrupted_keeps_its_state(kernel: Kernel, code: str) -> None:
    kernel.execute("kept = 'kept'")
    result = kernel.execute(f"print('begun')\n{code}", timeout=0.5)
    assert (result.status, result.state_lost) == ("timeout", False)
    assert "begun" in result.text
    assert "Error: TimeoutError: the cell was interrupted after 0.5 s" in result.text
    assert kernel.execute("kept").text == "'kept'"


def test_a_deadline_just_before_the_cell_begins(kernel: Kernel) -> None:
    # An interrupt is ignored by a kernel that is idle yet, and costs the reply in one that prepares the cell.
    kernel.execute("kept = 'kept'; import time")
    for milliseconds in (0, 1, 1.5, 2, 3):
        result = kernel.execute("time.sleep(60)", timeout=milliseconds / 1000)
        assert (result.status, result.state_lost) == ("timeout", False)
    assert kernel.execute("kept").text == "'kept'"


@pytest.mark.parametrize(
    "code",
    [
        STUBBORN,
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)",
        "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    ],
)
def test_a_cell_that_ignores_the_interrupt_costs_the_kernel(kernel: Kernel, code: str) -> None:
    kernel.execute("kept = 'kept'")
    pid = kernel.pid
    result = kernel.execute(code, timeout=0.3)
    assert (result.status, result.state_lost) == ("timeout", True)
    assert result.text.startswith("Error: TimeoutError: ")
    assert "state lost" in result.text
    assert pid is not None
    assert not is_running(pid)
    assert kernel.execute("'kept' in globals()").text == "False"


def test_interrupt_from_another_thread(kernel: Kernel) -> None:
    kernel.execute("kept = 'kept'")
    result = kernel.execute(SLEEP, timeout=100, on_message=once_begun(kernel.interrupt))
    assert (result.status, result.text) == ("error", "begun\nError: KeyboardInterrupt")
    kernel.interrupt()  # idle: nothing happens
    assert kernel.execute("kept").text == "'kept'"


# Death


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("import os; os._exit(1)", "ended with exit status 1"),
        ("import os; os._exit(0)", "ended with exit status 0"),
        ("import ctypes; ctypes.string_at(0)", "was killed by SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL"),
        ("exit()", "the cell ended the kernel"),
        ("quit()", "the cell ended the kernel"),
    ],
)
def test_a_cell_that_kills_its_kernel(kernel: Kernel, code: str, how: str) -> None:
    kernel.execute("kept = 'kept'")
    result = kernel.execute(f"print('said', flush=True); import time; time.sleep(0.2)\n{code}", timeout=60)
    assert (result.status, result.state_lost) == ("died", True)
    assert result.seconds < 10  # of the timeout's 60
    assert result.text.startswith("said\nError: DeadKernelError: ")
    assert how in result.text
    assert "state lost" in result.text
    assert kernel.execute("'kept' in globals()").text == "False"


def test_killed_from_outside_between_cells_and_within_one(kernel: Kernel) -> None:
    kernel.execute("1")
    assert kernel.pid is not None
    os.kill(kernel.pid, signal.SIGKILL)
    between = kernel.execute("print('run')", timeout=60)
    assert (between.status, between.state_lost, between.outputs) == ("died", True, [])
    kernel.execute("1")
    kill = once_begun(functools.partial(os.kill, kernel.pid, signal.SIGKILL))
    within = kernel.execute(SLEEP, timeout=100, on_message=kill)
    assert (within.status, within.state_lost) == ("died", True)
    assert within.seconds < 20
    assert kernel.execute("1 + 1").text == "2"


def test_exit_that_keeps_the_kernel(kernel: Kernel) -> None:
    kernel.execute("kept = 'kept'")
    assert kernel.execute("exit(keep_kernel=True)").status == "ok"
    assert kernel.execute("kept").text == "'kept'"


def test_restart_in_the_middle_of_a_cell(kernel: Kernel) -> None:
    kernel.execute("kept = 'kept'")
    assert kernel.execute(SLEEP, timeout=100, on_message=once_begun(kernel.restart)).status == "died"
    assert kernel.execute("'kept' in globals()").text == "False"
