"""A small course to test on, made in a folder: an exercise, its answers, and submissions of it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autograder.course.config import course_directory, load_config
from autograder.course.engines import LocalEngine
from autograder.course.fingerprint import environment
from autograder.course.grade_report import GradeReport
from autograder.course.grade_submissions import grade_submissions, submissions_of
from autograder.course.records import Records
from autograder.exercises import Exercise, find_exercises
from autograder.notebooks import make_notebook

NAME = "ch01_ex9_toy"
POINTS = {"adds-up": 5, "counts-up": 3, "rounds": 4}  # of the criteria; the essay's 2 are given by a person
BIN = Path(sys.executable).parent

_HEADER = """# ---
# jupyter:
#   jupytext: {cell_metadata_filter: all, notebook_metadata_filter: 'kernelspec,-all'}
#   kernelspec: {display_name: Python 3 (ipykernel), language: python, name: python3}
# ---
"""

_ACCEPTANCE = '''"""Acceptance criteria of exercise 1.9: a toy."""

import random

from autograder.acceptance import Work, criterion, equal

HIDES = ("workbook.bench",)


@criterion(hint="Are both numbers used?")
def adds_up(work: Work, rng: random.Random) -> None:
    """`add(a, b)` is the sum."""
    a, b = rng.randrange(10**6), rng.randrange(10**6)
    equal(work.call("add", a, b), a + b)


@criterion(hint="Who remembers the number?")
def counts_up(work: Work, rng: random.Random) -> None:
    """`Counter().up(n)` is the sum of all n so far."""
    with work.new("Counter") as counter:
        total = 0
        for _ in range(3):
            step = rng.randrange(1, 100)
            total += step
            equal(counter.up(step), total)


@criterion(hint="Which way is half rounded?")
def rounds(work: Work, rng: random.Random) -> float:
    """`rounded(x)` is the nearest integer; each of four kinds of numbers earns a quarter."""
    n = rng.randrange(2, 1000) * 2
    answers = [work.call("rounded", x) == round(x) for x in (n + 0.25, n + 0.75, n + 0.5, -n - 0.25)]
    return sum(answers) / 4
'''

_CELLS: list[tuple[str, str | None, dict[str, Any], str]] = [
    ("markdown", "intro", {"locked": True}, "# Exercise 1.9: a toy\n\nAdd, count and round."),
    ("code", "setup", {"locked": True}, "from autograder.check import check"),
    ("markdown", None, {}, "Notes go here."),
    (
        "code",
        "add",
        {"solution": True},
        'def add(a, b):\n    """Returns the sum."""\n    ### BEGIN SOLUTION\n    return a + b\n    ### END SOLUTION',
    ),
    ("code", "adds-up", {"grade": True, "locked": True, "points": 5}, 'check("adds-up", add)'),
    (
        "code",
        "counter",
        {"solution": True},
        "class Counter:\n    ### BEGIN SOLUTION\n    total = 0\n\n    def __enter__(self):\n        return self\n\n"
        "    def __exit__(self, *exception):\n        self.total = 0\n\n    def up(self, n):\n        self.total += n\n"
        "        return self.total\n    ### END SOLUTION",
    ),
    ("code", "counts-up", {"grade": True, "locked": True, "points": 3}, 'check("counts-up", Counter)'),
    (
        "code",
        "round",
        {"solution": True},
        "def rounded(x):\n    ### BEGIN SOLUTION\n    return round(x)\n    ### END SOLUTION",
    ),
    ("code", "rounds", {"grade": True, "locked": True, "points": 4}, 'check("rounds", rounded)'),
    ("markdown", "essay", {"grade": True, "solution": True, "points": 2}, "Banker's rounding is unbiased."),
]

_WRONG = """# mistake: forgets the second number
# killed_by: adds-up

# %% nbgrader={"grade_id": "add"}
def add(a, b):
    return a
"""

_RIGHT = """# differs: adds with the operator module

# %% nbgrader={"grade_id": "add"}
import operator

