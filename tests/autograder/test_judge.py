"""Criteria, what authors write them with, and verdicts."""

import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from autograder.acceptance import Criterion, Work, criterion, equal, expect, fails_with
from autograder.asker import Asker, LocalAsker, WorkerLost
from autograder.judge import judge, rng_for
from tests.autograder.asking import no_model, run


class Stack:
    log: list[str] = []  # noqa: RUF012

    def __init__(self) -> None:
        self.items: list[Any] = []

    def __enter__(self) -> "Stack":
        self.log.append("enter")
        return self

    def __exit__(self, *exception: object) -> None:
        self.log.append("exit")

    def push(self, item: Any) -> int:
        self.items.append(item)
        return len(self.items)

    def pop(self) -> Any:
        return self.items.pop()


def test_a_criterion_that_is_met() -> None:
    def pops_the_last(work: Work, rng: random.Random) -> None:
        number = rng.randrange(100)
        with work.new("Stack") as stack:
            equal(stack.push(number), 1)
            equal(stack.pop(), number)
            with fails_with("LookupError"):
                stack.pop()
            equal(work.get(stack, "items"), [])
            work.drop(stack)

    Stack.log.clear()
    verdict = run(pops_the_last, Stack)
    assert (verdict.criterion, verdict.state, verdict.fraction) == ("pops-the-last", "passed", 1.0)
    assert verdict.evidence == ()
    assert verdict.message == verdict.mistake == verdict.hint == ""
    assert verdict.attempts == 0
    assert Stack.log == ["enter", "exit"]


@pytest.mark.parametrize("least", [0, 2])
def test_what_was_measured_is_told_whether_it_is_met_or_not(least: int) -> None:
    def measures(work: Work, rng: random.Random) -> None:
        with work.new("Stack") as stack:
            size = stack.push(1)
        work.measured.append(f"size {size}, at least {least} asked for")
        expect(size >= least, "too small")

    verdict = run(measures, Stack)
    assert verdict.state == ("passed" if least == 0 else "failed")
    assert verdict.measured == (f"size 1, at least {least} asked for",)


def test_a_criterion_that_is_not_met_says_what_was_asked_and_what_came() -> None:
    def fails(work: Work, rng: random.Random) -> None:
        with work.new("Stack") as stack:
            stack.push("x" * 5000)
            equal(stack.push([1]), 7, hint="counted from one?")

    Stack.log.clear()
    verdict = run(fails, Stack)
    assert verdict.state == "failed"
    assert verdict.message == "expected 7, got 2"
    assert verdict.mistake == "counted from one?"
    assert verdict.hint == "think"
    assert verdict.evidence[0] == "Stack()"
    assert "Stack().push([1]) → 2" in verdict.evidence
    assert all(len(line) < 1000 for line in verdict.evidence)
    assert Stack.log == ["enter", "exit"], "the context is left on failure too"


WRONG: list[tuple[Callable[[Work], object], str]] = [
    (lambda work: expect(False, "no"), "no"),
    (lambda work: equal(1, True), "expected True, got 1"),
    (lambda work: equal([1.0], [1]), "expected [1], got [1.0]"),
    (lambda work: equal({1: 0}, {True: 0}), "expected {True: 0}, got {1: 0}"),
    (lambda work: equal((1,), [1]), "expected [1], got (1,)"),
    (lambda work: work.call("fail"), "raised ZeroDivisionError: division by zero"),
    (lambda work: work.call("Stack"), "a value of type Stack cannot be passed"),
    (lambda work: work.call("missing"), "raised NameError: the notebook does not define missing"),
]


@pytest.mark.parametrize(("body", "message"), WRONG, ids=[message for _, message in WRONG])
def test_ways_not_to_meet_a_criterion(body: Callable[[Work], object], message: str) -> None:
    def fails(work: Work, rng: random.Random) -> None:
        body(work)

    def fail() -> float:
        return 1 / 0

    verdict = run(fails, Stack, fail)
    assert verdict.state == "failed"
    assert verdict.message.startswith(message)
    assert verdict.hint == "think"
    assert not verdict.broke


