"""`autograder grade` as a teacher meets it: the table, the JSON, the exit status; and a new exercise from scratch."""

import json
import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from filelock import FileLock
from typer.testing import CliRunner

from autograder.cli import app
from autograder.course.gradebook import GradebookError
from autograder.course.release import release
from autograder.course.released import digest
from autograder.exercises import Exercise
from tests.grading.course import BIN, NAME, POINTS, Course
from tests.grading.stand_in import SEED, StandIn
from tests.system import unavailable
from workbook.sandbox.isolation.server import available


@pytest.fixture
def boxes() -> None:
    if reason := available():
        unavailable(reason)


def test_the_table_and_the_progress(course: Course, boxes: None) -> None:
    course.submit("alice", course.solved())
    course.submit("bob", course.solved(add="def add(a, b): return a"))
    course.submit("carl", "{")
    done = course.autograder("grade")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[1]: line for line in done.stdout.splitlines() if NAME in line}
    assert lines["alice"].split()[2:4] == ["12", "12"]
    assert lines["bob"].split()[2:5] == ["7", "12", "adds-up"]
    assert lines["carl"].split()[2:5] == ["0", "12", "adds-up"]
    assert "carl: graded: 0 of 12" in done.stderr
    assert "is not JSON" in done.stderr
    assert "Warning" not in done.stderr
    assert course.totals() == {"alice": 12, "bob": 7, "carl": 0}


def test_json_is_one_documented_object(course: Course, boxes: None) -> None:
    course.submit("alice", course.solved())
    course.submit("bob", course.released())
    done = course.autograder("grade", NAME, "--student", "bob", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0
    assert (report["complete"], report["interrupted"]) == (True, False)
    (grade,) = report["submissions"]
    assert (grade["student"], grade["state"], grade["points"], grade["max_points"]) == ("bob", "graded", 0, 12)
    assert [verdict["criterion"] for verdict in grade["verdicts"]] == list(POINTS)
    shown = course.autograder("grade", "--help").stdout
    for name in (*report, *grade, *grade["verdicts"][0]):
        assert f"      {name}: " in shown
    assert course.record("bob")["seed"] not in done.stdout + done.stderr


def test_one_that_cannot_be_graded_does_not_stop_the_others(course: Course) -> None:
    course.submit("alice", course.solved(add="# TROUBLE"))
    course.submit("bob", course.solved())
    grader = StandIn()
    grader.fails_on = "TROUBLE"
    report = course.grade(grader)
    alice, bob = report.submissions
    assert not report.complete
    assert (alice.state, alice.failure) == ("not graded", "the machine has no room for a box")
    assert (bob.state, bob.points) == ("graded", 12)
    assert not (course.root / "autograded" / "alice" / NAME).exists()
    grader.fails_on = ""
    assert [grade.state for grade in course.grade(grader).submissions] == ["graded", "graded before"]


def test_points_that_nbgrader_would_misread_are_refused(course: Course) -> None:
    class Careless(StandIn):
        def __init__(self, spoil: Any) -> None:
            super().__init__()
            self.spoil = spoil

        def grade(self, notebook: Any, *rest: Any, **more: Any) -> Any:
            grade = super().grade(notebook, *rest, **more)
            self.spoil(next(cell for cell in notebook.cells if cell.get("outputs")))
            return grade

    def add_stderr(cell: Any) -> None:
        cell.outputs.append({"output_type": "stream", "name": "stderr", "text": "!"})

    course.submit("alice", course.solved())
    for spoil in (
        lambda cell: cell.outputs.clear(),
        add_stderr,
        lambda cell: cell.outputs[0].data.update({"text/plain": "1000"}),
        lambda cell: cell.outputs[0].data.update({"text/plain": "-1"}),
        lambda cell: cell.outputs[0].data.update({"text/plain": "nan"}),
        lambda cell: cell.outputs[0].data.pop("text/plain"),
    ):
        (grade,) = course.grade(Careless(spoil)).submissions
        assert grade.state == "not graded"
        assert "'adds-up' has no points from 0 to 5" in grade.failure


def test_a_stale_release_is_named(course: Course) -> None:
    source = course.root / "solutions" / NAME / f"{NAME}.py"
    course.submit("alice", course.solved())
    (course.root / "exercises" / NAME / f"{NAME}.ipynb").unlink()
    done = course.autograder("grade")
    assert done.returncode == 1
    assert f"run `autograder release {NAME}`" in done.stderr
    assert source.exists()


def test_a_release_in_which_somebody_has_worked_is_no_ground_to_grade_on(course: Course) -> None:
    path = course.root / "exercises" / NAME / f"{NAME}.ipynb"
    solved = json.dumps(course.solved())
    path.chmod(0o644)
    path.write_text(solved)
    course.submit("ann", "{ no JSON")
    done = course.autograder("grade")
    assert done.returncode == 1
    assert "holds somebody's work" in done.stderr
    assert not (course.root / "autograded").exists()
    assert path.read_text() == solved


def test_cells_gained_after_grading_are_named(course: Course) -> None:
    course.submit("alice", course.solved())
    course.grade(StandIn())
    exercise = Exercise(course.root / "solutions" / NAME)
    path = course.root / "exercises" / NAME / f"{NAME}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if "essay" not in json.dumps(cell)]
    notebook.metadata["workbook"]["released_sha256"] = digest(notebook)
    nbformat.write(notebook, path)
    done = course.autograder("grade")
    assert done.returncode == 1
    assert "begin a new gradebook" in done.stderr
    assert release(exercise, force=True).problems == []


def test_usage(course: Course) -> None:
    for arguments, said in (
        (["grade"], "no submission of"),
        (["grade", "ch09"], "is no exercise"),
        (["grade", NAME, "--student", "nobody"], "by nobody"),
    ):
        done = course.autograder(*arguments)
        assert done.returncode == 2, done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["[ab]*", "ü ñ", "a.b-c_d", "{student}", "x" * 200, "'; drop table student; --"])
