"""The executor against everything that a cell, a kernel or a caller can do to it."""

import asyncio
import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat.v4
import psutil
import pytest
import zmq

from workbook.sandbox import process
from workbook.sandbox.kernel import AsyncKernel, Kernel, KernelError, Limits, Message, Result
from workbook.sandbox.outputs import TRUNCATED

ROOT = Path(__file__).parents[2]
QUICK = Limits(interrupt_grace=2.0, idle_grace=0.5)
STUBBORN = """
import time
while True:
    try: time.sleep(60)
    except KeyboardInterrupt: pass
"""
# What a cell needs to send messages of its own making, signed with the kernel's key.
FORGE = """
kernel = get_ipython().kernel
session, iopub, parent = kernel.session, kernel.iopub_thread, kernel.get_parent()
def publish(kind, content, parent=parent): session.send(iopub, kind, content, parent=parent)
def publish_raw(*parts): iopub.send_multipart([b"topic", b"<IDS|MSG>", session.sign(list(parts)), *parts])
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    """A kernel for tests that do not care about its state; they may kill it."""
    with Kernel(cwd=ROOT, limits=QUICK) as shared:
        yield shared


@contextlib.contextmanager
def nothing_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails if the block leaves a process, thread, file descriptor or file behind, seen from outside."""
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    me = psutil.Process()
    with Kernel() as first:  # what is only ever opened once does not count
        first.execute("1")
    threads, descriptors = threading.active_count(), me.num_fds()
    before = set(me.children(recursive=True))
    yield
    assert not [p for p in set(me.children(recursive=True)) - before if p.status() != psutil.STATUS_ZOMBIE]
    assert list(folder.iterdir()) == []
    assert threading.active_count() == threads
    assert me.num_fds() == descriptors


