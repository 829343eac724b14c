"""The workbook's exercises: each grader is proven by its answers, and what students get is what the sources make."""

from pathlib import Path

import pytest

from autograder.exercises import Exercise, find_exercises
from autograder.matrix import run_matrix
from tests.system import unavailable
from workbook.sandbox.isolation.server import available

ROOT = Path(__file__).parents[1]
EXERCISES = find_exercises(ROOT)


def test_there_are_exercises() -> None:
    assert EXERCISES


@pytest.mark.llm
@pytest.mark.timeout(900)
@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_the_matrix_holds(exercise: Exercise) -> None:
    if reason := available():
        unavailable(reason)
    report = run_matrix([exercise], seed=None, jobs=2, on_outcome=lambda *_: None)
    assert report.unguarded == []
    assert not [outcome for outcome in report.outcomes if not outcome.holds], report.to_json()
    not_run = sorted({criterion for outcome in report.outcomes for criterion in outcome.not_run})
    if not_run:
        unavailable(f"not run here: {', '.join(not_run)}")
