"""Scores: counted from what was sent, with what is retrieved, and nothing that a context says of itself."""

import json
import random
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest

from workbook.context.baseline import Naive, Todo
from workbook.context.cost import Prices
from workbook.context.scoring import Request, play, references, score, stands_in
from workbook.context.trace import Message
from workbook.context.workload import Fact, draw

WORKLOAD = draw(random.Random(3), turns=16, questions=3, size=600)
FACT = Fact(turn=0, asked_after=3, source={"path": "/a"}, key="ticket of wren-7", value="0123456789ab")


def letters(text: str) -> list[int]:
    return list(text.encode())


def request(*contents: str, reply: str = "ok") -> Request:
    return Request([{"role": "user", "content": content} for content in contents], reply, 0)


def test_tokens_cached_and_paid_are_those_of_the_blocks() -> None:
    prices = Prices.declared(uncached=4, cached=1, output=10)
    size = len(json.dumps({"role": "user", "content": "aaaa"}) + "\n")
    output = len(json.dumps({"role": "assistant", "content": "ok"}) + "\n")
    found = score([request("aaaa"), request("aaaa", "bbbb")], block_size=8, prices=prices, encode=letters)
    cached = size // 8 * 8
    assert [(step.input_tokens, step.cached_tokens) for step in found.steps] == [(size, 0), (2 * size, cached)]
    assert {step.output_tokens for step in found.steps} == {output}
    assert found.hit_rate == cached / (3 * size)
    assert found.mean_context == 1.5 * size
    paid = 4 * (3 * size - cached) + 1 * cached + 10 * 2 * output
    assert found.dollars == pytest.approx(paid / 1e6)
    assert "blocks of 8 tokens; $4 uncached, $1 cached, $10 output a million" in str(found).replace(".0", "")


def test_the_last_token_is_always_computed() -> None:
    found = score([request("aaaa")] * 2, block_size=1, encode=letters)
    assert found.steps[1].cached_tokens == found.steps[1].input_tokens - 1


class Moving(Naive):
    """Moves everything; what `memory` gives for a reference is the test's."""

    def __init__(self, memory: Mapping[str, str], show: Sequence[str]) -> None:
        super().__init__("S", [])
        self.memory, self.show, self.asked = memory, show, list[str]()

    def add_observation(self, obs: Any, tool: str, **source: Any) -> None:
        if tool == "memory_retrieve":
            super().add_observation(obs, tool)
        else:
            moved = [{"tool": tool, "moved": {"ref": ref, **source.get("source", {})}} for ref in self.show]
            self.messages += [{"role": "tool", "content": json.dumps(one)} for one in moved]

    def render(self, _todo: Todo, _now: str) -> list[Message]:
        return list(self.messages)

    def retrieve(self, ref: str, _contains: str) -> str:
        self.asked.append(ref)
        return self.memory[ref]


def answers(context: Moving) -> list[bool]:
    asked = [one for one in play(WORKLOAD, context) if one.fact is not None]
    ends = {one.fact.value: one.answered for one in asked if one.fact is not None}
    return list(ends.values())


FACTS = " ".join(fact.value for fact in WORKLOAD.facts)


def test_a_fact_is_known_if_a_reference_leads_to_it() -> None:
    context = Moving({"a": FACTS}, ["a"])
    assert answers(context) == [True] * 3
    assert len(context.asked) == 1  # what was retrieved stays: all facts stand in it


def test_a_question_takes_two_calls_at_most() -> None:
    memory = {"a": FACTS, "b": "", "c": ""}
    assert answers(Moving(memory, ["c", "a", "b"])) == [True] * 3
    late = Moving(memory, ["a", "b", "c"])
    assert answers(late) == [False] * 3
    assert len(late.asked) == 6


def test_without_a_reference_that_names_the_source_nothing_is_found() -> None:
    context = Moving({"a": FACTS}, [])
    assert answers(context) == [False] * 3
    assert context.asked == []


def test_what_is_retrieved_counts_from_then_on() -> None:
    short, long = (score(play(WORKLOAD, Moving({"a": FACTS + " " * padding}, ["a"]))).steps for padding in (0, 6000))
    first = next(number for number, step in enumerate(short) if step.question)
    assert short[: first + 1] == long[: first + 1]
    grown = [after.input_tokens - before.input_tokens for before, after in zip(short, long, strict=True)]
    assert grown[first + 1 :] == [2000] * (len(short) - first - 1)


def test_the_context_is_told_what_happened_and_what_was_answered() -> None:
    context = Naive(WORKLOAD.system, WORKLOAD.tools)
    requests = list(play(WORKLOAD, context))
    assert len(requests) == len(WORKLOAD.turns) + 3
    for before, after in pairwise(requests):
        assert after.messages[1 : len(before.messages)] == before.messages[1:]
        assert after.messages[len(before.messages)] == {"role": "assistant", "content": before.reply}
    asked = [one for one in requests if one.fact is not None]
    assert all(one.fact is not None and one.fact.value in one.reply for one in asked)
    found = score(requests)
    assert (found.answered, found.asked) == (3, 3)


@pytest.mark.parametrize(
    "content",
    [
        "no JSON",
        "{cut",
        "[]",
        '{"moved":1}',
        '{"moved":{"ref":1,"path":"/a"}}',
        '{"moved":{"path":"/a"}}',
        '{"moved":{"ref":"x","path":"/b"}}',
        '{"moved":{"ref":"x"}}',
    ],
)
def test_what_is_no_reference_to_the_source_is_none(content: str) -> None:
    assert references([{"role": "tool", "content": content}], FACT) == []


def test_the_last_reference_comes_first_and_each_once() -> None:
    said = [{"role": "tool", "content": json.dumps({"moved": {"ref": ref, "path": "/a"}})} for ref in "xyx"]
    assert references(said, FACT) == ["x", "y"]


def test_a_fact_stands_in_a_context_by_its_value() -> None:
    assert stands_in([{"role": "tool", "content": f"x{FACT.value}y"}], FACT)
    assert not stands_in([{"role": "tool", "content": FACT.key}], FACT)
    assert not stands_in([], FACT)
