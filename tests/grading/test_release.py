"""Releasing: nothing of the reference gets out, bytes are stable, nobody's work is overwritten."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from autograder.course.gradebook import GradebookError
from autograder.course.release import release, release_all
from autograder.exercises import Exercise
from autograder.notebooks import make_notebook
from tests.grading.course import NAME, POINTS, Course, cell_of


@pytest.fixture
def exercise(course: Course) -> Exercise:
    return Exercise(course.root / "solutions" / NAME)


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_nothing_of_the_reference_is_released(course: Course, exercise: Exercise) -> None:
    (exercise.folder / "wrong" / "more").mkdir()
    (exercise.folder / "wrong" / "more" / "other.py").write_text("SECRET = 1")
    (exercise.folder / "__pycache__").mkdir()
    (exercise.folder / "__pycache__" / "acceptance.pyc").write_text("SECRET")
    (exercise.folder / "records.db").write_text("SECRET")
    (exercise.folder / "data").mkdir()
    (exercise.folder / "data" / "table.bin").write_bytes(bytes(range(256)))
    assert release(exercise).problems == []
    released = {path.relative_to(exercise.released).as_posix() for path in exercise.released.rglob("*.*")}
    assert released == {f"{NAME}.ipynb", "acceptance.py", "data/table.bin"}
    assert (exercise.released / "data" / "table.bin").read_bytes() == bytes(range(256))
    text = (exercise.released / f"{NAME}.ipynb").read_text()
    for line in solution_lines(exercise.source):
        assert line not in text
    assert len(list(solution_lines(exercise.source))) > 8
    assert "SOLUTION" not in text
    assert "unbiased" not in text  # the essay's answer
    assert "jupytext" not in text
    assert "made_with" not in text


def solution_lines(source: Path) -> list[str]:
    """The lines of the reference's solution regions that tell something."""
    lines, inside = [], False
    for line in source.read_text().splitlines():
        if "SOLUTION" in line:
            inside = "BEGIN" in line
        elif inside and line.strip():
            lines.append(line.strip())
    return lines


def test_the_release_is_registered_with_its_points(course: Course) -> None:
    points = course.gradebook(
        lambda book: {cell.name: cell.max_score for cell in book.find_notebook(NAME, NAME).grade_cells}
    )
    assert points == {**POINTS, "essay": 2}


def test_stubs_raise(course: Course) -> None:
    assert cell_of(course.released(), "add")["source"][-1] == "    raise NotImplementedError"


def test_a_second_release_writes_nothing(course: Course, exercise: Exercise) -> None:
    before = snapshot(course.root)
    assert release(exercise).changed == []
    assert snapshot(course.root) == before


def test_nbgraders_own_command_makes_the_same_bytes(course: Course, exercise: Exercise) -> None:
    before = {path: contents for path, (contents, _) in snapshot(exercise.released).items()}
    done = course.nbgrader("generate_assignment", NAME, "--force")
    assert done.returncode == 0, done.stderr
    assert {path: contents for path, (contents, _) in snapshot(exercise.released).items()} == before


def test_an_edit_of_the_source_keeps_the_ids_of_other_cells(course: Course, exercise: Exercise) -> None:
    before = [cell["id"] for cell in course.released()["cells"]]
    exercise.source.write_text(exercise.source.read_text().replace("# Notes go here.", "# Notes go there."))
    make_notebook(exercise.source)
    assert release(exercise).changed == [f"exercises/{NAME}/{NAME}.ipynb"]
    after = [cell["id"] for cell in course.released()["cells"]]
    assert after == before


def test_check_writes_nothing_and_says_what_differs(course: Course, exercise: Exercise) -> None:
    (exercise.released / "acceptance.py").write_text("# edited")
    (exercise.released / "old.csv").touch()
    (course.root / "exercises" / "ch09_ex1_gone").mkdir()
    shutil.rmtree(exercise.released / ".ipynb_checkpoints", ignore_errors=True)
    (exercise.released / ".ipynb_checkpoints").mkdir()
    (exercise.released / ".ipynb_checkpoints" / "copy.ipynb").touch()
    before = snapshot(course.root)
    done = course.autograder("release", "--check")
    assert done.returncode == 1
    assert snapshot(course.root) == before
    assert f"exercises/{NAME}/acceptance.py: differs" in done.stdout
    assert "old.csv is not part of the release" in done.stderr
    assert "exercises/ch09_ex1_gone has no solutions/" in done.stderr
    assert "checkpoints" not in done.stderr + done.stdout


def test_check_is_content_with_a_release(course: Course, exercise: Exercise) -> None:
    assert release_all([exercise], strangers=True, check=True).passed
    (course.root / "exercises" / NAME / f"{NAME}.ipynb").unlink()
    assert not release_all([exercise], strangers=True, check=True).passed


