"""Logs in OpenAI's form become traces."""

import json
from pathlib import Path
from typing import Any

import pytest

from workbook.context.convert import from_conversations, from_exchanges, read_log
from workbook.context.trace import Trace, TraceError, Usage, read_trace, write_trace

SYSTEM, TASK = {"role": "system", "content": "s"}, {"role": "user", "content": "t"}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "r"}
DONE = {"role": "assistant", "content": "done"}


def exchange(messages: list[Any], answer: Any, usage: Any = None, **more: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": messages, "tools": [{"type": "function"}]}
    return {"request": body, "response": {"choices": [{"message": answer}], "usage": usage}, **more}


def test_exchanges(tmp_path: Path) -> None:
    openai = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    anthropic = {
        "input_tokens": 1,
        "cache_read_input_tokens": 5,
        "cache_creation_input_tokens": 3,
        "output_tokens": 2,
    }
    log = [
        exchange([SYSTEM, TASK], CALL, openai, time=10, seconds=2),
        exchange([SYSTEM, {"role": "user", "content": "other"}], DONE),
        exchange([SYSTEM, TASK, CALL, RESULT], DONE, anthropic),
    ]
    trace = from_exchanges("\n".join(json.dumps(entry) for entry in log))
    write_trace(tmp_path / "t.jsonl", trace)
    assert read_trace(tmp_path / "t.jsonl") == trace
    first, second = trace.steps("run-1")
    assert (second.request.keep, len(second.messages)) == (2, 4)
    assert first.response is not None
    assert second.response is not None
    assert first.response.usage == Usage(input_tokens=9, cached_tokens=4, output_tokens=2)
    assert (first.response.time, first.response.seconds) == (12, 2)
    assert second.response.usage == Usage(input_tokens=9, cached_tokens=5, written_tokens=3, output_tokens=2)
    assert second.response.message == DONE
    (other,) = trace.steps("run-2")
    assert other.response is not None
    assert other.response.usage is None


def test_what_is_not_counted_stays_unknown() -> None:
    trace = from_exchanges([exchange([TASK], DONE, {"prompt_tokens": 9}), exchange([TASK], DONE, {"input_tokens": 9})])
    for step in trace.steps():
        assert step.response is not None
        assert step.response.usage == Usage(input_tokens=9)


def test_runs_that_are_named_are_kept_apart_and_an_error_is_a_response() -> None:
    log: list[dict[str, Any]] = [exchange([TASK], DONE, run="a"), exchange([TASK], DONE, conversation_id="b")]
    log.append({"request": {"messages": [TASK]}, "response": {"error": "overloaded"}, "run": "a"})
    trace = from_exchanges(log)
    assert [step.request.run for step in trace.steps()] == ["run-1", "run-2", "run-1"]
    response = trace.steps()[-1].response
    assert response is not None
    assert response.error == "overloaded"


def test_conversations() -> None:
    trace = from_conversations([{"messages": [SYSTEM, TASK, CALL, RESULT, DONE], "tools": [{"type": "function"}]}])
    first, second = trace.steps()
    assert first.messages == [SYSTEM, TASK]
    assert second.messages == [SYSTEM, TASK, CALL, RESULT]
    assert first.response is not None
    assert first.response.message == CALL
    assert first.tools == second.tools == [{"type": "function"}]


@pytest.mark.parametrize(
    ("log", "what"),
    [
        ("{}\nnope", "line 1: request should be dict, and is missing"),
        ('{"request": {"messages": [{"role": "user"}]}}\nnope', "line 2: not JSON"),
        ("[]", "line 1: an object is expected, not list"),
        ([{"request": {"messages": [{"content": "x"}]}}], "line 1: message 0 has no role"),
        ([{"request": {"messages": [TASK]}, "response": {}}], "line 1: response has neither choices nor an error"),
        ([exchange([TASK], DONE, {"prompt_tokens": -1})], "line 1: usage: a number of tokens is negative"),
    ],
)
def test_what_is_wrong_is_told_with_its_number(log: Any, what: str) -> None:
    with pytest.raises(TraceError, match=what):
        from_exchanges(log)


def written(trace: Trace, path: Path) -> Trace:
    write_trace(path / "t.jsonl", trace)
    assert read_trace(path / "t.jsonl") == trace
    return trace


def test_what_was_sent_again_stands_in_the_trace_once(tmp_path: Path) -> None:
    log = [exchange([SYSTEM, TASK], CALL), exchange([SYSTEM, TASK, CALL, RESULT], DONE)]
    first, second = written(from_exchanges(log), tmp_path).steps()
    assert first.request.tools == [{"type": "function"}]
    assert second.request.tools is None
    assert second.tools == first.tools
    log[1]["request"]["tools"] = []
    assert from_exchanges(log).steps()[1].tools == []


def test_a_system_prompt_with_the_time_in_it_does_not_begin_a_run() -> None:
    def system(minute: int) -> dict[str, str]:
        return {"role": "system", "content": f"It is 10:{minute:02}."}

    log = [exchange([system(1), TASK], CALL), exchange([system(2), TASK, CALL, RESULT], DONE)]
    log += [exchange([system(3), {"role": "user", "content": "other"}], DONE), exchange([system(4), TASK], DONE)]
    steps = from_exchanges(log).steps()
    assert [step.request.run for step in steps] == ["run-1", "run-1", "run-2", "run-3"]
    assert steps[1].request.keep == 0


def test_a_run_that_has_no_name_is_not_the_run_of_that_name() -> None:
    other = [SYSTEM, {"role": "user", "content": "other"}]
    trace = from_exchanges([exchange([SYSTEM, TASK], DONE, run=None), exchange(other, DONE, run=None)])
    assert len(trace.runs) == 2


def test_lines_are_json_and_not_what_python_takes_for_lines(tmp_path: Path) -> None:
    odd = {"role": "user", "content": "a\u2028b\x85c"}
    text = json.dumps(exchange([odd], DONE), ensure_ascii=False)
    trace = written(from_exchanges(f"{text}\r\n\n{text}\n\n"), tmp_path)
    assert [step.messages for step in trace.steps()] == [[odd], [odd]]
    (tmp_path / "log.jsonl").write_bytes(b"\xef\xbb\xbf" + text.encode())  # as some editors write UTF-8
    assert read_log(tmp_path / "log.jsonl").steps()[0].messages == [odd]


def test_half_of_a_surrogate_pair_becomes_the_replacement_character(tmp_path: Path) -> None:
    log = [exchange([{"role": "user", "content": ["cut \ud83d", 1, None]}], {"role": "assistant", "content": "\ud83d"})]
    (step,) = written(from_exchanges(json.dumps(log[0])), tmp_path).steps()
    assert step.messages[0]["content"] == ["cut \ufffd", 1, None]
    assert step.response is not None
    assert step.response.message == {"role": "assistant", "content": "\ufffd"}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"error": {"type": "overloaded_error", "message": "later"}}, "overloaded_error: later"),
        ({"error": {"message": "no", "type": None, "code": "bad_key"}, "choices": None}, "bad_key: no"),
        (
            {"object": "error", "message": "too long", "type": "BadRequestError", "code": 400},
            "BadRequestError: too long",
        ),
        ({"type": "error", "error": {"type": "api_error", "message": "m"}}, "api_error: m"),
    ],
)
def test_errors_of_the_apis_are_told_by_type(answer: dict[str, Any], error: str) -> None:
    trace = from_exchanges([{"request": {"messages": [TASK]}, "response": answer}])
    response = trace.steps()[0].response
    assert response is not None
    assert response.error == error


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": None, "cache_read_input_tokens": 5},
        {"cache_read_input_tokens": 5},
    ],
)
def test_a_prompt_of_which_a_part_is_unknown_is_unknown(usage: dict[str, Any]) -> None:
    trace = from_exchanges([exchange([TASK], DONE, usage)])
    response = trace.steps()[0].response
    assert response is not None
    assert response.usage == Usage(cached_tokens=5)


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"time": "2026-01-01T00:00:00Z"}, "time should be a number of seconds"),
        ({"time": float("nan")}, "time should be a number of seconds"),
        ({"seconds": True}, "seconds should be a number of seconds"),
        ({"request": {"messages": [TASK], "tools": {"a": 1}}}, "tools"),
        ({"request": {"messages": [TASK], "tools": [1]}}, "tools"),
        ({"response": {"choices": [{"message": DONE}], "usage": []}}, "usage: an object"),
        (
            {"response": {"choices": [{"message": DONE}], "usage": {"prompt_tokens": 1.5}}},
            "usage: prompt_tokens is 1.5",
        ),
        ({"response": {"choices": [{"message": DONE}], "usage": {"prompt_tokens": True}}}, "got `bool`"),
    ],
)
def test_what_no_trace_can_hold_is_told_with_its_number(more: dict[str, Any], what: str) -> None:
    with pytest.raises(TraceError, match="line 2: .*" + what):
        from_exchanges([exchange([TASK], DONE), {**exchange([TASK], DONE), **more}])


def test_too_deep_is_told_too(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(json.dumps(exchange([TASK], DONE)) + "\n" + "[" * 100_000)
    with pytest.raises(TraceError, match="line 2"):
        read_log(tmp_path / "log.jsonl")
    (tmp_path / "log.jsonl").write_text("[" * 100_000)
    with pytest.raises(TraceError, match="line 1"):
        read_log(tmp_path / "log.jsonl")
