"""How boxes end, and what they cannot do to the process that made them.

test_ordinary_user.py runs this file once more as an ordinary user.
"""

import threading
import time
from collections import Counter
from typing import Any

import psutil
import pytest

from tests.sandbox.isolation.boxes import RaisedError, answer, answers, ask
from workbook.sandbox.isolation import box as boxes
from workbook.sandbox.isolation.box import Box, BoxDied
from workbook.sandbox.isolation.channel import ChannelError
from workbook.sandbox.isolation.limits import MIB, Limits
from workbook.sandbox.isolation.server import ForkServer


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        ("import os; os._exit(0)", "exit status 0"),
        ("import os; os._exit(3)", "exit status 3"),
        ("raise SystemExit", "exit status 0"),
        ("raise SystemExit(7)", "exit status 7"),
        ("raise SystemExit('so long')", "exit status 1"),
        ("import os; os.abort()", "SIGABRT"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("import os, signal; os.kill(os.getpid(), 40)", "signal 40"),
        ("import os; os.closerange(3, 1000); import time; time.sleep(600)", "closed its channel"),
        ("raise BaseException('out of all bounds')", "exit status 1"),
    ],
)
def test_each_death_has_its_reason(box: Box, monkeypatch: pytest.MonkeyPatch, statements: str, reason: str) -> None:
    if reason == "closed its channel":
        monkeypatch.setattr(boxes, "_HANG_UP_TIMEOUT", 0.5)
    with pytest.raises(BoxDied) as died:
        ask(box, "None", statements)
    assert died.value.reason == reason
    assert not box.alive
    with pytest.raises(BoxDied, match=reason):  # and it stays so
        box.receive(1)
    with pytest.raises(BoxDied, match=reason):
        box.send({})


def test_processor_time_is_bounded(server: ForkServer) -> None:
    with server.box(Limits(cpu_seconds=1)) as box, pytest.raises(BoxDied, match="used more than 1 s of processor time"):
        ask(box, "None", "while True: pass")


def test_what_was_written_before_death_is_read(box: Box) -> None:
    written: Counter[str] = Counter()
    statements = """
import os, sys
channel.send({"value": "first"})
channel.send({"value": "second"})
print("x" * 200_000, flush=True)
os.write(2, b"last words")
os._exit(1)
"""
    box.send({"statements": statements, "expression": "None"})

    def count(name: str, data: bytes) -> None:
        written[name] += len(data)

    assert answer(box, on_output=count) == "first"
    assert answer(box, on_output=count) == "second"
    with pytest.raises(BoxDied, match="exit status 1"):
        answer(box, on_output=count)
    assert written == {"stdout": 200_001, "stderr": len("last words")}


def test_an_error_of_the_entry_module_is_on_stderr(box: Box) -> None:
    written = []
    with pytest.raises(BoxDied, match="exit status 1"):
        ask(box, "None", "raise BaseException('out of all bounds')", on_output=lambda *output: written.append(output))
    assert b"BaseException: out of all bounds" in b"".join(data for name, data in written if name == "stderr")


def test_a_timeout_leaves_the_box_alive(box: Box) -> None:
    box.send({"statements": "import time; time.sleep(1)", "expression": "'late'"})
    with pytest.raises(TimeoutError):
        box.receive(0.1)
    assert box.alive
    assert answer(box) == "late"


def test_an_interrupt_reaches_the_worker(box: Box) -> None:
    box.send({"statements": "print('on', flush=True)\nwhile True: pass", "expression": "None"})
    seen: list[bytes] = []
    while not seen:
        with pytest.raises(TimeoutError):
            box.receive(0.05, lambda _, data: seen.append(data))
    box.interrupt()
    with pytest.raises(RaisedError, match="KeyboardInterrupt"):
        answer(box)
    assert ask(box, "1 + 1") == 2


@pytest.mark.parametrize("descriptor", [1, 2])
def test_a_flood_of_output_ends_the_box(server: ForkServer, descriptor: int) -> None:
    got = 0

    def count(_: str, data: bytes) -> None:
        nonlocal got
        got += len(data)

    with server.box(Limits(output=3 * MIB)) as box, pytest.raises(BoxDied, match="wrote more than 3 MiB"):
        ask(box, "None", f"import os\nwhile True: os.write({descriptor}, bytes(65536))", on_output=count)
    assert got <= 3 * MIB + 65536


@pytest.mark.parametrize("message", ["{'value': 0}", "{'value': 'y' * 50_000}"])
def test_a_flood_of_messages_ends_the_box(server: ForkServer, message: str) -> None:
    with server.box(Limits(output=MIB)) as box:
        box.send({"statements": f"while True: channel.send({message})", "expression": "None"})
        received: list[Any] = []
        with pytest.raises(BoxDied, match="wrote more than 1 MiB"):
            received.extend(answers(box))
    assert len(received) >= 10


@pytest.mark.parametrize(
    "data",
    [
        "b'GET / HTTP/1.1\\r\\n\\r\\n'",
        "struct.pack('!II', 2 ** 32 - 1, 0)",
        "struct.pack('!IIQ', 2, 1, 2 ** 63) + b'{}'",
        "struct.pack('!II', 4, 0) + b'null'",
        "struct.pack('!II', 200_000, 0) + b'[' * 200_000",
    ],
)
def test_a_malformed_message_ends_the_box(box: Box, data: str) -> None:
    box.send(
        {
            "statements": f"import os, struct, time; os.write(channel.fileno(), {data}); time.sleep(600)",
            "expression": "None",
        }
    )
    with pytest.raises(ChannelError):
        box.receive(60)
    with pytest.raises(BoxDied, match="broke the protocol"):
        box.receive(60)
    assert not psutil.pid_exists(box.pid)