def test_each_failure_in_a_row_shows_the_next_hint() -> None:
    def fails(work: Work, rng: random.Random) -> None:
        expect(False, "no")

    ladder = ("vague", "nearer", "nearly there")
    verdicts = [run(fails, hint=ladder, earlier=earlier) for earlier in range(5)]
    assert [verdict.hint for verdict in verdicts] == [*ladder, ladder[-1], ladder[-1]]
    assert [verdict.attempts for verdict in verdicts] == [1, 2, 3, 4, 5]


def test_a_value_that_is_kept_is_an_argument_of_several_calls() -> None:
    def keeps(work: Work, rng: random.Random) -> None:
        given = [1]
        kept = work.keep(given)
        equal(work.call("push", kept, 2), 2)
        equal(work.call("push", kept, 3), 3)
        equal(work.get(kept), [1, 2, 3])
        equal(given, [1])

    def push(items: list[int], item: int) -> int:
        items.append(item)
        return len(items)

    assert run(keeps, push).state == "passed"


def test_fails_with_wants_that_exception() -> None:
    def other(work: Work, rng: random.Random) -> None:
        with fails_with("FileNotFoundError"):
            work.new("Stack").pop()

    def none(work: Work, rng: random.Random) -> None:
        with fails_with("FileNotFoundError"):
            work.new("Stack").push(1)

    assert run(other, Stack).message.startswith("expected FileNotFoundError, got IndexError: pop from empty list")
    assert run(none, Stack).message == "expected FileNotFoundError, nothing was raised"


def test_a_criterion_that_itself_raises_is_not_met_and_says_so() -> None:
    def breaks(work: Work, rng: random.Random) -> None:
        int(work.call("text"))

    def text() -> str:
        return "seven"

    verdict = run(breaks, text)
    assert verdict.state == "failed"
    assert verdict.broke
    assert "ValueError" in verdict.message


def test_part_of_the_points() -> None:
    def half(work: Work, rng: random.Random) -> float:
        return 0.5

    def whole(work: Work, rng: random.Random) -> float:
        return 1

    assert (run(half).state, run(half).fraction) == ("failed", 0.5)
    assert (run(whole).state, run(whole).fraction) == ("passed", 1.0)


@pytest.mark.parametrize("given", ["x", [], {}, float("nan"), 2, -0.5, True], ids=repr)
def test_part_of_the_points_as_the_work_says_it_is_a_number_or_nothing(given: Any) -> None:
    def passes_on(work: Work, rng: random.Random) -> Any:
        return work.call("half")

    def half() -> Any:
        return given

    verdict = run(passes_on, half)
    assert (verdict.state, verdict.fraction) == ("failed", 0.0)
    assert "a number from 0 to 1" in verdict.message


def test_texts_of_a_verdict_are_bounded_and_every_file_takes_them() -> None:
    def fails(work: Work, rng: random.Random) -> None:
        expect(False, "\udcff" + "x" * 10**6)

    verdict = run(fails)
    assert len(verdict.message) < 5000
    verdict.message.encode()


def test_equal_tensors() -> None:
    import torch

    def same(work: Work, rng: random.Random) -> None:
        equal(work.call("ones", 3), torch.ones(3))

    def other(work: Work, rng: random.Random) -> None:
        equal(work.call("ones", 1), torch.ones(1, dtype=torch.float64))

    def shaped(work: Work, rng: random.Random) -> None:
        equal(work.call("ones", 1), torch.ones(1, 1))

    def ones(size: int) -> torch.Tensor:
        return torch.ones(size)

    assert run(same, ones).state == "passed"
    assert run(other, ones).state == run(shaped, ones).state == "failed"
    assert not run(other, ones).broke


def test_without_the_model_a_criterion_is_not_run_and_that_is_no_pass() -> None:
    def asks(work: Work, rng: random.Random) -> None:
        work.llm()

    verdict = run(asks)
    assert (verdict.state, verdict.fraction, verdict.message) == ("not run", 0.0, "no vLLM here")


