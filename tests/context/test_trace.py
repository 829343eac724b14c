"""Traces: what is written is read again, what is wrong is told by line, and a killed recorder leaves what it wrote."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbook.context.recorder import Recorder
from workbook.context.trace import Run, Trace, TraceError, Usage, encode, parse_trace, read_trace, write_trace
from workbook.serving import Reply

ROOT = Path(__file__).parents[2]
HEADER = b'{"kind":"trace","format":"workbook-trace/1","name":"n","about":"a","recorded":"2026-01-01T00:00:00Z"}\n'
RUN = b'{"kind":"run","run":"r","time":0}\n'
FIRST = b'{"kind":"request","run":"r","id":"1","time":0,"messages":[{"role":"user","content":"a"}]}\n'

SYSTEM, TASK = {"role": "system", "content": "s"}, {"role": "user", "content": "t"}


def recorded(path: Path) -> Trace:
    with Recorder(path, name="n", about="a", source={"seed": 1}) as recorder:
        one, other = recorder.run("first"), recorder.run("second")
        messages: list[dict[str, Any]] = [SYSTEM, TASK]
        request = one.request(messages, tools=[{"name": "x"}], model="m", server="s1")
        one.response(request, 0.5, message={"role": "assistant", "content": "a"}, usage=Usage(input_tokens=5))
        one.executed("x", {"k": [1]}, 0.1, call="c", result="été", error=None)
        messages += [{"role": "assistant", "content": "a"}]
        other.request([SYSTEM])
        one.request(messages, tools=[{"name": "x"}], retry_of=None)
        messages[0] = {"role": "system", "content": "changed"}
        one.request(messages, tools=[])
        one.end()
    return read_trace(path)


def test_contexts_come_back_whole_though_only_what_is_new_is_written(tmp_path: Path) -> None:
    trace = recorded(tmp_path / "t.jsonl")
    first, second, third = trace.steps("run-1")
    assert first.messages == [SYSTEM, TASK]
    assert second.messages[:2] == first.messages
    assert second.messages[0] is first.messages[0]
    assert (second.request.keep, third.request.keep) == (2, 0)
    assert third.messages[0]["content"] == "changed"
    assert (first.tools, second.tools, third.tools) == ([{"name": "x"}], [{"name": "x"}], [])
    assert second.request.tools is None
    assert first.response is not None
    assert first.response.usage == Usage(input_tokens=5)
    assert [tool.result_bytes for tool in first.tools_run] == [5]
    assert [step.messages for step in trace.steps("run-2")] == [[SYSTEM]]
    assert trace.runs == ("run-1", "run-2")
    assert trace.cut is None


@pytest.mark.parametrize("name", ["u.jsonl", "u.jsonl.gz"])
def test_a_trace_is_written_as_it_was_read(tmp_path: Path, name: str) -> None:
    trace = recorded(tmp_path / "t.jsonl")
    write_trace(tmp_path / name, trace)
    assert read_trace(tmp_path / name) == trace
    if name == "u.jsonl":
        assert (tmp_path / name).read_bytes() == (tmp_path / "t.jsonl").read_bytes()


@given(st.data())
def test_wherever_the_end_is_cut_the_rest_is_read(data: st.DataObject) -> None:
    whole = HEADER + RUN + FIRST + FIRST.replace(b'"1"', b'"2","after":"1","keep":1')
    end = data.draw(st.integers(len(HEADER), len(whole)))
    trace = parse_trace(whole[:end])
    left = whole[:end].count(b"\n") - 1
    assert len(trace.records) == left
    assert (trace.cut is None) == whole[:end].endswith(b"\n")
    if trace.cut:
        assert f"the last line, {left + 2}, was cut after" in trace.cut


@pytest.mark.parametrize(
    ("data", "line", "what"),
    [
        (b"", 1, "the file is empty"),
        (b"{", 1, "no whole line"),
        (b"hello\n", 1, "JSON is malformed"),
        (HEADER.replace(b"/1", b"/9"), 1, "the format is 'workbook-trace/9', and this reads 'workbook-trace/1'"),
        (RUN, 1, r"Invalid value 'run' - at `\$.kind`"),
        (HEADER + b"\n", 2, "the line is empty"),
        (HEADER + RUN + b'{"kind":"requset"}\n', 3, "Invalid value 'requset'"),
        (HEADER + RUN + FIRST.replace(b'"time":0', b'"time":"x"'), 3, r"Expected `float`, got `str` - at `\$.time`"),
        (HEADER + RUN + FIRST.replace(b'"time"', b'"tme"'), 3, "`time`|`tme`"),
        (HEADER + FIRST, 2, "the run 'r' has not begun"),
        (HEADER + RUN + RUN, 3, "has begun before"),
        (HEADER + RUN + FIRST + FIRST, 4, "two requests are called '1'"),
        (HEADER + RUN + FIRST.replace(b'"1"', b'"2","after":"1"'), 3, "there is no request '1' before this"),
        (HEADER + RUN + FIRST + FIRST.replace(b'"1"', b'"2","after":"1","keep":2'), 4, "keep is 2, and .* has 1"),
        (HEADER + RUN + FIRST.replace(b'"1"', b'"1","keep":1'), 3, "keep is given, but not after"),
        (HEADER + RUN + FIRST.replace(b'"messages"', b'"tokens":[1],"messages"'), 3, "either messages or tokens"),
        (HEADER + b'{"kind":"response","request":"1","time":0,"seconds":0}\n', 2, "no request '1'"),
        (
            HEADER + RUN + FIRST + b'{"kind":"response","request":"1","time":0,"seconds":0,"usage":'
            b'{"input_tokens":2,"cached_tokens":3}}\n',
            4,
            "3 cached and written tokens are more than the 2",
        ),
        (HEADER + RUN + b'{"kind":"end","run":"r","time":0\n' + FIRST, 3, "truncated|malformed"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(data: bytes, line: int, what: str) -> None:
    with pytest.raises(TraceError, match=what) as caught:
        parse_trace(data, "some.jsonl")
    assert caught.value.line == line
    assert f"some.jsonl, line {line}: " in str(caught.value)


def test_another_runs_context_is_not_gone_on_from() -> None:
    other = b'{"kind":"run","run":"q","time":0}\n'
    follow = FIRST.replace(b'"r"', b'"q"').replace(b'"1"', b'"2","after":"1","keep":1')
    with pytest.raises(TraceError, match="is another run's"):
        parse_trace(HEADER + RUN + other + FIRST + follow)


def test_traces_of_tokens() -> None:
    first = b'{"kind":"request","run":"r","id":"1","time":0,"tokens":[1,2,3]}\n'
    second = b'{"kind":"request","run":"r","id":"2","time":0,"after":"1","keep":2,"tokens":[9]}\n'
    assert [step.tokens for step in parse_trace(HEADER + RUN + first + second).steps()] == [[1, 2, 3], [1, 2, 9]]


def test_a_recorder_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").touch()
    with pytest.raises(FileExistsError):
        Recorder(tmp_path / "t.jsonl", name="n", about="a")


def test_what_a_killed_recorder_wrote_is_read(tmp_path: Path) -> None:
    program = f"""
