"""Logs in OpenAI's form become traces."""

import json
from pathlib import Path
from typing import Any

import pytest

from workbook.context.convert import from_conversations, from_exchanges
from workbook.context.trace import TraceError, Usage, read_trace, write_trace

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