add = operator.add
"""

_CONFIG = (Path(__file__).parents[2] / "nbgrader_config.py").read_text()


class Course:
    """A workbook's folder with exercises in `solutions/`.

    Attributes:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        """Makes the folder, without exercises, or takes one that was made."""
        self.root = root
        (root / "chapters").mkdir(parents=True, exist_ok=True)
        (root / "pyproject.toml").touch()
        (root / "nbgrader_config.py").write_text(_CONFIG)

    def add_exercise(self, name: str = NAME) -> Exercise:
        """Makes the folder of the toy exercise, by whatever name."""
        folder = self.root / "solutions" / name
        (folder / "wrong").mkdir(parents=True)
        (folder / "right").mkdir()
        (folder / "acceptance.py").write_text(_ACCEPTANCE)
        (folder / "wrong" / "first_only.py").write_text(_WRONG)
        (folder / "right" / "operator_module.py").write_text(_RIGHT)
        source = folder / f"{name}.py"
        source.write_text(_HEADER + "\n" + "\n\n".join(map(_percent_cell, _CELLS)) + "\n")
        make_notebook(source)
        return Exercise(folder)

    def submit(self, student: str, contents: Any, name: str = NAME) -> Path:
        """Hands a notebook in: as bytes, text, or the contents of its JSON. Returns the submission's folder."""
        folder = self.root / "submitted" / student / name
        folder.mkdir(parents=True, exist_ok=True)
        data = contents if isinstance(contents, str | bytes) else json.dumps(contents)
        (folder / f"{name}.ipynb").write_bytes(data.encode() if isinstance(data, str) else data)
        return folder

    def released(self, name: str = NAME) -> dict[str, Any]:
        """The notebook that students get."""
        notebook: dict[str, Any] = json.loads((self.root / "exercises" / name / f"{name}.ipynb").read_text())
        return notebook

    def solved(self, name: str = NAME, **sources: str) -> dict[str, Any]:
        """The released notebook with the reference's answers, or with others: text by grade_id with `_` for `-`."""
        reference = json.loads((self.root / "solutions" / name / f"{name}.ipynb").read_text())
        answers = {grade_id(cell): cell["source"] for cell in reference["cells"]}
        answers |= {identity.replace("_", "-"): text for identity, text in sources.items()}
        notebook = self.released(name)
        for cell in notebook["cells"]:
            if grade_id(cell) and cell["metadata"]["nbgrader"]["solution"]:
                cell["source"] = answers[grade_id(cell)]
        return notebook

    def grade(self, grader: Any, *students: str, jobs: int = 1, **options: Any) -> GradeReport:
        """Grades submissions in this process; the grader lives on."""
        with LocalEngine(grader, environment(grader.weak_isolation), jobs=jobs) as engine:
            return grade_submissions(
                submissions_of(find_exercises(self.root), students),
                engine,
                on_start=lambda exercise, student: None,
                on_grade=lambda grade: None,
                **options,
            )

    def feedback(self, student: str, name: str = NAME) -> str:
        """What nbgrader shows the student, as text of the page."""
        from nbgrader.apps import NbGraderAPI

        api = NbGraderAPI(course_directory(self.root), config=load_config(self.root))
        result = api.generate_feedback(name, student)
        assert result["success"], result
        return (self.root / "feedback" / student / name / f"{name}.html").read_text()

    def record(self, student: str, name: str = NAME) -> dict[str, Any]:
        """The last record of a graded submission."""
        return self.records(student, name)[0]

    def records(self, student: str, name: str = NAME) -> list[dict[str, Any]]:
        """All records of a graded submission, the last one first."""
        with Records(self.root) as records:
            return [json.loads(record.to_json()) for record in records.all_of(name, student)]

    def autograder(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs `autograder` in the course's folder."""
        return self._run(BIN / "autograder", *arguments)

    def nbgrader(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs `nbgrader` in the course's folder."""
        return self._run(BIN / "nbgrader", *arguments)

    def _run(self, command: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
        return subprocess.run(
            [command, *arguments], cwd=self.root, env=environment, capture_output=True, text=True, check=False
        )

    def gradebook(self, look: Callable[[Any], Any]) -> Any:
        """What `look` finds in the gradebook."""
        from nbgrader.api import Gradebook

        with Gradebook(f"sqlite:///{self.root / 'gradebook.db'}") as gradebook:
            return look(gradebook)

    def auto_scores(self, name: str = NAME) -> dict[str, dict[str, float | None]]:
        """Points of the judge in the gradebook, by student and criterion."""

        def look(gradebook: Any) -> Any:
            submissions = gradebook.assignment_submissions(name)
            return {
                submission.student.id: {
                    grade.name: grade.auto_score for grade in submission.notebooks[0].grades if grade.name != "essay"
                }
                for submission in submissions
            }

        scores: dict[str, dict[str, float | None]] = self.gradebook(look)
        return scores

    def totals(self, name: str = NAME) -> dict[str, float]:
        """Sums of the judge's points in the gradebook, by student; an unknown score makes a nan."""
        scores = self.auto_scores(name)
        return {
            student: sum(float("nan") if score is None else score for score in grades.values())
            for student, grades in scores.items()
        }

    def autograded(self, student: str, name: str = NAME) -> dict[str, Any]:
        """The notebook in `autograded/`."""
        path = self.root / "autograded" / student / name / f"{name}.ipynb"
        notebook: dict[str, Any] = json.loads(path.read_text())
        return notebook


def grade_id(cell: dict[str, Any]) -> str:
    """A cell's, or nothing."""
    return str(cell["metadata"].get("nbgrader", {}).get("grade_id", ""))


def cell_of(notebook: dict[str, Any], identity: str) -> dict[str, Any]:
    """The cell of that grade_id."""
    found: dict[str, Any] = next(cell for cell in notebook["cells"] if grade_id(cell) == identity)
    return found


def _percent_cell(cell: tuple[str, str | None, dict[str, Any], str]) -> str:
    kind, identity, settings, source = cell
    marker = "# %% [markdown]" if kind == "markdown" else "# %%"
    if identity:
        flags = {"grade": False, "locked": False, "solution": False, "task": False, "schema_version": 3}
        marker += f" nbgrader={json.dumps({**flags, 'grade_id': identity, **settings})}"
    lines = source.splitlines()
    return "\n".join([marker, *(f"# {line}".rstrip() if kind == "markdown" else line for line in lines)])
