"""What people add in nbgrader's gradebook."""

import random
from pathlib import Path
from typing import Any

import pytest

from autograder.course.config import course_directory
from autograder.course.gradebook import GradebookError, open_gradebook
from autograder.exercises import find_exercises
from autograder.reporting.data import read_report
from autograder.reporting.model import PersonGrade, Submission
from autograder.reporting.pages import student_page
from tests.reporting.conftest import FIRST
from tests.reporting.sample import add, record_of


@pytest.fixture
def graded(course: Path) -> Path:
    """A course with a gradebook: Ada's essay has 1 of 2 points and she was late, Ben's is yet to be graded."""
    records = {
        "Ada": record_of("Ada", FIRST, "right", random.Random(0)),
        "Ben": record_of("Ben", FIRST, "empty", random.Random(0)),
    }
    add(course, *records.values())
    with open_gradebook(course_directory(course)) as gradebook:
        gradebook.add_assignment(FIRST)
        gradebook.add_notebook(FIRST, FIRST)
        for verdict in records["Ada"].verdicts:
            gradebook.add_grade_cell(verdict.criterion, FIRST, FIRST, max_score=verdict.max_points, cell_type="code")
        gradebook.add_grade_cell("essay", FIRST, FIRST, max_score=2, cell_type="markdown")
        gradebook.add_solution_cell("essay", FIRST, FIRST)
        for student, record in records.items():
            gradebook.add_student(student)
            gradebook.add_submission(FIRST, student)
            notebook = gradebook.find_submission_notebook(FIRST, FIRST, student)
            points = {verdict.criterion: verdict.points for verdict in record.verdicts}
            for grade in notebook.grades:
                grade.auto_score = points.get(grade.name)
                grade.needs_manual_grade = grade.name == "essay" and student == "Ben"
                if grade.name == "essay" and student == "Ada":
                    grade.manual_score = 1
            if student == "Ada":
                notebook.late_submission_penalty = 3
                notebook.comments[0].manual_comment = "Short, <b>and good</b>."
        gradebook.db.commit()
    return course


def submissions(course: Path) -> dict[str, Submission]:
    report = read_report(find_exercises(course), course)
    assert report.gradebook
    return {one.student: one for one in report.submissions}


def test_points_of_people_and_penalties(graded: Path) -> None:
    found = submissions(graded)
    ada, ben = found["Ada"], found["Ben"]
    assert (ada.judged_points, ada.judged_max_points) == (15, 15)
    assert (ada.points, ada.max_points, ada.penalty) == (15 + 1 - 3, 17, 3)
    assert ada.people == [PersonGrade("essay", 1, 2, comment="Short, <b>and good</b>.")]
    assert not ada.waits_for_person
    assert (ben.points, ben.max_points, ben.penalty, ben.people) == (0, 17, 0, [])
    assert ben.waits_for_person


def test_penalty_takes_no_more_than_there_is(graded: Path) -> None:
    change(graded, "Ben", lambda notebook: setattr(notebook, "late_submission_penalty", 3))
    assert submissions(graded)["Ben"].points == 0


def test_a_person_may_overrule_the_judge(graded: Path) -> None:
    def overrule(notebook: Any) -> None:
        grade = next(grade for grade in notebook.grades if grade.name == "shares-prefixes")
        grade.manual_score, grade.extra_credit = 3, 0.5

    change(graded, "Ben", overrule)
    ben = submissions(graded)["Ben"]
    assert (ben.points, ben.judged_points) == (3.5, 0)
    assert ben.people == [PersonGrade("shares-prefixes", 3, 4, 0.5)]


def test_feedback_shows_it(graded: Path) -> None:
    report = read_report(find_exercises(graded), graded)
    pages = {one.student: student_page(report, one.student, [one]) for one in report.submissions}
    assert "13 <span" in pages["Ada"]
    assert "3 points were taken for being late" in pages["Ada"]
    assert "Short, &lt;b&gt;and good&lt;/b&gt;." in pages["Ada"]
    assert "points may be added" in pages["Ben"]
    assert "points may be added" not in pages["Ada"]


def test_gradebook_without_the_exercise(one_student: Path) -> None:
    with open_gradebook(course_directory(one_student)):
        pass
    assert submissions(one_student)["Ada Abel"].max_points == 15


def test_damaged_gradebook(one_student: Path) -> None:
    (one_student / "gradebook.db").write_text("no database, but long enough to be taken for one " * 100)
    with pytest.raises(GradebookError):
        read_report(find_exercises(one_student), one_student)


def change(course: Path, student: str, how: Any) -> None:
    with open_gradebook(course_directory(course)) as gradebook:
        how(gradebook.find_submission_notebook(FIRST, FIRST, student))
        gradebook.db.commit()