def is_running(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def once_begun(act: Callable[[], object]) -> Callable[[Message], None]:
    """A hook that acts, in a thread, when the cell prints."""
    return lambda message: threading.Thread(target=act).start() if message.type == "stream" else None


SLEEP = "print('begun', flush=True)\nimport time; time.sleep(60)"


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


# Output without end


def test_200_000_lines_neither_hang_nor_fill_memory(kernel: Kernel) -> None:
    before = psutil.Process().memory_info().rss
    result = kernel.execute("for i in range(200_000): print(i)", timeout=120)
    assert (result.status, result.truncated) == ("ok", True)
    assert result.text.startswith("0\n1\n2\n")
    assert result.text.endswith(TRUNCATED)
    assert len(result.text) <= QUICK.output_bytes + len(TRUNCATED) + 1
    assert psutil.Process().memory_info().rss - before < 200 * 2**20
    assert kernel.execute("1 + 1").text == "2"


def test_a_flood_of_messages_is_capped_and_does_not_starve_the_loop() -> None:
    async def main() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        async with AsyncKernel(limits=Limits(outputs=10)) as kernel:
            ticking = asyncio.create_task(tick())
            result = await kernel.execute(
                "from IPython.display import display\nfor i in range(5_000): display(i)", timeout=120
            )
            ticking.cancel()
            assert (result.status, result.truncated, len(result.outputs)) == ("ok", True, 10)
            assert result.text == "\n".join(map(str, range(10))) + "\n" + TRUNCATED
            assert ticks > result.seconds * 10  # of 100 a second
            cut = await kernel.execute("while True: display(1)", timeout=0.5)
            assert (cut.status, cut.state_lost) == ("timeout", False)

    asyncio.run(main())


def test_a_flood_of_large_messages_does_not_fill_memory(kernel: Kernel) -> None:
    # 8 GB, made once and sent again and again, as fast as the transport takes it.
    code = (
        FORGE
        + "import zmq\nmessage = session.msg('stream', {'name': 'stdout', 'text': 'x' * 40_000_000}, parent=parent)\n"
        "frames, socket = session.serialize(message), zmq.Socket.shadow(iopub.socket.underlying)\n"
        "for _ in range(200): socket.send_multipart(frames, copy=False)"
    )
    before, peak, done = psutil.Process().memory_info().rss, 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, psutil.Process().memory_info().rss - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = kernel.execute(code, timeout=60)
    finally:
        done.set()
        watcher.join()
    assert (result.status, result.truncated) == ("ok", True)
    assert 2**20 < peak < 1.5 * 2**30
    assert kernel.execute("1 + 1").text == "2"


def test_an_enormous_line_display_value_and_error(kernel: Kernel) -> None:
    line = kernel.execute("print('x' * 20_000_000)", timeout=60)
    assert (line.status, line.truncated) == ("ok", True)
    assert line.text == "x" * QUICK.output_bytes + TRUNCATED
    error = kernel.execute("raise ValueError('x' * 5_000_000)", timeout=60)
    assert (error.status, error.truncated) == ("error", True)
    assert len(error.text) < QUICK.output_bytes + 100
    shown = kernel.execute("display({'text/plain': 'x' * 50_000_000}, raw=True)\nprint('and more')", timeout=60)
    assert (shown.status, shown.truncated, shown.text) == ("ok", True, TRUNCATED)
    assert kernel.execute("1 + 1").text == "2"


def test_a_message_too_long_to_receive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LONGEST_MESSAGE", 2**20)
    with Kernel(limits=QUICK) as kernel:
        kernel.execute("x = 1")
        shown = kernel.execute("print('before', flush=True); display({'text/plain': 'x' * 5_000_000}, raw=True)")
        assert (shown.status, shown.truncated, shown.text) == ("ok", True, "before\n" + TRUNCATED)
        assert kernel.execute("print(x); x").text == "1\n1"  # the channel that it broke is whole again
        lost = kernel.execute("raise ValueError('x' * 5_000_000)", timeout=2)  # the reply is too long as well
        assert lost.state_lost
        assert kernel.execute("1 + 1").text == "2"


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


# Callers that leave


@pytest.mark.parametrize(("code", "survives"), [("import time; time.sleep(60)", True), (STUBBORN, False)])
def test_a_cancelled_call_does_not_leave_the_kernel_busy(code: str, survives: bool) -> None:
    async def main() -> None:
        async with AsyncKernel(limits=QUICK) as kernel:
            await kernel.execute("kept = 'kept'")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(kernel.execute(code, timeout=100), 0.5)
            after = await kernel.execute("'kept' in globals()")
            assert (after.text, after.seconds < 5) == (str(survives), True)

    asyncio.run(main())


def test_a_call_cancelled_twice_kills_the_kernel() -> None:
    async def main() -> None:
        async with AsyncKernel(limits=Limits(interrupt_grace=60)) as kernel:
            call = asyncio.create_task(kernel.execute(STUBBORN, timeout=100))
            pid = kernel.pid
            for _ in range(2):
                await asyncio.sleep(0.3)
                call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(call, 20)
            assert pid is not None
            assert not is_running(pid)
            assert (await kernel.execute("1 + 1")).text == "2"

    asyncio.run(main())


def test_a_hook_that_raises(kernel: Kernel) -> None:
    def hook(message: Message) -> None:
        if message.type == "stream":
            raise LookupError("from the hook")

    kernel.execute("kept = 'kept'")
    with pytest.raises(LookupError, match="from the hook"):
        kernel.execute(SLEEP, timeout=100, on_message=hook)
    assert kernel.execute("kept").text == "'kept'"


def test_ctrl_c_interrupts_the_cell(kernel: Kernel) -> None:
    kernel.execute("kept = 'kept'")
    with pytest.raises(KeyboardInterrupt):
        kernel.execute(SLEEP, timeout=100, on_message=once_begun(lambda: os.kill(os.getpid(), signal.SIGINT)))
    after = kernel.execute("kept")
    assert (after.text, after.seconds < 10) == ("'kept'", True)


# Forgery: a cell can say what it likes, and only that


def test_malformed_messages_are_passed_over(kernel: Kernel) -> None:
    contents = [
        ("stream", {"name": 3, "text": []}),
        ("stream", {}),
        ("display_data", {"data": 7}),
        ("display_data", {"data": {"text/plain": 7, "image/png": {}}, "metadata": 3, "transient": []}),
        ("execute_result", {"data": {"text/plain": None}, "execution_count": "x"}),
        ("update_display_data", {"data": {}, "transient": {"display_id": []}}),
        ("error", {"ename": {}, "traceback": 7}),
        ("execute_input", {"execution_count": []}),
        ("status", {"execution_state": []}),
        ("comm_open", {}),
        ("no_such_type", {}),
    ]
    code = (
        FORGE + f"for kind, content in {contents!r}: publish(kind, content)\n"
        "head = session.pack(session.msg_header('stream')); mine = session.pack(parent['header'])\n"
        "publish_raw(b'[]', b'[]', b'{}', b'{}')\n"
        "publish_raw(b'[' * 100_000, b'{}', b'{}', b'{}')\n"
        'publish_raw(b\'{"msg_id":{},"msg_type":[],"version":"4.0"}\', b\'{"msg_id":[]}\', b\'{}\', b\'{\')\n'
        "for content in (b'[' * 100_000, b'\"x\"', b'', b'\\xff'): publish_raw(head, mine, b'{}', content)\n"
        "iopub.send_multipart([b'']); iopub.send_multipart([b'topic', b'<IDS|MSG>'])\n"
        "iopub.send_multipart([b'topic', b'<IDS|MSG>', b'not signed', head, mine, b'{}', b'{}'])\n"
        "print('end')"
    )
    result = kernel.execute(code)
    assert (result.status, result.outputs[-1]) == ("ok", {"output_type": "stream", "name": "stdout", "text": "end\n"})
    nbformat.validate(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=result.outputs)]))
    assert kernel.execute("1 + 1").text == "2"


