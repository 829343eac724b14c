"""`autograder verify` finds every grade that no record supports."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autograder.course.signing import load_key
from autograder.course.verify import VerifyReport, verify
from autograder.exercises import find_exercises
from tests.grading.course import NAME, Course
from tests.grading.stand_in import StandIn

STUB = "raise NotImplementedError"


@pytest.fixture
def graded(course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Course:
    """A course in which alice has 12 points and bob has 7, by a key of its own."""
    monkeypatch.setenv("AUTOGRADER_KEY", str(tmp_path / "grader.pem"))
    course.submit("alice", course.solved())
    course.submit("bob", course.solved(add=STUB))
    assert course.grade(StandIn()).complete
    return course


def look(course: Course) -> VerifyReport:
    return verify(find_exercises(course.root), load_key())


def found(course: Course) -> list[tuple[str, str]]:
    return [(finding.student, finding.kind) for finding in look(course).findings]


def change(**values: Any) -> Callable[[Any], None]:
    def of(book: Any) -> None:
        grade = book.find_grade("adds-up", NAME, NAME, "bob")
        for name, value in values.items():
            setattr(grade, name, value)
        book.db.commit()

    return of


def test_what_the_grader_gave_is_supported(graded: Course) -> None:
    report = look(graded)
    assert (report.holds, report.grades, report.findings) == (True, 2, [])
    assert report.key == load_key().fingerprint


@pytest.mark.parametrize(
    ("values", "kind", "detail"),
    [
        ({"auto_score": 5.0}, "another score", "adds-up: the judge gave 0, the gradebook has 5"),
        ({"auto_score": None}, "another score", "adds-up: the judge gave 0, the gradebook has none"),
        ({"manual_score": 5.0}, "set by hand", "adds-up: the judge gave 0, a person 5"),
        ({"extra_credit": 2.0}, "set by hand", "adds-up: a person added 2"),
    ],
)
def test_a_score_that_was_changed_shows(graded: Course, values: dict[str, Any], kind: str, detail: str) -> None:
    graded.gradebook(change(**values))
    report = look(graded)
    (finding,) = report.findings
    assert (report.holds, finding.student, finding.kind, finding.detail) == (False, "bob", kind, detail)


def test_points_for_what_a_person_grades_are_no_finding(graded: Course) -> None:
    def essay(book: Any) -> None:
        book.find_grade("essay", NAME, NAME, "alice").manual_score = 2.0
        book.db.commit()

    graded.gradebook(essay)
    assert look(graded).holds


def test_a_student_whom_nobody_graded_shows(graded: Course) -> None:
    def enter(book: Any) -> None:
        book.update_or_create_student("mallory")
        book.update_or_create_submission(NAME, "mallory")
        book.find_grade("adds-up", NAME, NAME, "mallory").auto_score = 5.0
        book.db.commit()

    graded.gradebook(enter)
    assert found(graded) == [("mallory", "no record")]


def edit_record(course: Course, student: str, **values: Any) -> None:
    database = sqlite3.connect(course.root / "records.db")
    (text,) = database.execute("SELECT record FROM record WHERE student = ?", (student,)).fetchone()
    changed = json.dumps({**json.loads(text), **values})
    database.execute("UPDATE record SET record = ? WHERE student = ?", (changed, student))
    database.commit()
    database.close()


def test_a_record_that_was_changed_shows(graded: Course) -> None:
    edit_record(graded, "bob", points=12.0)
    assert set(found(graded)) == {("bob", "forged record")}


def test_another_students_record_is_no_support(graded: Course) -> None:
    database = sqlite3.connect(graded.root / "records.db")
    (alices,) = database.execute("SELECT record FROM record WHERE student = 'alice'").fetchone()
    database.execute("UPDATE record SET record = ? WHERE student = 'bob'", (alices,))
    database.commit()
    database.close()
    assert ("bob", "no record") in found(graded)


def test_a_record_by_another_key_shows(graded: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOGRADER_KEY", str(tmp_path / "another.pem"))
    load_key(make=True)
    assert set(found(graded)) == {("alice", "forged record"), ("bob", "forged record")}


def test_a_record_that_was_removed_shows(graded: Course) -> None:
    database = sqlite3.connect(graded.root / "records.db")
    database.execute("DELETE FROM record WHERE student = 'alice'")
    database.commit()
    database.close()
    assert found(graded) == [("bob", "broken chain"), ("alice", "no record")]


def test_an_old_record_that_is_put_back_shows(graded: Course) -> None:
    database = sqlite3.connect(graded.root / "records.db")
    (old,) = database.execute("SELECT record FROM record WHERE student = 'bob'").fetchone()
    graded.submit("bob", graded.solved())
    assert graded.grade(StandIn()).complete
    assert look(graded).holds
    database.execute("INSERT INTO record VALUES (4, ?, 'bob', '', ?, 1)", (NAME, old))
    database.commit()
    database.close()
    graded.gradebook(change(auto_score=0.0))
    kinds = [kind for student, kind in found(graded) if student == "bob"]
    assert "broken chain" in kinds


def test_a_class_without_its_last_records_shows_by_its_grades(graded: Course) -> None:
    database = sqlite3.connect(graded.root / "records.db")
    database.execute("DELETE FROM record WHERE number = 2")
    database.commit()
    database.close()
    assert found(graded) == [("bob", "no record")]


def other_assignment(book: Any) -> None:
    book.update_or_create_assignment("extra")
    book.update_or_create_notebook("extra", "extra")
    book.update_or_create_grade_cell("c", "extra", "extra", max_score=100, cell_type="code")
    book.update_or_create_submission("extra", "bob")
    book.find_grade("c", "extra", "extra", "bob").auto_score = 100.0
    book.db.commit()


def other_notebook(book: Any) -> None:
    book.update_or_create_notebook("more", NAME)
    book.update_or_create_grade_cell("c", "more", NAME, max_score=100, cell_type="code")
    book.remove_submission(NAME, "bob")
    book.update_or_create_submission(NAME, "bob")
    book.find_grade("c", "more", NAME, "bob").auto_score = 100.0
    book.db.commit()


def essay(book: Any) -> None:
    book.find_grade("essay", NAME, NAME, "bob").auto_score = 50.0
    book.db.commit()


def no_penalty(book: Any) -> None:
    book.find_submission_notebook(NAME, NAME, "bob").late_submission_penalty = -5.0
    book.db.commit()


def another_time(book: Any) -> None:
    book.update_or_create_submission(NAME, "bob", timestamp="2026-01-01 00:00:00 UTC")


@pytest.mark.parametrize(
    ("meddle", "kind"),
    [
        (other_assignment, "no record"),
        (other_notebook, "another score"),
        (essay, "another score"),
        (no_penalty, "another penalty"),
        (another_time, "another time"),
    ],
)
def test_nothing_in_the_gradebook_is_left_out(graded: Course, meddle: Callable[[Any], None], kind: str) -> None:
    graded.gradebook(meddle)
    report = look(graded)
    assert not report.holds
    assert ("bob", kind) in [(finding.student, finding.kind) for finding in report.findings]


def test_an_exercise_that_is_gone_is_looked_at_too(graded: Course) -> None:
    graded.add_exercise("ch02_ex1_second")
    assert graded.autograder("release", "ch02_ex1_second").returncode == 0
    graded.submit("bob", graded.solved("ch02_ex1_second"), "ch02_ex1_second")
    assert graded.grade(StandIn(), "bob").complete
    shutil.rmtree(graded.root / "solutions" / NAME)
    assert look(graded).holds
    graded.gradebook(change(auto_score=5.0))
    assert found(graded) == [("bob", "another score")]


def test_a_notebook_that_was_changed_or_is_gone_shows(graded: Course) -> None:
    paths = [graded.root / "autograded" / student / NAME / f"{NAME}.ipynb" for student in ("alice", "bob")]
    paths[0].unlink()
    paths[1].chmod(0o644)
    paths[1].write_text(paths[1].read_text().replace("0 of 5", "5 of 5"))
    assert found(graded) == [("alice", "another notebook"), ("bob", "another notebook")]


def test_what_waits_to_be_graded_is_told_and_is_no_fault(graded: Course) -> None:
    graded.submit("bob", graded.solved())
    report = look(graded)
    assert (report.holds, [finding.kind for finding in report.findings]) == (True, ["another submission"])


def test_grading_again_mends_it(graded: Course) -> None:
    graded.gradebook(change(auto_score=5.0))
    assert graded.grade(StandIn()).complete
    assert look(graded).holds


def test_the_command(graded: Course) -> None:
    done = graded.autograder("verify")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"2 grades, 2 records, key {load_key().fingerprint}: all are supported" in done.stdout
    graded.gradebook(change(auto_score=5.0))
    done = graded.autograder("verify", "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    shown = graded.autograder("verify", "--help").stdout
    for name in (*report, *report["findings"][0]):
        assert f"      {name}: " in shown
    done = graded.autograder("verify")
    assert "1 of 2 grades are not supported" in " ".join(done.stdout.split())
    assert "adds-up: the judge gave 0, the gradebook has 5" in " ".join(done.stdout.split())


def test_usage(course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = course.autograder("verify")
    assert done.returncode == 1
    assert "nothing is graded yet" in done.stderr
    done = course.autograder("verify", "ch09")
    assert done.returncode == 2
    course.submit("alice", course.solved())
    course.grade(StandIn())
    monkeypatch.setenv("AUTOGRADER_KEY", str(tmp_path / "none.pem"))
    done = course.autograder("verify")
    assert done.returncode == 1
    assert "there is no grader's key in" in done.stderr
    assert not (tmp_path / "none.pem").exists()
    assert "Traceback" not in done.stderr
