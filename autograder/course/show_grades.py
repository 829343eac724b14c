"""Grades submissions and shows it: progress on stderr, a table or JSON on stdout, and the exit status."""

import sys
from collections.abc import Sequence

from autograder.console import make_console
from autograder.course.grade_report import SubmissionGrade, table
from autograder.exercises import Exercise
from autograder.isolation_check import weakness


def grade_and_show(
    exercises: Sequence[Exercise],
    students: Sequence[str],
    *,
    force: bool,
    seed: str | None,
    accept_weak_isolation: bool,
    as_json: bool,
) -> int:
    """Grades submissions (see `autograder.course.grade_submissions`).

    Args:
        exercises: Of one course.
        students: Whose; all if empty.
        force: Also what is graded.
        seed: Of the inputs; None draws one.
        accept_weak_isolation: Grade also where a layer of the sandbox does not hold.
        as_json: Print the report as JSON.

    Returns:
        The exit status: 0 if every submission is graded, 1 if not, 130 after Ctrl-C.

    Raises:
        NoSubmissionError: There is no submission, or none of a student who was named.
        GradebookError: The gradebook cannot be used, or an exercise is not released. Nothing was graded.
        WeakIsolationError: A layer of the sandbox does not hold. Nothing was graded.
    """
    from autograder.course.grade_submissions import grade_submissions
    from autograder.grading import Grader

    errors = make_console(stderr=True)

    def starts(exercise: str, student: str) -> None:
        status.update(f"{exercise}: {student}")

    def ended(grade: SubmissionGrade) -> None:
        came = grade.failure or f"{grade.points:g} of {grade.max_points:g}"
        lines = [f"{grade.exercise}: {grade.student}: {grade.state}: {came}"]
        for line in [*lines, *(f"    {problem}" for problem in grade.problems)]:
            errors.print(line, markup=False, highlight=False, soft_wrap=True)

    with (
        errors.status("trying the sandbox") as status,
        Grader(seed=seed, accept_weak_isolation=accept_weak_isolation) as grader,
    ):
        report = grade_submissions(exercises, students, grader, force=force, on_start=starts, on_grade=ended)
    if as_json:
        sys.stdout.write(report.to_json() + "\n")
    else:
        output = make_console()
        output.print()
        output.print(table(report))
        if report.weak_isolation:
            output.print(f"\n{weakness(report.weak_isolation)}", markup=False, highlight=False, soft_wrap=True)
    if report.interrupted:
        return 130
    return 0 if report.complete else 1