def test_forged_messages_stay_with_the_cell_that_sent_them(kernel: Kernel) -> None:
    early = kernel.execute(
        FORGE + "import time\nfirst = dict(parent)\n"
        "session.send(kernel.shell_stream if hasattr(kernel, 'shell_stream') else kernel.shell_streams[0],"
        " 'execute_reply', {'status': 'ok', 'payload': 7}, parent=parent, ident=kernel._parent_ident['shell'])\n"
        "publish('status', {'execution_state': 'idle'})\ntime.sleep(1.5); print('too late')"
    )
    assert (early.status, early.text) == ("ok", "")  # it wanted to end early: it did
    result = kernel.execute(
        FORGE
        + "for other in (first, {}, {'msg_id': 'nonsense'}): publish('stream', {'name': 'stdout', 'text': 'other'},"
        " parent=other)\nprint('mine')"
    )
    assert result.text == "mine"


# Beginning and end


def test_two_kernels_at_once_and_many_starts_in_parallel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def one(i: int) -> str:
        async with AsyncKernel() as kernel:
            await kernel.execute(f"x = {i}")
            return (await kernel.execute("x")).text

    async def main() -> list[str]:
        return await asyncio.gather(*map(one, range(5)))

    with nothing_left(tmp_path, monkeypatch):
        assert asyncio.run(main()) == [str(i) for i in range(5)]


def test_closing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with nothing_left(tmp_path, monkeypatch):
        kernel = Kernel(limits=QUICK)
        assert kernel.pid is None
        children = kernel.execute(
            "import subprocess\nfor new in (False, True):\n"
            "    print(subprocess.Popen(['sleep', '300'], start_new_session=new).pid)"
        ).text
        kernel.execute(STUBBORN, timeout=0.1)  # takes a kernel and both its children with it
        kernel.execute("print('x' * 1000)\nimport subprocess; subprocess.Popen(['sleep', '300'])")
        kernel.close()
        kernel.close()
        assert len(children.split()) == 2
        assert not any(is_running(int(pid)) for pid in children.split())
        with pytest.raises(KernelError, match="closed"):
            kernel.execute("1")
        with pytest.raises(KernelError, match="closed"):
            kernel.restart()


def test_closing_in_the_middle_of_a_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with nothing_left(tmp_path, monkeypatch), ThreadPoolExecutor(2) as pool:
        kernel = Kernel()
        begun = threading.Event()
        calls = [pool.submit(kernel.execute, SLEEP, 100, on_message=once_begun(begun.set))]
        assert begun.wait(20)
        calls.append(pool.submit(kernel.execute, "'waiting for its turn'"))
        time.sleep(0.1)
        kernel.close()
        assert calls[0].result(timeout=20).status == "died"
        with pytest.raises(KernelError, match="closed"):
            calls[1].result(timeout=20)


