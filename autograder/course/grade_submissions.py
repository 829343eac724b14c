"""Grades the submissions in a course's `submitted/<student>/<exercise>/`, through nbgrader, in one process."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autograder.course.grade_report import GradeReport, SubmissionGrade
from autograder.exercises import Exercise
from autograder.judge import Verdict

if TYPE_CHECKING:
    from autograder.grading import Grader


class NoSubmissionError(LookupError):
    """There is nothing to grade, or a student who was named has not submitted."""


def grade_submissions(
    exercises: Sequence[Exercise],
    students: Sequence[str],
    grader: "Grader",
    *,
    force: bool = False,
    on_start: Callable[[str, str], None],
    on_grade: Callable[[SubmissionGrade], None],
) -> GradeReport:
    """Grades each submission that is not graded yet, or only in part; what one of them does never stops the others.

    Args:
        exercises: Of one course.
        students: Whose; all if empty.
        grader: Grades all of them.
        force: Also what is graded.
        on_start: Is called with an exercise's and a student's name.
        on_grade: Is called with what came of it.

    Raises:
        NoSubmissionError: There is no submission, or none of a student who was named.
        GradebookError: The gradebook cannot be used, or an exercise is not released. Nothing was graded.
    """
    from autograder.course.config import course_directory
    from autograder.course.gradebook import register

    coursedir = course_directory(exercises[0].root)
    pairs = _submissions(exercises, students, coursedir)
    for exercise in dict.fromkeys(exercise for exercise, _ in pairs):
        register(exercise, coursedir)
    began, grades, interrupted = time.monotonic(), [], False
    for exercise, student in pairs:
        on_start(exercise.name, student)
        try:
            grade = _grade(exercise, student, grader, force)
        except KeyboardInterrupt:
            interrupted = True
            break
        grades.append(grade)
        on_grade(grade)
    return GradeReport(
        complete=not interrupted and all(grade.state != "not graded" for grade in grades),
        interrupted=interrupted,
        seconds=round(time.monotonic() - began, 3),
        submissions=grades,
        weak_isolation=list(dict.fromkeys(layer for grade in grades for layer in grade.weak_isolation)),
    )


def _submissions(exercises: Sequence[Exercise], students: Sequence[str], coursedir: Any) -> list[tuple[Exercise, str]]:
    from autograder.course.config import students_of

    pairs = [
        (exercise, student)
        for exercise in exercises
        for student in students_of(exercise, coursedir)
        if not students or student in students
    ]
    submitted = Path(coursedir.root) / coursedir.submitted_directory
    named = ", ".join(exercise.name for exercise in exercises)
    missing = [student for student in students if student not in {student for _, student in pairs}]
    if missing:
        raise NoSubmissionError(f"no submission of {named} by {', '.join(missing)} in {submitted}")
    if not pairs:
        raise NoSubmissionError(f"no submission of {named} in {submitted}/<student>/<exercise>/")
    return pairs


def _grade(exercise: Exercise, student: str, grader: "Grader", force: bool) -> SubmissionGrade:
    from nbgrader.coursedir import CourseDirectory

    from autograder.course.autograde import SandboxedAutograde, read_record
    from autograder.course.config import load_config
    from autograder.course.nbgrader_log import Reason

    config = load_config(exercise.root)
    config.CourseDirectory.assignment_id = exercise.name
    config.CourseDirectory.student_id = student
    coursedir = CourseDirectory(config=config)
    converter = SandboxedAutograde(coursedir=coursedir, config=config)
    converter.grader, converter.force = grader, force
    folder = Path(coursedir.format_path(coursedir.autograded_directory, student, exercise.name))
    began = time.monotonic()
    with Reason() as reason:
        try:
            converter.start()
        except Exception as error:  # noqa: BLE001 - the next submission is another matter
            failure = str(reason.of(error)) or type(error).__name__
            return SubmissionGrade(exercise.name, student, "not graded", failure=failure, seconds=_since(began))
    record = read_record(folder)
    return SubmissionGrade(
        exercise=exercise.name,
        student=student,
        state="graded" if converter.graded else "graded before",
        points=record["points"],
        max_points=record["max_points"],
        verdicts=[Verdict(**verdict) for verdict in record["verdicts"]],
        problems=record["problems"],
        weak_isolation=record.get("weak_isolation", []),
        seconds=_since(began) if converter.graded else record["seconds"],
    )


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)
