"""How messages become outputs, within bounds."""

import json
from typing import Any

import pytest

from workbook.sandbox.outputs import TRUNCATED, CellError, Outputs, Result
from workbook.sandbox.process import Message


def message(kind: str, **content: Any) -> Message:
    return Message(0.0, "iopub", kind, "id", "parent", json.dumps(content).encode())


def stream(text: str, name: str = "stdout") -> Message:
    return message("stream", name=name, text=text)


def display(text: str, display_id: str = "", kind: str = "display_data") -> Message:
    return message(kind, data={"text/plain": text}, metadata={}, transient={"display_id": display_id})


def collect(*messages: Message, most_bytes: int = 1_000, most_outputs: int = 10) -> tuple[list[str], bool]:
    outputs = Outputs(most_bytes, most_outputs)
    for one in messages:
        outputs.add(one)
    return [
        o["text"] if o["output_type"] == "stream" else o["data"]["text/plain"] for o in outputs.list
    ], outputs.truncated


def test_consecutive_messages_of_a_stream_are_one_output() -> None:
    assert collect(stream("a"), stream("b"), stream("c", "stderr"), stream("d")) == (["ab", "c", "d"], False)


def test_a_stream_is_cut_within_the_bytes_and_between_characters() -> None:
    assert collect(stream("ab"), stream("cdef"), stream("g"), most_bytes=5) == (["abcde"], True)
    assert collect(stream("éé"), most_bytes=3) == (["é"], True)
    assert collect(stream("abcde"), most_bytes=5) == (["abcde"], False)


def test_after_the_first_that_does_not_fit_nothing_is_kept() -> None:
    assert collect(stream("a"), display("x" * 1_000), stream("b"), display("c")) == (["a"], True)
    assert collect(*(display(str(i)) for i in range(5)), most_outputs=3) == (["0", "1", "2"], True)


def test_clearing_makes_room() -> None:
    clear = message("clear_output", wait=False)
    assert collect(stream("a" * 900), clear, stream("b" * 900)) == (["b" * 900], False)
    later = message("clear_output", wait=True)
    assert collect(stream("a" * 900), later, stream("b" * 900)) == (["b" * 900], False)
    assert collect(stream("a"), later) == (["a"], False)


def test_a_display_is_updated_wherever_its_id_was_shown() -> None:
    update = display("new", "1", "update_display_data")
    assert collect(display("old", "1"), display("other", "2"), display("old", "1"), update) == (
        ["new", "other", "new"],
        False,
    )
    assert collect(display("first", "1"), display("second", "1")) == (["second", "second"], False)
    assert collect(update) == ([], False)
    assert collect(display("", ""), display("x", "", "update_display_data")) == ([""], False)
    assert collect(display("old", "1"), display("x" * 1_000, "1", "update_display_data")) == (["old"], True)
    assert collect(display("old", "1"), message("clear_output"), update) == ([], False)


@pytest.mark.parametrize(
    "bad",
    [
        message("stream"),
        message("stream", name="stdlog", text="x"),
        message("display_data", data=[]),
        message("display_data"),
        Message(0.0, "iopub", "stream", "id", "parent", b"not JSON"),
        Message(0.0, "iopub", "display_data", "id", "parent", b"[" * 100_000),
        message("history_reply"),
    ],
)
def test_what_is_no_output_is_passed_over(bad: Message) -> None:
    assert collect(bad, stream("x"), most_bytes=200_000) == (["x"], False)


def result(*messages: Message, error: CellError | None = None, most_bytes: int = 1_000) -> Result:
    outputs = Outputs(most_bytes, 10)
    for one in messages:
        outputs.add(one)
    return Result(outputs.list, "error" if error else "ok", error, False, outputs.truncated, 0.0, 1)


def test_text() -> None:
    value = message("execute_result", data={"text/plain": "7"}, metadata={}, execution_count=1)
    failed = message("error", ename="E", evalue="e", traceback=["t"])
    error = CellError("E", "e")
    assert result().text == ""
    assert result(stream("a\n"), value).text == "a\n7"
    assert result(stream("a"), value, stream("b")).text == "a\n7\nb"
    assert result(stream("a\r\nb\n")).text == "a\nb"
    assert result(stream("a\n\n")).text == "a\n"
    assert result(message("display_data", data={"image/png": "xx"}, metadata={}), stream("a")).text == "a"
    assert result(stream("a"), failed, error=error).text == "a\nError: E: e"
    assert result(error=CellError("E", "")).text == "Error: E"
    assert result(stream("abcdef"), error=error, most_bytes=3).text == f"abc{TRUNCATED}\nError: E: e"


def test_an_error_is_bounded_too() -> None:
    outputs = Outputs(10, 10)
    assert outputs.bounded(CellError("E", "short")) == CellError("E", "short")
    assert not outputs.truncated
    assert outputs.bounded(CellError("E", "x" * 100, "t" * 100)) == CellError("E", "x" * 10 + TRUNCATED, "t" * 10)
    assert outputs.truncated
