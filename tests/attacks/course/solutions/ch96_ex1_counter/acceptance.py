"""Acceptance criteria of exercise 96.1: a counter."""

import random

from autograder.acceptance import Work, criterion, equal

HIDES = ("workbook.bench",)


@criterion(hint="Who remembers the sum?", seconds=10)
def counts_up(work: Work, rng: random.Random) -> None:
    """`up(step)` is the sum of all steps so far."""
    counter, other, total = work.new("Counter", lambda _: None), work.new("Counter", lambda _: None), 0
    for _ in range(5):
        step = rng.randrange(1, 10**9)
        total += step
        equal(counter.up(step), total)
        equal(other.up(0), 0, "Two counters count apart.")


@criterion(hint="Call what you were given.", seconds=10)
def tells_on(work: Work, rng: random.Random) -> None:
    """`tell` is called once a step, with the sum."""
    told: list[int] = []
    counter, steps = work.new("Counter", told.append), [rng.randrange(1, 10**9) for _ in range(4)]
    for step in steps:
        counter.up(step)
    equal(told, [sum(steps[: n + 1]) for n in range(len(steps))])
