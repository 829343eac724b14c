"""Cells as the host executes them: deadlines, deaths, and messages of every shape."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.sandbox.isolation.notebooks import notebook_server, printed, run, shown, value
from workbook.sandbox.isolation.box import Box, BoxDied
from workbook.sandbox.isolation.cells import DIED, GRACE, MALFORMED, TIMED_OUT, CellEnd, execute
from workbook.sandbox.isolation.channel import ChannelError
from workbook.sandbox.isolation.limits import Limits
from workbook.sandbox.isolation.server import ForkServer


@pytest.fixture(scope="module")
def server(sandboxes: None) -> Iterator[ForkServer]:
    with notebook_server() as server:
        yield server


def test_a_cell_at_its_deadline_is_interrupted_and_the_box_lives(box: Box) -> None:
    end, messages = run(box, "kept = 5\nwhile True: pass", timeout=0.5)
    assert end == CellEnd(TIMED_OUT, 1, "it took longer than 0.5 s")
    assert shown(messages) == ["KeyboardInterrupt"]
    assert value(box, "kept") == "5"


def test_a_cell_that_catches_its_interrupt_has_timed_out_all_the_same(box: Box) -> None:
    end, messages = run(
        box, "import time\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    print('caught')", timeout=0.5
    )
    assert (end.error, printed(messages)) == (TIMED_OUT, "caught\n")
    assert box.alive


def test_a_cell_that_ignores_its_interrupt_costs_the_box(box: Box) -> None:
    began = time.monotonic()
    code = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('deaf')\nwhile True: pass"
    end, messages = run(box, code, timeout=0.5)
    assert (end.error, end.reason) == (TIMED_OUT, "it took longer than 0.5 s and did not stop then")
    assert printed(messages) == "deaf\n"
    assert time.monotonic() - began > 0.5 + GRACE
    assert not box.alive
    assert run(box, "1")[0].error == DIED


def test_a_stopped_worker_costs_the_box(box: Box) -> None:
    end, _ = run(box, "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", timeout=0.5)
    assert end.error == TIMED_OUT
    assert not box.alive


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os._exit(3)", "exit status 3"),
        ("import os; os._exit(0)", "exit status 0"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("import os\nwhile True: os.write(1, b'x' * 65536)", "wrote more than 4 MiB"),
        ("while True: display('x' * 65536)", "wrote more than 4 MiB"),
    ],
)
def test_a_death_gives_its_reason(server: ForkServer, code: str, reason: str) -> None:
    with server.box(Limits(output=4 << 20)) as box:
        end, messages = run(box, f"print('before')\n{code}")
        assert end == CellEnd(DIED, None, reason)
        assert "before\n" in printed(messages)
        assert run(box, "1")[0] == CellEnd(DIED, None, reason)


def test_half_a_character_before_a_death_is_not_lost(box: Box) -> None:
    _, messages = run(box, "import os; os.write(1, b'half \\xc3'); os._exit(0)")
    assert printed(messages) == "half \ufffd"


def test_a_closed_box_executes_nothing(server: ForkServer) -> None:
    box = server.box()
    box.close()
    assert run(box, "1")[0].error == DIED


FORGING = """
import gc, os
from workbook.sandbox.isolation.channel import Channel
channel, = [thing for thing in gc.get_objects() if type(thing) is Channel]
"""


def test_forged_messages_are_an_error_of_the_cell(box: Box) -> None:
    run(box, FORGING)
    end, messages = run(box, "channel.send({'verb': 'new'}); print('honest')")
    assert (end.error, shown(messages)) == (MALFORMED, ["honest\n"])
    assert value(box, "1") == "1"


@pytest.mark.parametrize("data", ["bytes(16)", "b'\\xff' * 16", "b'\\0\\0\\0\\x02\\0\\0\\0\\0[]'"])
def test_what_is_no_frame_is_an_error_of_the_cell(box: Box, data: str) -> None:
    run(box, FORGING)
    end, _ = run(box, f"print('before'); os.write(channel.fileno(), {data})")
    assert end.error == MALFORMED
    assert end.reason


class Script:
    """A box that says what a test wants."""

    def __init__(self, *frames: Any) -> None:
        self.frames = list(frames)
        self.alive = True

    def send(self, message: dict[str, Any]) -> None:
        assert message == {"execute": "code"}

    def receive(self, *_: Any) -> tuple[dict[str, Any], list[bytes]]:
        frame = self.frames.pop(0)
        if isinstance(frame, Exception):
            raise frame
        return frame, []

    def drain(self, on_output: Any) -> None:
        on_output("stdout", b"")

    def play(self) -> tuple[CellEnd, list[dict[str, Any]]]:
        messages: list[dict[str, Any]] = []
        end = execute(self, "code", 60, messages.append)  # type: ignore[arg-type]
        assert not self.frames
        return end, messages


DONE = {"done": {"error": None, "execution_count": 1}}


@pytest.mark.parametrize(
    "frame",
    [
        {},
        {"done?": 1},
        {"message": None},
        {"message": []},
        {"message": {"msg_type": "stream"}},
        {"message": {"msg_type": [], "content": {}}},
        {"message": {"msg_type": "stream", "content": []}},
        {"message": {"msg_type": "stream", "content": {"name": "stdout", "text": ["x"]}}},
        {"message": {"msg_type": "status", "content": {"execution_state": "idle"}}},
        {"message": {"msg_type": "comm_open", "content": {"data": {}, "comm_id": "1"}}},
        {"message": {"msg_type": "display_data", "content": {"data": {}, "metadata": None}}},
        {"message": {"msg_type": "error", "content": {"ename": "E", "evalue": 1, "traceback": []}}},
        {"message": {"msg_type": "clear_output", "content": {"wait": 1}}},
    ],
)
def test_a_malformed_message_is_an_error_of_the_cell(frame: dict[str, Any]) -> None:
    end, messages = Script(frame, DONE).play()
    assert end == CellEnd(MALFORMED, 1, "the process sent what is no message of a kernel")
    assert messages == []


@pytest.mark.parametrize(
    "done",
    [
        None,
        [],
        "x",
        {"error": 1},
        {"error": None, "execution_count": True},
        {"execution_count": -1},
        {"execution_count": 10**12},
    ],
)
def test_a_malformed_end_is_an_error_of_the_cell(done: Any) -> None:
    end, _ = Script({"done": done}).play()
    assert end == CellEnd(MALFORMED, None, "the process sent what is no end of a cell")


def test_a_long_name_of_an_error_is_cut() -> None:
    end, _ = Script({"done": {"error": "E" * 10_000, "execution_count": 1}}).play()
    assert end == CellEnd("E" * 200, 1)


def test_an_error_of_the_channel_is_an_error_of_the_cell() -> None:
    assert Script(ChannelError("nonsense")).play()[0] == CellEnd(MALFORMED, None, "nonsense")


def test_what_came_before_the_death_is_kept() -> None:
    message = {"msg_type": "stream", "content": {"name": "stdout", "text": "last words"}}
    end, messages = Script({"message": message}, BoxDied("out of memory")).play()
    assert (end, messages) == (CellEnd(DIED, None, "out of memory"), [message])
