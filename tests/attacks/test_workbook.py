"""The attacks on the workbook's own exercises. In a file of its own, so that it runs beside the others."""

import hashlib
from pathlib import Path

import pytest

from autograder.attacking.attack import Attack, attacks
from autograder.attacking.run import chosen
from autograder.exercises import Exercise, find_exercises
from tests.attacks.attacking import attacked, held
from tests.system import unavailable
from workbook.sandbox.isolation.server import available

ATTACKS = attacks()
OURS = find_exercises(Path(__file__).parents[2])
SAMPLE = 18
"""Attacks that are run each time, over all exercises. Each is run on an exercise of each shape in `test_attacks`."""


def sample() -> list[tuple[Exercise, Attack]]:
    """Returns as many attacks on each exercise, or one less: others on each, and the same ones each time."""

    def place(pair: tuple[Exercise, Attack]) -> str:
        return hashlib.sha256(f"{pair[0].name}/{pair[1].name}".encode()).hexdigest()

    pairs = [pair for pair in chosen(ATTACKS, OURS, whole=True) if pair[1].kind == "judge"]
    own = [sorted((pair for pair in pairs if pair[0] is exercise), key=place) for exercise in OURS]
    return [pair for pairs in zip(*own, strict=False) for pair in pairs][:SAMPLE]


@pytest.mark.timeout(900)
def test_the_judge_holds_on_every_exercise_of_the_workbook() -> None:
    if reason := available():
        unavailable(reason)
    assert {exercise.name for exercise, _ in sample()} == {exercise.name for exercise in OURS}
    held(attacked(sample(), jobs=2))


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_attack_on_every_exercise_of_the_workbook_by_all_criteria() -> None:
    held(attacked(chosen(ATTACKS, OURS, whole=True), jobs=2, whole=True))