def test_students_may_have_any_name(course: Course, name: str) -> None:
    course.submit(name, course.solved())
    course.submit("b", course.solved())
    grader = StandIn()
    report = course.grade(grader, name)
    assert [(grade.student, grade.state, grade.failure) for grade in report.submissions] == [(name, "graded", "")]
    assert course.totals() == {name: 12}
    assert len(grader.seen) == 1


def test_a_locked_gradebook_is_said_and_nothing_is_lost(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autograder.course.gradebook.PATIENCE", 0.2)
    course.submit("alice", course.solved())
    other = sqlite3.connect(course.root / "gradebook.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(GradebookError, match="locked"):
        course.grade(StandIn())
    other.execute("ROLLBACK")
    other.close()
    assert course.grade(StandIn()).complete


def test_two_programs_do_not_grade_at_once(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autograder.course.ledger.PATIENCE", 0.2)
    course.submit("alice", course.solved())
    with (
        FileLock(course.root / "gradebook.db.lock"),
        pytest.raises(GradebookError, match="another program is autograding"),
    ):
        course.grade(StandIn())
    assert course.grade(StandIn()).complete


def test_off_linux_it_is_one_line(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    course.submit("alice", course.solved())
    monkeypatch.chdir(course.root)
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("autograder.isolation_check._all_hold", False)  # another test may have found it here
    done = CliRunner().invoke(app, ["grade"])
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1
    assert "need Linux" in done.stderr


def test_each_further_submission_that_fails_counts_and_the_same_one_does_not(course: Course) -> None:
    stub = "def add(a, b):\n    raise NotImplementedError"

    def attempts(**cells: str) -> list[int]:
        course.submit("alice", course.solved(**cells))
        course.grade(StandIn(), force=True)
        return [verdict["attempts"] for verdict in course.record("alice")["verdicts"]]

    assert attempts(add=stub) == [1, 0, 0]
    assert attempts(add=stub) == [1, 0, 0], "the same submission, graded again"
    assert attempts(add=f"# again\n{stub}") == [2, 0, 0]
    assert attempts(add=f"# and again\n{stub}", round="raise NotImplementedError") == [3, 0, 1]
    assert attempts() == [0, 0, 0]
    assert attempts(add=stub) == [1, 0, 0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_midway_is_taken_up_again(course: Course, boxes: None, number: int) -> None:
    slow = "import pathlib, time\npathlib.Path('here').touch()\ntime.sleep(20)\ndef add(a, b): return a + b"
    course.submit("alice", course.solved())
    course.submit("bob", course.solved(add=slow))
    with subprocess.Popen(
        [BIN / "autograder", "grade", "--json"],
        cwd=course.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        wait_until(lambda: course.totals() == {"alice": 12})
        time.sleep(1)
        started = psutil.Process(process.pid).children(recursive=True)
        os.kill(process.pid, number)
        output, errors = process.communicate(timeout=60)
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "Traceback" not in errors
        report = json.loads(output)
        assert (report["interrupted"], report["complete"]) == (True, False)
        assert [grade["student"] for grade in report["submissions"]] == ["alice"]
    wait_until(lambda: not [child for child in started if child.is_running()])
    before = course.records("alice")
    course.submit("bob", course.solved(add="def add(a, b): return b + a"))
    done = course.autograder("grade", "--json")
    assert done.returncode == 0, done.stderr
    states = {grade["student"]: grade["state"] for grade in json.loads(done.stdout)["submissions"]}
    assert states == {"alice": "graded before", "bob": "graded"}
    assert course.records("alice") == before
    assert len(course.records("bob")) == 1
    assert course.totals() == {"alice": 12, "bob": 12}


def wait_until(holds: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)


def test_the_seed_is_in_the_records_alone(course: Course) -> None:
    course.submit("alice", course.solved())
    course.grade(StandIn())
    course.feedback("alice")
    holds = [
        path.relative_to(course.root).as_posix()
        for path in course.root.rglob("*")
        if path.is_file() and SEED.encode() in path.read_bytes()
    ]
    assert holds == ["records.db"]


def test_a_second_exercise_made_from_scratch(course: Course, boxes: None) -> None:
    before = snapshot(course.root)
    name = "ch02_ex1_from_scratch"
    course.add_exercise(name)
    done = course.autograder("release", name)
    assert done.returncode == 0, done.stderr
    solved = json.dumps(course.solved(name))
    notebook = course.root / "exercises" / name / f"{name}.ipynb"
    released = notebook.read_text()
    for contents, said in ((released, "VALIDATION FAILED ON 4 CELL(S)"), (solved, "Success!")):
        notebook.write_text(contents)
        checked = course.nbgrader("validate", str(notebook))
        assert said in checked.stdout, checked.stdout + checked.stderr
    notebook.write_text(released)
    course.submit("alice", solved, name)
    course.submit("bob", released, name)
    done = course.autograder("grade", name, "--json")
    assert done.returncode == 0, done.stderr
    points = {grade["student"]: grade["points"] for grade in json.loads(done.stdout)["submissions"]}
    assert points == {"alice": 12, "bob": 0}
    assert course.totals(name) == points
    assert {path: path.read_bytes() for path in before} == before
    places = {path.relative_to(course.root).parts[0] for path in snapshot(course.root).keys() - before.keys()}
    assert places == {"solutions", "exercises", "submitted", "autograded"}


def snapshot(folder: Path) -> dict[Path, bytes]:
    databases = ("gradebook.db", "records.db")
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(databases))
    return {path: path.read_bytes() for path in files}


def test_excluded_students_are_left_out(course: Course) -> None:
    path = course.root / "nbgrader_config.py"
    path.write_text(path.read_text() + "c.CourseDirectory.student_id_exclude = 'bob'\n")
    for student in ("ann", "bob"):
        course.submit(student, course.solved())
    done = course.autograder("grade", "--json")
    assert done.returncode == 0, done.stderr
    assert [one["student"] for one in json.loads(done.stdout)["submissions"]] == ["ann"]