def test_within() -> None:
    import time

    def slow(work: Work, rng: random.Random) -> None:
        with work.within(0.2):
            work.call("sleep", 20)

    assert run(slow, time.sleep).message == "there was no answer in time"
    assert run(slow, time.sleep, seconds=0.1).message == "there was no answer in time"


def start_process() -> None:
    children.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))


def start_thread() -> None:
    thread = threading.Thread(target=release.wait)
    threads.append(thread)
    thread.start()


def start_and_stop() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    threading.Timer(0.3, process.wait).start()


children: list["subprocess.Popen[bytes]"] = []
threads: list[threading.Thread] = []
release = threading.Event()


@pytest.fixture
def cleared() -> Iterator[None]:
    yield
    release.set()
    for child in children:
        child.kill()
        child.wait()
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("cleared")
def test_nothing_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autograder.acceptance.SETTLING", 3.0)

    def leaves(name: str) -> Callable[[Work, random.Random], None]:
        def leaves_nothing(work: Work, rng: random.Random) -> None:
            with work.nothing_left():
                work.call(name)

        return leaves_nothing

    assert run(leaves("start_and_stop"), start_and_stop).state == "passed"
    assert "process python" in run(leaves("start_process"), start_process).message
    assert "threads: 1" in run(leaves("start_thread"), start_thread).message


def test_inputs_depend_on_the_seed_and_the_criterion_alone() -> None:
    def one(work: Work, rng: random.Random) -> None:
        """One."""

    def other(work: Work, rng: random.Random) -> None:
        """Other."""

    first, second = criterion(hint="")(one), criterion(hint="")(other)
    assert rng_for("a", first).random() == rng_for("a", first).random()
    drawn = {rng_for(seed, made).random() for seed in ("a", "b") for made in (first, second)}
    assert len(drawn) == 4


def test_a_criterion_without_a_docstring_is_refused() -> None:
    with pytest.raises(TypeError, match="docstring"):
        criterion(hint="")(lambda work, rng: None)


def made(name: str, body: Callable[[Work], object], fresh: bool = False) -> Criterion:
    def run(work: Work, rng: random.Random) -> None:
        body(work)

    return Criterion(name, name, ("",), 10.0, fresh, "", run)


def test_after_a_failure_and_for_a_fresh_one_there_is_a_new_process() -> None:
    opened: list[str] = []

    @contextmanager
    def open_worker() -> Iterator[Asker]:
        number = str(len(opened) // 2)  # each one before is closed
        opened.append(f"open {number}")
        yield LocalAsker({"number": number})
        opened.append(f"close {number}")

    seen: list[tuple[str, str]] = []

    def look(name: str, *, fails: bool = False, fresh: bool = False) -> Criterion:
        def body(work: Work) -> None:
            seen.append((name, work.get("number")))
            expect(not fails, "failed")

        return made(name, body, fresh)

    criteria = [look("a"), look("b", fails=True), look("c"), look("d", fresh=True), look("e")]
    states = [v.state for v in judge(criteria, open_worker, seed="s", llm=no_model)]
    assert states == ["passed", "failed", "passed", "passed", "passed"]
    assert seen == [("a", "0"), ("b", "0"), ("c", "1"), ("d", "2"), ("e", "3")]
    assert opened == [f"{what} {number}" for number in range(4) for what in ("open", "close")]


def test_a_notebook_that_ends_its_process_fails_every_criterion() -> None:
    def open_worker() -> AbstractContextManager[Asker]:
        raise WorkerLost("cell 2 ended it: exit status 1")

    criteria = [made("a", lambda work: None), made("b", lambda work: None)]
    verdicts = list(judge(criteria, open_worker, seed="s", llm=no_model))
    assert [(v.criterion, v.state, v.message) for v in verdicts] == [
        ("a", "failed", "cell 2 ended it: exit status 1"),
        ("b", "failed", "cell 2 ended it: exit status 1"),
    ]
