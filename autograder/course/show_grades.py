"""Grades submissions and shows it: progress on stderr, a table or JSON on stdout, and the exit status."""

import sys
from collections.abc import Sequence
from typing import Any, Literal

from autograder.console import make_console
from autograder.course.grade_report import GradeReport, slowest, table
from autograder.course.tally import Tally
from autograder.exercises import Exercise
from autograder.isolation_check import weakness
from autograder.printable import is_text, printable


def grade_and_show(
    exercises: Sequence[Exercise],
    students: Sequence[str],
    *,
    jobs: int | None,
    force: bool,
    seed: str | None,
    accept_weak_isolation: bool,
    as_json: bool,
    engine: Literal["local", "ray"] = "local",
) -> int:
    """Grades submissions (see `autograder.course.grade_submissions`).

    Args:
        exercises: Of one course.
        students: Whose; all if empty.
        jobs: How many at a time; None for as many as there are cores.
        force: Also what is graded.
        seed: Of the inputs; None draws one.
        accept_weak_isolation: Grade also where a layer of the sandbox does not hold.
        as_json: Print the report as JSON.
        engine: Where: on this machine, or on a Ray cluster.

    Returns:
        The exit status: 0 if every submission is graded, 1 if not, 130 after Ctrl-C.

    Raises:
        NoSubmissionError: There is no submission, or none of a student who was named.
        GradebookError: The gradebook cannot be used, or an exercise is not released. Nothing was graded.
        RecordsError: The records cannot be used, or not any more.
        NoPlaceError: The disk is full. What was graded before is kept.
        KeyFileError: The grader's key cannot be read or made. Nothing was graded.
        WeakIsolationError: A layer of the sandbox does not hold. Nothing was graded.
        ClusterError: There is no cluster to grade on. Nothing was graded.
        ExerciseError: An exercise is not as it must be. Nothing was graded.
    """
    from autograder.course.config import load_config
    from autograder.course.grade_submissions import grade_submissions, submissions_of
    from autograder.course.start import local_engine, ray_engine

    pairs = submissions_of(exercises, students)
    config = load_config(exercises[0].root)
    options: dict[str, Any] = {
        "jobs": jobs,
        "seed": seed,
        "accept_weak_isolation": accept_weak_isolation,
        "config": config,
    }
    with (
        Tally(make_console(stderr=True)) as tally,
        ray_engine(**options) if engine == "ray" else local_engine(**options, first=_first_new(pairs)) as works,
    ):
        tally.begin(len(pairs))
        report = grade_submissions(
            pairs, works, force=force, seed=seed, on_start=tally.starts, on_grade=tally.ends, config=config
        )
    if as_json:
        sys.stdout.write(report.to_json() + "\n")
    else:
        _show(report)
    if report.interrupted:
        return 130
    return 0 if report.complete else 1


def _first_new(pairs: Sequence[tuple[Exercise, str]]) -> Exercise | None:
    """Returns the first exercise of which somebody's submission was never graded, so that it must be executed."""
    from autograder.course.records import FILE, Records

    root = pairs[0][0].root
    if not (root / FILE).exists():
        return pairs[0][0]
    with Records(root) as records:
        named = (pair for pair in pairs if is_text(pair[1]))
        return next((exercise for exercise, student in named if not records.latest_of(exercise.name, student)), None)


def _show(report: GradeReport) -> None:
    output = make_console()
    output.print()
    output.print(table(report))
    lines = [f"{grade.exercise}: {grade.student}: {change}" for grade in report.submissions for change in grade.changes]
    if lines:
        lines = ["", "Changed, for the same work:", *(f"    {line}" for line in lines)]
    counts = [f"{count} {state}" for state, count in report.counts.items()]
    lines += ["", f"{', '.join(counts)}; {report.seconds:.1f} s"]
    if slow := [f"{grade.student} ({grade.seconds:.1f} s)" for grade in slowest(report)]:
        lines += [f"slowest: {', '.join(slow)}"]
    if report.weak_isolation:
        lines += ["", weakness(report.weak_isolation)]
    for line in lines:
        output.print(printable(line), markup=False, highlight=False, soft_wrap=True)