def test_check_needs_no_gradebook(course: Course, exercise: Exercise) -> None:
    (course.root / "gradebook.db").unlink()
    assert release_all([exercise], strangers=True, check=True).passed
    assert not (course.root / "gradebook.db").exists()


def test_work_in_exercises_is_not_overwritten(course: Course, exercise: Exercise) -> None:
    notebook = exercise.released / f"{NAME}.ipynb"
    notebook.write_text(json.dumps(course.solved()))
    before = snapshot(course.root)
    done = release(exercise)
    assert "holds somebody's work" in done.problems[0]
    assert snapshot(course.root) == before
    assert release(exercise, force=True).problems == []
    assert "raise NotImplementedError" in notebook.read_text()


def test_a_notebook_that_was_only_executed_is_no_work(course: Course, exercise: Exercise) -> None:
    notebook = course.released()
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "x"}]
    (exercise.released / f"{NAME}.ipynb").write_text(json.dumps(notebook))
    assert release(exercise).problems == []


def rename_cell(exercise: Exercise) -> None:
    for path in (exercise.source, exercise.folder / "acceptance.py"):
        path.write_text(path.read_text().replace("adds-up", "Adds_Up").replace("adds_up", "Adds_Up"))
    make_notebook(exercise.source)


def drop_criterion(exercise: Exercise) -> None:
    path = exercise.folder / "acceptance.py"
    path.write_text(path.read_text().split('@criterion(hint="Which way')[0])


def forget_the_end(exercise: Exercise) -> None:
    exercise.source.write_text(exercise.source.read_text().replace("### END SOLUTION", "", 1))
    make_notebook(exercise.source)


def region_elsewhere(exercise: Exercise) -> None:
    text = exercise.source.read_text()
    text = text.replace("from autograder.check import check", "### BEGIN SOLUTION\nSECRET = 1\n### END SOLUTION")
    exercise.source.write_text(text)
    make_notebook(exercise.source)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda e: e.notebook.unlink(), "does not exist"),
        (lambda e: e.source.unlink(), "does not exist"),
        (lambda e: e.source.write_text(e.source.read_text() + "\n# %%\nx = 1\n"), "run `make notebooks`"),
        (lambda e: e.notebook.write_text("{"), "is not JSON"),
        (lambda e: (e.folder / "acceptance.py").unlink(), "acceptance.py is missing"),
        (lambda e: (e.folder / "acceptance.py").write_text("1 / 0"), "does not run"),
        (drop_criterion, "graded cells without a criterion: rounds"),
        (rename_cell, "without a criterion"),
        (forget_the_end, "no end solution"),
        (region_elsewhere, "Solution region detected in a non-solution cell"),
        (lambda e: shutil.copy(e.notebook, e.folder / "scratch.ipynb"), "scratch.ipynb: the only notebook"),
    ],
)
def test_an_exercise_that_is_not_right_is_named(
    course: Course, exercise: Exercise, spoil: Callable[[Exercise], None], reason: str
) -> None:
    before = snapshot(exercise.released)
    spoil(exercise)
    done = release(Exercise(exercise.folder))
    assert len(done.problems) == 1
    assert reason in done.problems[0]
    assert snapshot(exercise.released) == before


def test_points_change_and_are_registered(course: Course, exercise: Exercise) -> None:
    exercise.source.write_text(exercise.source.read_text().replace('"points": 5', '"points": 6'))
    make_notebook(exercise.source)
    assert release(Exercise(exercise.folder)).problems == []
    grade_cell = course.gradebook(lambda book: book.find_grade_cell("adds-up", NAME, NAME).max_score)
    assert grade_cell == 6


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_bytes(b"SQLite format 3\0" + b"x" * 5000), "not a database"),
        (lambda path: path.write_bytes(path.read_bytes()[:8192]), "malformed"),
        (lambda path: path.write_text("hello"), "not a database"),
        (lambda path: (path.unlink(), path.mkdir()), "unable to open"),
    ],
)
def test_a_damaged_gradebook_is_named(course: Course, spoil: Callable[[Path], None], reason: str) -> None:
    spoil(course.root / "gradebook.db")
    done = course.autograder("release")
    assert done.returncode == 1
    assert reason in done.stderr
    assert "gradebook.db" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_locked_gradebook_is_named(course: Course, exercise: Exercise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autograder.course.gradebook.PATIENCE", 0.2)
    with sqlite3.connect(course.root / "gradebook.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(GradebookError, match=r"locked.*another program"):
            release(exercise)
    other.close()


def test_json_and_usage(course: Course) -> None:
    done = course.autograder("release", NAME, "--json")
    assert json.loads(done.stdout) == {
        "passed": True,
        "exercises": [{"exercise": NAME, "changed": [], "problems": []}],
    }
    assert course.autograder("release", "ch07").returncode == 2
    assert course.autograder("release", "--check", "--force").returncode == 2