def test_an_async_kernel_is_closed_for_good() -> None:
    async def main() -> None:
        kernel = AsyncKernel()
        await kernel.close()
        with pytest.raises(KernelError, match="closed"):
            await kernel.execute("1")

    asyncio.run(main())


def spec(folder: Path, *argv: str) -> None:
    (folder / "kernels" / "bad").mkdir(parents=True)
    (folder / "kernels" / "bad" / "kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": "bad", "language": "python"})
    )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["python", "-c", "raise SystemExit('banana is not installed')"],
            r"ended with exit status 1 before it was ready(.|\n)*banana is not installed",
        ),
        (["python", "-c", "print('waiting', flush=True); import time; time.sleep(60)"], r"not ready within 1.5 s"),
        (["/no/such/python"], r"cannot be launched \(/no/such/python\)"),
    ],
)
def test_a_kernel_that_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str], message: str
) -> None:
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    spec(tmp_path / "share", *argv)
    (tmp_path / "t").mkdir()
    with (
        nothing_left(tmp_path / "t", monkeypatch),
        pytest.raises(KernelError, match=message),
        Kernel(kernel_name="bad", limits=Limits(start_timeout=1.5)),
    ):
        pytest.fail("it cannot have started")


def test_what_a_kernel_is_asked_for_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with nothing_left(tmp_path, monkeypatch):
        with pytest.raises(KernelError, match=r"no Jupyter kernel is named 'nonsense'; installed: .*python3"):
            Kernel(kernel_name="nonsense").__enter__()
        with pytest.raises(KernelError, match="no such folder"):
            Kernel(cwd=tmp_path / "absent").__enter__()


def test_a_start_that_is_cancelled_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        kernel = AsyncKernel()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(kernel.execute("1"), 0.1)
        assert (await kernel.execute("1 + 1")).text == "2"
        await kernel.close()

    with nothing_left(tmp_path, monkeypatch):
        asyncio.run(main())


def test_over_tcp_where_ipc_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with nothing_left(tmp_path, monkeypatch):
        monkeypatch.setattr(zmq, "IPC_PATH_MAX_LEN", 0)
        with Kernel() as kernel:
            assert "tcp" in kernel.execute("print(open(get_ipython().kernel.parent.connection_file).read())").text
        monkeypatch.undo()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        with Kernel() as kernel:
            assert "ipc" in kernel.execute("print(open(get_ipython().kernel.parent.connection_file).read())").text


def test_folder_and_environment(tmp_path: Path) -> None:
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | {"FRUIT": "banana"}
    with Kernel(cwd=tmp_path, env=env) as kernel:
        text = kernel.execute("import os; print(os.getcwd(), os.environ['FRUIT'], 'PYTEST_VERSION' in os.environ)").text
    assert text == f"{tmp_path.resolve()} banana False"


def test_inside_a_running_event_loop_and_inside_a_kernel(kernel: Kernel) -> None:
    async def main() -> Result:
        return kernel.execute("1 + 1")

    assert asyncio.run(main()).text == "2"
    nested = kernel.execute(
        "from workbook.sandbox.kernel import AsyncKernel, Kernel\nwith Kernel() as k: print(k.execute('40 + 2').text)\n"
        "async with AsyncKernel() as k: print((await k.execute('40 + 3')).text)",
        timeout=60,
    )
    assert nested.text == "42\n43"


@pytest.mark.parametrize("end", ["", "os.kill(os.getpid(), 9)"], ids=["exits", "is killed"])
def test_a_program_that_forgets_to_close(tmp_path: Path, end: str) -> None:
    program = (
        "import os\nfrom workbook.sandbox.kernel import Kernel\nkernel = Kernel()\n"
        f"print(kernel.execute('import os; os.getpid()').text, flush=True)\n{end}"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.stderr == ""
    assert wait_until(lambda: not is_running(int(run.stdout)))
    if not end:
        assert list(tmp_path.iterdir()) == []
