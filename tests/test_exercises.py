"""The workbook's exercises: each grader is proven by its answers, and what students get is what the sources make."""

from pathlib import Path

import pytest

from autograder.course.release import release
from autograder.exercises import Exercise, find_exercises
from autograder.matrix import run_matrix
from autograder.notebooks import read_notebook
from tests.system import unavailable
from workbook.sandbox.isolation.server import available

ROOT = Path(__file__).parents[1]
EXERCISES = find_exercises(ROOT)


def test_there_are_exercises() -> None:
    assert EXERCISES


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_what_students_get_is_what_the_source_releases(exercise: Exercise) -> None:
    checked = release(exercise, check=True)
    assert checked.problems == []
    assert checked.changed == [], "run `make notebooks`"


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_all_points_of_an_exercise_make_a_hundred(exercise: Exercise) -> None:
    cells = read_notebook(exercise.notebook).cells
    graded = [cell.metadata["nbgrader"] for cell in cells if cell.metadata.get("nbgrader", {}).get("grade")]
    assert sum(about["points"] for about in graded) == 100
    assert set(exercise.points) <= {about["grade_id"] for about in graded}


@pytest.mark.llm
@pytest.mark.timeout(900)
@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_the_matrix_holds(exercise: Exercise) -> None:
    if reason := available():
        unavailable(reason)
    report = run_matrix([exercise], seed=None, jobs=4, on_outcome=lambda *_: None)
    assert report.unguarded == []
    assert not [one for one in report.outcomes if not (one.holds or one.not_run)], report.to_json()
    if not report.holds:
        not_run = sorted({criterion for outcome in report.outcomes for criterion in outcome.not_run})
        unavailable(f"not run here: {', '.join(not_run)}")
