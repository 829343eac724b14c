"""The smallest failing case is found, and nothing else about a verdict changes."""

import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from autograder import shrinking
from autograder.acceptance import Work, equal, expect
from autograder.shrinking import Source, for_all
from tests.autograder.asking import run


def sums(work: Work, rng: random.Random) -> None:
    def case(rng: random.Random) -> None:
        numbers = [rng.randint(-1000, 1000) for _ in range(rng.randrange(20))]
        equal(work.call("total", numbers), sum(numbers), "Are all added?")

    for_all(work, rng, case, tries=100)


def test_what_holds_for_all_cases_passes() -> None:
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    assert run(sums, total).state == "passed"


def test_the_smallest_failing_case_is_shown() -> None:
    def total(numbers: list[int]) -> int:
        return sum(numbers[:3])

    verdict = run(sums, total)
    assert verdict.state == "failed"
    assert verdict.mistake == "Are all added?"
    (line,) = verdict.evidence
    numbers = eval(line.removeprefix("total(").split(")")[0])  # noqa: S307
    assert len(numbers) == 4, "three numbers do not fail, and five are more than needed"
    assert verdict.message.startswith("expected ")
    assert "of 100 fails; the smallest like it that fails is shown" in verdict.message


def test_a_number_gets_as_small_as_it_fails() -> None:
    def small(number: int) -> bool:
        return number < 12_345

    def is_small(work: Work, rng: random.Random) -> None:
        for_all(work, rng, lambda rng: expect(work.call("small", rng.randrange(10**9)), "large"))

    assert run(is_small, small).evidence == ("small(12345) → False",)


def test_an_exception_is_shrunk_too() -> None:
    def total(numbers: list[int]) -> int:
        return sum(numbers) if len(numbers) < 3 else 1 // 0

    verdict = run(sums, total)
    assert verdict.message.startswith("raised ZeroDivisionError")
    assert verdict.evidence[0].startswith("total([-1000, -1000, -1000]) → raised")


def samples(rng: random.Random) -> None:
    rng.sample(range(1000), 5)


def rejects(rng: random.Random) -> None:
    first = rng.randrange(10)
    while rng.randrange(10) == first:
        pass


def normal(rng: random.Random) -> None:
    rng.normalvariate()


def gamma(rng: random.Random) -> None:
    rng.gammavariate(2.0, 1.0)


@pytest.mark.parametrize("draw", [samples, rejects, normal, gamma])
def test_code_that_draws_until_something_fits_ends(draw: Callable[[random.Random], None]) -> None:
    def zero() -> int:
        return 0

    def is_one(work: Work, rng: random.Random) -> None:
        def case(rng: random.Random) -> None:
            draw(rng)
            equal(work.call("zero"), 1)

        for_all(work, rng, case)

    began = time.monotonic()
    verdict = run(is_one, zero)
    assert verdict.message.startswith("expected 1, got 0")
    assert time.monotonic() - began < shrinking.SECONDS


def test_what_the_criterion_cannot_take_is_no_smaller_case() -> None:
    def inverse(x: float) -> float:
        return 0.0

    def inverts(work: Work, rng: random.Random) -> None:
        def case(rng: random.Random) -> None:
            x = rng.random()
            expect(abs(work.call("inverse", x) - 1 / x) < 1, "it is off")

        for_all(work, rng, case)

    verdict = run(inverts, inverse)
    assert not verdict.broke
    assert verdict.message.startswith("it is off")


def test_the_same_seed_draws_the_same_cases() -> None:
    drawn: list[list[int]] = [[], []]

    def looks(seen: list[int]) -> Any:
        def draws(work: Work, rng: random.Random) -> None:
            for_all(work, rng, lambda rng: seen.append(rng.randrange(10**9)), tries=5)

        return draws

    for seen in drawn:
        run(looks(seen), seed="one")
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 5


def test_an_answer_that_fails_at_random_ends() -> None:
    def total(numbers: list[int]) -> int:
        return sum(numbers) + random.randrange(2)

    began = time.monotonic()
    assert run(sums, total).state == "failed"
    assert time.monotonic() - began < 10


def test_it_takes_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []

    def total(numbers: list[int]) -> int:
        asked.append(numbers)
        return sum(numbers[:3])

    run(sums, total)
    whole = len(asked)
    for name, most in (("MOST_RUNS", 7), ("SECONDS", 0.0)):
        asked.clear()
        with monkeypatch.context() as patch:
            patch.setattr(shrinking, name, most)
            verdict = run(sums, total)
        assert verdict.state == "failed"
        assert "the smallest" in verdict.message
        assert len(asked) < whole / 2


def test_a_source_is_a_random_source() -> None:
    source = Source(7)
    drawn = [source.random(), source.randrange(10), source.choice("abc"), source.gauss(), source.sample(range(9), 3)]
    assert [Source(0, source.notes).random()] == drawn[:1]
    again = Source(0, source.notes)
    assert drawn == [again.random(), again.randrange(10), again.choice("abc"), again.gauss(), again.sample(range(9), 3)]
    empty = Source(0, [])
    assert (empty.random(), empty.randrange(10), empty.choice("abc")) == (0.0, 0, "a")
    assert 0.4 < sum(Source(seed).random() for seed in range(500)) / 500 < 0.6
