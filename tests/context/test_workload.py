"""Workloads: the same from the same seed, with facts that stand where they say, and with what is awkward in them."""

import json
import random

import pytest

from workbook.context.canonical import canonical
from workbook.context.workload import Workload, draw

SEEDS = range(6)


@pytest.fixture(scope="module")
def drawn() -> list[Workload]:
    return [draw(random.Random(seed)) for seed in SEEDS]


def test_a_seed_draws_one_workload(drawn: list[Workload]) -> None:
    assert [draw(random.Random(seed)) for seed in SEEDS] == drawn
    assert len({workload.task for workload in drawn}) > 1


def test_a_fact_stands_in_its_observation_in_a_line_of_its_own_that_is_not_the_first(drawn: list[Workload]) -> None:
    for workload in drawn:
        for fact in workload.facts:
            observation = workload.turns[fact.turn].observation
            text = observation if isinstance(observation, str) else canonical(observation, indent=1)
            lines = [line for line in text.split("\n") if fact.value in line]
            assert len(lines) == 1
            assert f"{fact.key}: {fact.value}" in lines[0]
            assert fact.value not in text.split("\n")[0]
            assert workload.turns[fact.turn].source == fact.source != {}


def test_nothing_but_observations_tells_a_fact(drawn: list[Workload]) -> None:
    for workload in drawn:
        spoken = [workload.system, workload.task, json.dumps(workload.tools), *(turn.said for turn in workload.turns)]
        spoken += [fact.question for fact in workload.facts]
        assert not any(fact.value in text for fact in workload.facts for text in spoken)


def test_as_many_facts_are_asked_for_as_were_wished_each_some_turns_later(drawn: list[Workload]) -> None:
    for workload in drawn:
        asked = [fact for number in range(len(workload.turns)) for fact in workload.asked_after(number)]
        assert len(asked) == 6 < len(workload.facts)
        assert all(fact.asked_after is not None and fact.asked_after >= fact.turn + 3 for fact in asked)
        assert len({fact.key for fact in workload.facts}) == len(workload.facts)


def test_what_is_awkward_is_in_it(drawn: list[Workload]) -> None:
    turns = [turn for workload in drawn for turn in workload.turns]
    observations = [turn.observation for turn in turns]
    assert "" in observations
    assert any(isinstance(one, bytes) for one in observations)
    assert any(isinstance(one, str) and not one.isascii() for one in observations)
    assert any(not turn.ok and not turn.source for turn in turns)
    texts = [(turn.source.get("path"), turn.observation) for turn in turns if turn.tool == "file_read" and turn.ok]
    assert len(set(texts)) < len(texts)  # the same call again
    assert len({text for _, text in texts}) < len(set(texts))  # one content under two paths


def test_declared_fields_are_there_and_tell_no_fact(drawn: list[Workload]) -> None:
    for workload in drawn:
        for turn in workload.turns:
            for path in turn.fields:
                value = turn.observation
                for name in path.split("."):
                    value = value[int(name) if isinstance(value, list) else name]
                assert not any(fact.value in str(value) for fact in workload.facts)


def test_observations_are_as_large_as_asked_for() -> None:
    def mean(size: int) -> float:
        turns = draw(random.Random(5), size=size).turns
        sizes = [len(str(turn.observation)) for turn in turns if turn.tool in ("file_read", "log_read") and turn.ok]
        return sum(sizes) / len(sizes)

    assert 300 < mean(500) < 1100
    assert 2500 < mean(4000) < 8500


def test_time_goes_on() -> None:
    assert Workload.time(0) == "2026-11-27T09:00:00+00:00"
    assert Workload.time(4) == "2026-11-27T09:01:08+00:00"


@pytest.mark.parametrize(("turns", "questions"), [(7, 0), (8, 3)])
def test_too_little_room_is_refused(turns: int, questions: int) -> None:
    with pytest.raises(ValueError, match=f"{turns} turns and {questions} questions"):
        draw(random.Random(0), turns, questions)