def test_half_a_message_is_a_timeout(box: Box) -> None:
    box.send(
        {"statements": "import os, time; os.write(channel.fileno(), bytes(5)); time.sleep(600)", "expression": "None"}
    )
    with pytest.raises(TimeoutError):
        box.receive(0.5)


def test_both_sides_may_write_much_at_once(box: Box) -> None:
    """The worker fills its pipes and its channel before it reads; the message to it fills its channel meanwhile."""
    statements = """
import sys
for _ in range(20):
    sys.stdout.write("o" * 100_000)
    sys.stderr.write("e" * 100_000)
    channel.send({"value": "x" * 100_000})
sys.stdout.flush()
message, blobs = channel.receive()
"""
    box.send({"statements": statements, "expression": "[len(blob) for blob in blobs]"})
    box.send({"statements": "", "expression": "None"}, [b"a" * 5_000_000, b"b"])
    written: Counter[str] = Counter()

    def count(name: str, data: bytes) -> None:
        written[name] += len(data)

    for _ in range(20):
        assert answer(box, on_output=count) == "x" * 100_000
    assert answer(box, on_output=count) == [5_000_000, 1]
    box.drain(count)
    assert written == {"stdout": 2_000_000, "stderr": 2_000_000}


def test_output_is_kept_until_it_is_asked_for(box: Box) -> None:
    assert ask(box, "1", "print('kept')") == 1
    written: list[tuple[str, bytes]] = []
    box.drain(lambda *output: written.append(output))
    assert written == [("stdout", b"kept\n")]


def test_a_worker_that_does_not_read_is_ended(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxes, "_SEND_TIMEOUT", 0.5)
    box.send({"statements": "import time; time.sleep(600)", "expression": "None"})
    with pytest.raises(BoxDied, match=r"did not take a message within 0\.5 s"):
        box.send({}, [bytes(5_000_000)])
    assert not psutil.pid_exists(box.pid)


DETACH = """
import os, signal, time
def detach():
    if child := os.fork():
        os.waitpid(child, 0)
        return
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if os.fork():
        os._exit(0)
    time.sleep(600)
for _ in range(5):
    detach()
"""


def test_detached_children_are_seen_and_end_with_the_box(server: ForkServer) -> None:
    with server.box() as box:
        ask(box, "None", DETACH)
        processes = box.processes()
        assert len(processes) == 6
        assert box.pid in {process.pid for process in processes}
        assert {process.ppid() for process in processes if process.pid != box.pid} == {box._init_pid}
    assert not [process for process in processes if process.is_running()]
    assert box.processes() == []


def test_orphans_are_reaped(server: ForkServer) -> None:
    """What has ended and has no parent left does not count as a process for ever."""
    statements = """
import os, time
for _ in range(60):
    if (child := os.fork()) == 0:
        os.fork()
        os._exit(0)
    os.waitpid(child, 0)
    time.sleep(0.01)
"""
    with server.box(Limits(processes=20)) as box:
        assert ask(box, "1", statements) == 1


def test_children_end_with_the_worker(box: Box) -> None:
    """They hold its pipes and its channel open; the box is dead all the same, and they with it."""
    ask(box, "None", DETACH)
    processes = box.processes()
    start = time.monotonic()
    with pytest.raises(BoxDied, match="exit status 0"):
        ask(box, "None", "os._exit(0)")
    assert time.monotonic() - start < 5
    assert not [process for process in processes if process.is_running()]


def test_a_child_that_runs_out_of_memory_is_no_death(server: ForkServer) -> None:
    """Only who is killed has died, whatever the counters of the control group say."""
    statements = """
import os
if (child := os.fork()) == 0:
    try:
        keep = bytearray(400 << 20)
    finally:
        os._exit(9)
status = os.waitpid(child, 0)[1]
"""
    with server.box(Limits(memory=100 * MIB)) as box:
        assert ask(box, "status != 0", statements) is True
        assert box.alive
        with pytest.raises(BoxDied, match="SIGABRT"):
            ask(box, "None", "os.abort()")


def test_a_second_close_is_fine(box: Box) -> None:
    box.close()
    box.close()
    assert not box.alive
    with pytest.raises(BoxDied, match="closed"):
        box.receive(1)
    box.interrupt()


def test_a_box_can_be_interrupted_from_another_thread(box: Box) -> None:
    timer = threading.Timer(0.3, box.interrupt)
    timer.start()
    with pytest.raises(RaisedError, match="KeyboardInterrupt"):
        ask(box, "None", "while True: pass")
    timer.join()


def test_frames_stay_whole_while_a_flood_is_interrupted(server: ForkServer) -> None:
    with server.box() as box:
        box.send({"statements": "while True: channel.send({'value': 'x' * 400_000})", "expression": "None"})
        for _ in range(20):
            assert answer(box) == "x" * 400_000
        box.interrupt()
        with pytest.raises(RaisedError, match="KeyboardInterrupt"):
            assert set(answers(box)) == {"x" * 400_000}
        assert ask(box, "1 + 1") == 2
