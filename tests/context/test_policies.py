"""The six ways to keep a context: what each sends, and how they compare on one workload."""

import random
from itertools import pairwise
from pathlib import Path

import pytest

from workbook.context import scoring
from workbook.context.canonical import canonical
from workbook.context.policies import CLEARED, KEPT, POLICIES, WINDOW, make
from workbook.context.retrieval import RETRIEVE
from workbook.context.scoring import Request, Score, moved_in, play, score
from workbook.context.workload import Turn, Workload, draw

WORKLOAD = draw(random.Random(11), turns=32, questions=5)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Request]]:
    return {
        policy: list(play(WORKLOAD, make(policy, WORKLOAD, tmp_path_factory.mktemp(policy)))) for policy in POLICIES
    }


@pytest.fixture(scope="module")
def scores(played: dict[str, list[Request]]) -> dict[str, Score]:
    return {policy: score(requests) for policy, requests in played.items()}


def rendered(request: Request) -> list[str]:
    return [canonical(message) for message in request.messages]


@pytest.mark.parametrize("policy", ["append_only", "offload"])
def test_all_but_the_tail_is_the_beginning_of_the_next_request(policy: str, played: dict[str, list[Request]]) -> None:
    requests = [rendered(request) for request in played[policy]]
    for before, after in pairwise(requests):
        assert after[: len(before) - 1] == before[:-1]


@pytest.mark.parametrize("policy", ["naive", "time_first"])
def test_the_time_first_changes_the_first_message(policy: str, played: dict[str, list[Request]]) -> None:
    first = [rendered(request)[0] for request in played[policy]]
    assert len(set(first)) == len(first)
    assert "It is 2026-11-27T09:00:00+00:00." in first[0]


def test_naive_says_everything_and_no_todo_list(played: dict[str, list[Request]]) -> None:
    last = played["naive"][-1]
    assert all(turn.observation in last.messages[place]["content"] for place, turn in said(WORKLOAD, last))
    assert not any("[ ]" in message["content"] for message in last.messages)
    openings = [request.messages[0]["content"].partition("Tools:")[2] for request in played["naive"][:5]]
    assert len(set(openings)) == len(openings)


def said(workload: Workload, request: Request) -> list[tuple[int, Turn]]:
    """The observations that are text, with the places of their messages; questions move them."""
    contents = [str(message["content"]) for message in request.messages]
    return [
        (next(n for n, content in enumerate(contents) if turn.said in content) + 1, turn)
        for turn in workload.turns[:-1]
        if isinstance(turn.observation, str) and [turn.said for turn in workload.turns].count(turn.said) == 1
    ]


@pytest.mark.parametrize("policy", ["time_first", "append_only", "window", "clearing", "offload"])
def test_the_todo_list_stands_at_the_end(policy: str, played: dict[str, list[Request]]) -> None:
    for request in played[policy]:
        text, done = WORKLOAD.turns[request.turn].todo[-1]
        assert f"- [{'x' if done else ' '}] {text}" in request.messages[-1]["content"]


def test_a_window_shows_the_last_turns(played: dict[str, list[Request]]) -> None:
    last, whole = played["window"][-1].messages, played["append_only"][-1].messages
    assert len(last) == 2 + WINDOW + 1
    assert last[:2] == whole[:2]
    assert last[-1]["role"] == "user"


def test_clearing_leaves_the_last_observations(played: dict[str, list[Request]]) -> None:
    last, whole = played["clearing"][-1].messages, played["append_only"][-1].messages
    assert len(last) == len(whole)
    tools = [message["content"] for message in last if message["role"] == "tool"]
    assert set(tools[:-KEPT]) == {CLEARED}
    assert tools[-KEPT:] == [message["content"] for message in whole if message["role"] == "tool"][-KEPT:]


def test_offloading_leaves_references_and_errors_in_full(played: dict[str, list[Request]]) -> None:
    last = played["offload"][-1].messages
    moved = [found for found in map(moved_in, last) if found is not None]
    assert len(moved) > 10
    text = "\n".join(message["content"] for message in last)
    errors = [turn.observation for turn in WORKLOAD.turns[:-1] if not turn.ok]
    assert errors
    assert all(canonical(error)[1:-1] in text for error in errors)


def test_what_was_retrieved_stays_in_the_context(tmp_path: Path) -> None:
    context = make("offload", WORKLOAD, tmp_path)
    context.add_observation("x" * 2000, RETRIEVE["name"], source={})
    context.add_observation("y" * 2000, "file_read", source={"path": "/y"})
    text = "\n".join(message["content"] for message in context.render((), "now"))
    assert "x" * 2000 in text
    assert "y" * 2000 not in text
    assert RETRIEVE["name"] == scoring.RETRIEVE


def test_the_same_workload_gives_the_same_bytes(played: dict[str, list[Request]], tmp_path: Path) -> None:
    for policy, requests in played.items():
        again = play(WORKLOAD, make(policy, WORKLOAD, tmp_path / policy))
        assert [rendered(one) for one in again] == [rendered(one) for one in requests]


def test_only_what_is_appended_or_moved_is_known_later(scores: dict[str, Score]) -> None:
    assert {policy: one.answered == one.asked == 5 for policy, one in scores.items()} == {
        "naive": True,
        "time_first": True,
        "append_only": True,
        "window": False,
        "clearing": False,
        "offload": True,
    }


def test_shortening_by_rewriting_costs_more_than_it_saves(scores: dict[str, Score]) -> None:
    for policy in ("window", "clearing"):
        assert scores[policy].mean_context < scores["append_only"].mean_context / 2
        assert scores[policy].dollars > scores["append_only"].dollars
    assert scores["offload"].dollars < scores["append_only"].dollars / 2


def test_the_goal_of_the_exercise_is_met_with_room(scores: dict[str, Score]) -> None:
    naive, offload = scores["naive"], scores["offload"]
    assert offload.hit_rate > 0.9 > 0.1 > naive.hit_rate
    assert offload.mean_context < 0.4 * naive.mean_context
    assert offload.dollars < 0.3 * naive.dollars


def test_a_policy_that_moves_nothing_retrieves_nothing(tmp_path: Path) -> None:
    for policy in POLICIES:
        context = make(policy, WORKLOAD, tmp_path / policy)
        if policy == "offload":
            assert "error" in context.retrieve("0" * 16, "x")
        else:
            with pytest.raises(KeyError, match="nothing was moved"):
                context.retrieve("0" * 16, "x")


def test_an_unknown_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        make("forgetful", WORKLOAD, tmp_path)
