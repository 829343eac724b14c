"""A course with one exercise of each shape: `python -m tests.attacks.course FOLDER` makes it, to run attacks in."""

import shutil
import sys
from pathlib import Path

from autograder.course.release import release
from autograder.exercises import Exercise, find_exercises
from autograder.notebooks import make_notebook
from tests.grading.course import Course
from tests.grading.lifted_exercise import add_lifted_exercise


def make_course(root: Path) -> dict[str, Exercise]:
    """Makes it in a folder that does not exist yet; returns its exercises, released, by their shapes."""
    shutil.copytree(Path(__file__).parent / "course", root)
    Course(root)
    for folder in (root / "solutions").iterdir():
        make_notebook(folder / f"{folder.name}.py")
    add_lifted_exercise(root)
    exercises = find_exercises(root)
    for exercise in exercises:
        if problems := release(exercise).problems:
            raise ValueError(f"{exercise.name} cannot be released: {problems}")
    made: dict[str, Exercise] = {exercise.shape: exercise for exercise in exercises}
    return made


if __name__ == "__main__":
    make_course(Path(sys.argv[1]))