import itertools
from pathlib import Path
from workbook.context.recorder import Recorder
run = Recorder(Path({str(tmp_path / "t.jsonl")!r}), name="n", about="a").run("task")
messages = []
for number in itertools.count():
    messages.append({{"role": "user", "content": "x" * 1000}})
    run.request(messages)
    print(number, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(20):
            number = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
    steps = read_trace(tmp_path / "t.jsonl").steps()
    assert len(steps) > number
    assert len(steps[-1].messages) == len(steps)


class FakeLLM:
    """Answers like `workbook.serving.LLM`."""

    def chat(self, messages: list[dict[str, str]], max_tokens: int = 1) -> Reply:  # noqa: ARG002
        if max_tokens < 1:
            raise ValueError("max_tokens must be 1 or more")
        return Reply("hello", 12, 8, 3, "stop", 0.25)

    def count_tokens(self) -> int:
        return 7


def test_a_watched_model_and_tool_do_what_they_did_and_are_recorded(tmp_path: Path) -> None:
    def read(path: str) -> str:
        if path == "none":
            raise FileNotFoundError(path)
        return "text"

    with Recorder(tmp_path / "t.jsonl", name="n", about="a") as recorder:
        run = recorder.run("task")
        llm, tool = run.watch(FakeLLM(), model="fake"), run.tool("read", read)
        assert llm.count_tokens() == 7
        assert llm.chat([TASK]).text == "hello"
        assert tool(path="a") == "text"
        with pytest.raises(FileNotFoundError):
            tool(path="none")
        with pytest.raises(ValueError, match="max_tokens"):
            llm.chat([TASK], max_tokens=0)
    first, second = read_trace(tmp_path / "t.jsonl").steps()
    assert first.request.model == "fake"
    assert first.response is not None
    assert first.response.usage == Usage(input_tokens=12, cached_tokens=8, output_tokens=3)
    assert first.response.seconds == 0.25
    assert [(ran.arguments, ran.error) for ran in first.tools_run] == [
        ({"path": "a"}, None),
        ({"path": "none"}, "FileNotFoundError: none"),
    ]
    assert second.response is not None
    assert second.response.error == "ValueError: max_tokens must be 1 or more"


def test_what_an_agent_changes_afterwards_in_a_message_breaks_nothing_unseen(tmp_path: Path) -> None:
    with Recorder(tmp_path / "t.jsonl", name="n", about="a") as recorder:
        run = recorder.run("task")
        message: dict[str, Any] = {"role": "assistant", "tool_calls": [{"id": 1}]}
        run.request([TASK, message])
        message["tool_calls"][0]["id"] = 2
        run.request([TASK, message])
    assert [step.request.keep for step in read_trace(tmp_path / "t.jsonl").steps()] == [0, 1]


def test_the_lines_are_plain_json(tmp_path: Path) -> None:
    trace = recorded(tmp_path / "t.jsonl")
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert kinds[:5] == ["trace", "run", "run", "request", "response"]
    assert b'"format":"workbook-trace/1"' in encode(trace.header)


def test_definitions_that_an_agent_changes_in_place_are_seen(tmp_path: Path) -> None:
    tools: list[dict[str, Any]] = [{"function": {"name": "x", "description": "at 10:01"}}]
    with Recorder(tmp_path / "t.jsonl", name="n", about="a") as recorder:
        run = recorder.run("task")
        run.request([TASK], tools=tools)
        tools[0]["function"]["description"] = "at 10:02"
        run.request([TASK], tools=tools)
    first, second = read_trace(tmp_path / "t.jsonl").steps()
    assert first.tools != second.tools


def test_a_full_disk_leaves_whole_lines_and_what_comes_later_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Recorder(tmp_path / "t.jsonl", name="n", about="a") as recorder:
        write = os.write

        def full(file: int, data: bytes) -> int:
            if len(data) < 20:
                raise OSError(errno.ENOSPC, "no space")
            return write(file, data[:20])

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(OSError, match="no space"):
            recorder.run("lost")
        monkeypatch.setattr(os, "write", write)
        recorder.run("kept")
    trace = read_trace(tmp_path / "t.jsonl")
    assert [record.task for record in trace.records if isinstance(record, Run)] == ["kept"]
    assert trace.cut is None


@pytest.mark.parametrize("damage", [lambda data: data[:40], lambda data: data[:40] + b"x" * 40, lambda _: b"{}"])
def test_a_damaged_compressed_file_is_told(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    write_trace(tmp_path / "t.jsonl.gz", recorded(tmp_path / "t.jsonl"))
    (tmp_path / "t.jsonl.gz").write_bytes(damage((tmp_path / "t.jsonl.gz").read_bytes()))
    with pytest.raises(TraceError, match="compressed file is damaged"):
        read_trace(tmp_path / "t.jsonl.gz")


def test_bytes_that_are_no_text_are_told_with_their_line() -> None:
    with pytest.raises(TraceError, match="line 2"):
        parse_trace(HEADER + b'{"kind":"run","run":"\xff","time":0}\n')
    deep = b'{"kind":"tool","run":"r","id":"t","name":"x","time":0,"seconds":0,"arguments":{"a":' + b"[" * 100_000
    with pytest.raises(TraceError, match="line 3"):
        parse_trace(HEADER + RUN + deep + b"\n")
