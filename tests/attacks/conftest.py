"""Fixtures: a course with one exercise of each shape."""

import shutil
from pathlib import Path

import pytest

from autograder.course.release import release
from autograder.exercises import Exercise, find_exercises
from autograder.notebooks import make_notebook
from tests.grading.lifted_exercise import add_lifted_exercise
from tests.system import unavailable
from workbook.sandbox.isolation.server import available


@pytest.fixture(scope="session")
def exercises(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exercise]:
    """One exercise of each shape, released."""
    if reason := available():
        unavailable(reason)
    root = tmp_path_factory.mktemp("attacks") / "course"
    shutil.copytree(Path(__file__).parent / "course", root)
    (root / "pyproject.toml").touch()
    add_lifted_exercise(root)
    made: dict[str, Exercise] = {}
    for folder in sorted((root / "solutions").iterdir()):
        make_notebook(folder / f"{folder.name}.py")
    for exercise in find_exercises(root):
        assert release(exercise).problems == []
        made[exercise.shape] = exercise
    return made
