"""Metrics from event logs that are not tidy, each number by hand."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai

from workbook.context import events as names
from workbook.context.events import Event, to_events
from workbook.context.metrics import EventError, Rate, measure, measure_runs
from workbook.context.trace import End, File, Record, Request, Response, Run, Tool, Usage, read_trace

TRACE = Path(__file__).parents[2] / "data" / "traces" / "repository-agent.jsonl"


def chat(number: str, time: float, run: str = "a", **more: Any) -> Event:
    keys = {
        "tokens": names.INPUT_TOKENS,
        "cached": names.CACHED_TOKENS,
        "output": names.OUTPUT_TOKENS,
        "server": names.SERVER,
        "retry_of": names.RETRY_OF,
        "error": names.ERROR,
    }
    event = {names.OPERATION: "chat", names.ID: number, names.RUN: run, names.TIME: time}
    return event | {keys[key]: value for key, value in more.items()}


def tool(number: str, time: float, name: str, error: str | None = None, run: str = "a") -> Event:
    event = {names.OPERATION: "execute_tool", names.ID: number, names.RUN: run, names.TIME: time, names.TOOL: name}
    return event | ({names.ERROR: error} if error else {})


LOG = [
    chat("1", 0, tokens=100, cached=0, output=10, server="x"),
    chat("2", 2, tokens=200, cached=96, output=5, server="x"),
    chat("3", 4, error="timeout", server="x"),  # nothing came back
    chat("4", 5, tokens=300, cached=192, retry_of="3", server="y"),
    chat("5", 6, tokens=400),  # cached tokens are not known
    chat("6", 7, output=1, server="y"),  # no usage of the prompt
    chat("7", 0.5, run="b", tokens=50, cached=0, server="y"),
    chat("8", 2.5, run="b", tokens=80, cached=48, server="y"),
    tool("t1", 1, "read"),
    tool("t2", 3, "run", "NameError"),
    tool("t3", 3.5, "run", "TimeoutError"),  # the same error still
    tool("t4", 4.5, "read"),
    tool("t5", 5.5, "run"),  # recovered
    tool("t6", 6.5, "run", "NameError"),  # another one, not recovered in this run
    tool("t7", 7, "run", run="b"),
]


def test_each_number() -> None:
    found = measure(LOG)
    assert found.hit_rate == Rate(96 + 192 + 48, 100 + 200 + 300 + 50 + 80)
    assert sorted(found.lengths.values) == [50, 80, 100, 200, 300, 400]
    assert found.lengths.mean == pytest.approx(1130 / 6)
    assert found.tool_success == Rate(4, 7)
    assert found.recovery == Rate(1, 2)
    # In run a: x x, x x, x y; request 5 names no instance. In run b: y y.
    assert found.stickiness == Rate(3, 4)
    assert (found.runs, found.requests, found.attempts, found.failed) == (2, 7, 8, 1)
    assert (found.without_usage, found.output_tokens) == (2, 16)


def test_by_run() -> None:
    both = measure_runs(LOG)
    assert list(both) == ["a", "b"]
    assert both["b"].hit_rate == Rate(48, 130)
    assert both["b"].recovery.value is None
    assert both["b"] == measure(LOG, "b")
    assert both["a"].hit_rate == Rate(288, 600)


def test_order_in_the_log_and_deliveries_twice_change_nothing() -> None:
    for seed in range(20):
        log = LOG + random.Random(seed).choices(LOG, k=5)
        random.Random(seed).shuffle(log)
        found, expected = measure(log), measure(LOG)
        assert sorted(found.lengths.values) == sorted(expected.lengths.values)
        for name in ("hit_rate", "tool_success", "recovery", "stickiness", "requests", "attempts", "without_usage"):
            assert getattr(found, name) == getattr(expected, name)


def test_a_later_delivery_says_what_the_first_did_not_know() -> None:
    found = measure([chat("1", 0), chat("1", 0, tokens=10, cached=4)])
    assert (found.hit_rate, found.without_usage) == (Rate(4, 10), 0)


def test_a_retry_that_was_paid_for_counts_and_its_length_counts_once() -> None:
    found = measure(
        [
            chat("1", 0, tokens=100, cached=0, error="timeout"),
            chat("2", 1, tokens=100, cached=96, retry_of="1", error="timeout"),
            chat("3", 2, tokens=110, cached=96, retry_of="1"),
        ]
    )
    assert found.hit_rate == Rate(192, 310)
    assert found.lengths.values == (110,)
    assert (found.requests, found.attempts, found.failed) == (1, 3, 2)


def test_nothing_to_count_is_not_zero() -> None:
    found = measure([])
    assert found.hit_rate.value is None
    assert found.lengths.mean is None
    assert found.lengths.quantile(0.5) is None
    assert "nothing to count" in str(found)


def test_other_operations_are_passed_over() -> None:
    assert measure([{names.OPERATION: "embeddings"}, {"unrelated": 1}, *LOG]) == measure(LOG)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({names.ID: None}, "event 1: workbook.event.id is None"),
        ({names.RUN: 3}, r"event 1: gen_ai\.conversation\.id is 3"),
        ({names.TIME: "now"}, "event 1: workbook.time is 'now'"),
        ({names.INPUT_TOKENS: -1}, "is -1, not a number of tokens"),
        ({names.CACHED_TOKENS: 1.5}, "is 1.5, not a number of tokens"),
        ({names.CACHED_TOKENS: 101}, "more tokens are cached than the prompt has"),
    ],
)
def test_what_cannot_be_counted_is_told(change: dict[str, Any], what: str) -> None:
    with pytest.raises(EventError, match=what):
        measure([LOG[1], LOG[0] | change])


def test_a_trace_becomes_events_under_opentelemetrys_names() -> None:
    usage = Usage(input_tokens=9, cached_tokens=4, written_tokens=3, output_tokens=1)
    files = [File(path="p", how="read")]
    events = to_events(
        [
            Run(run="r", time=1.0),
            Request(run="r", id="q", time=1.0, messages=[], model="m", server="s"),
            Response(request="q", time=3.0, seconds=2.0, usage=usage),
            Tool(run="r", id="t", name="read", time=3.0, seconds=0.5, call="c", error="OSError: x", files=files),
            End(run="r", time=4.0, outcome="done"),
        ]
    )
    assert events[0] == {
        gen_ai.GEN_AI_OPERATION_NAME: "chat",
        "workbook.event.id": "q",
        "gen_ai.conversation.id": "r",
        "workbook.time": 1.0,
        "workbook.seconds": 2.0,
        "gen_ai.usage.input_tokens": 9,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.cache_creation.input_tokens": 3,
        "gen_ai.usage.output_tokens": 1,
        "gen_ai.request.model": "m",
        "server.address": "s",
    }
    assert events[1] == {
        "gen_ai.operation.name": "execute_tool",
        "workbook.event.id": "t",
        "gen_ai.conversation.id": "r",
        "workbook.time": 3.0,
        "workbook.seconds": 0.5,
        "gen_ai.tool.name": "read",
        "gen_ai.tool.call.id": "c",
        "error.type": "OSError",
        "workbook.files": ["read p"],
    }
    assert (events[2]["gen_ai.operation.name"], events[2]["workbook.outcome"]) == ("invoke_agent", "done")
    assert (events[2]["workbook.time"], events[2]["workbook.seconds"]) == (1.0, 3.0)
    assert json.loads(json.dumps(events)) == events


def test_the_recorded_trace_is_measured() -> None:
    found = measure(to_events(read_trace(TRACE).records))
    assert found.hit_rate.value is None  # no model was asked
    assert found.without_usage == found.requests > 200
    assert found.tool_success.value is not None
    assert 0.8 < found.tool_success.value < 1
    assert found.recovery.whole > 5


@pytest.mark.parametrize("time", [float("nan"), float("inf"), True])
def test_a_time_that_orders_nothing_is_an_error(time: float) -> None:
    with pytest.raises(EventError, match=r"event 0: workbook\.time is"):
        measure([chat("a", time)])


def test_null_is_absent() -> None:
    nothing = {names.RETRY_OF: None, names.ERROR: None, names.SERVER: None, names.INPUT_TOKENS: None}
    numbers = measure([{**chat("a", 0), **nothing}, {**chat("b", 1), **nothing}])
    assert (numbers.requests, numbers.failed, numbers.without_usage) == (2, 0, 2)
    assert numbers.stickiness.whole == 0


def test_an_id_is_one_events_among_those_of_its_operation() -> None:
    """A trace may call a run, a request of it and a tool's execution by one name."""
    records: list[Record] = [
        Run(run="1", time=0),
        Request(run="1", id="1", time=0, messages=[]),
        Response(request="1", time=1, seconds=1),
        Tool(run="1", id="1", name="x", time=1, seconds=1),
        End(run="1", time=2),
    ]
    numbers = measure(to_events(records))
    assert (numbers.requests, numbers.tool_success.whole) == (1, 1)
