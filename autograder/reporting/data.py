"""Reads a course's records and gradebook, and puts a report together."""

import re
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from autograder.course.config import course_directory, students_of
from autograder.course.record import Environment, Record
from autograder.course.records import FILE, Records
from autograder.exercises import Exercise, ExerciseError
from autograder.judge import Verdict
from autograder.reporting.grouping import group_wrong
from autograder.reporting.model import (
    ClassReport,
    CriterionResult,
    EnvironmentUse,
    ExerciseReport,
    Spread,
    Submission,
)
from autograder.reporting.people import Added, read_people

_STAGES = ("restore", "fork", "cells", "judge", "write")
"""Of grading, in their order; a record has them by name."""


class NoRecordsError(Exception):
    """Nothing that the report is asked for was ever graded. The message says what to do."""


def read_report(exercises: Sequence[Exercise], root: Path) -> ClassReport:
    """Returns the report on some exercises of a course.

    Args:
        exercises: Of the course.
        root: The course's folder.

    Raises:
        NoRecordsError: There is no record of any of them.
        autograder.course.records.RecordsError: The file of records cannot be read.
        autograder.course.gradebook.GradebookError: The gradebook cannot be used.
    """
    records = _records(exercises, root)
    coursedir = course_directory(root)
    people = read_people(coursedir, records)
    environments = _environments([record for graded in records.values() for record in graded.values()])
    names = {environment.sha256: use.name for environment, use in environments}
    reports = []
    for exercise in exercises:
        graded = records[exercise.name]
        waiting = [student for student in students_of(exercise, coursedir) if student not in graded]
        submissions = [
            _submission(record, (people or {}).get((exercise.name, student)), names[record.environment.sha256])
            for student, record in graded.items()
        ]
        submissions += [Submission(exercise.name, student, "not graded yet") for student in waiting]
        reports.append(_exercise_report(exercise, sorted(submissions, key=lambda one: one.student)))
    return _class_report(reports, [use for _, use in environments], gradebook=people is not None)


def _records(exercises: Sequence[Exercise], root: Path) -> dict[str, dict[str, Record]]:
    found: dict[str, dict[str, Record]] = {}
    if (root / FILE).is_file():  # opening would make one
        with Records(root) as records:
            found = {exercise.name: records.latest(exercise.name) for exercise in exercises}
    if not any(found.values()):
        raise NoRecordsError(f"there is nothing to report: no record in {root / FILE}; `autograder grade` makes them")
    return found


def _submission(record: Record, added: Added | None, environment: str) -> Submission:
    """A person's work is in the gradebook alone; without it the judge's points are all there are."""
    judged = Submission(
        exercise=record.exercise,
        student=record.student,
        state="graded",
        points=record.points,
        max_points=record.max_points,
        judged_points=record.points,
        judged_max_points=record.max_points,
        passed=record.passed,
        graded=record.graded,
        submitted=record.submitted,
        verdicts=record.verdicts,
        problems=record.problems,
        incidents=record.incidents,
        seconds=record.seconds,
        stages=record.stages,
        memory=record.memory,
        environment=environment,
        weak_isolation=record.environment.weak_isolation,
    )
    if added is None:
        return judged
    return replace(
        judged,
        points=max(added.points - added.penalty, 0.0),  # as nbgrader exports it
        max_points=added.max_points,
        penalty=added.penalty,
        waits_for_person=added.waits_for_person,
        people=added.people,
    )


def _environments(records: Iterable[Record]) -> list[tuple[Environment, EnvironmentUse]]:
    by_digest: dict[str, Environment] = {}
    counted: Counter[str] = Counter()
    for record in records:
        by_digest[record.environment.sha256] = record.environment
        counted[record.environment.sha256] += 1
    return [
        (
            by_digest[digest],
            EnvironmentUse(
                name=f"environment {number}",
                submissions=count,
                python=by_digest[digest].python,
                machine=by_digest[digest].machine,
                device=by_digest[digest].device,
                packages=by_digest[digest].packages,
                weak_isolation=by_digest[digest].weak_isolation,
            ),
        )
        for number, (digest, count) in enumerate(counted.most_common(), 1)
    ]


def _exercise_report(exercise: Exercise, submissions: list[Submission]) -> ExerciseReport:
    graded = [one for one in submissions if one.state == "graded"]
    points = [one.points for one in graded]
    stages = dict.fromkeys([*_STAGES, *(stage for one in graded for stage in one.stages)])
    asks, problem = _asks(exercise) if graded else ({}, "")
    return ExerciseReport(
        exercise=exercise.name,
        title=_title(exercise),
        max_points=max((one.max_points for one in graded), default=0.0),
        graded=len(graded),
        waiting=[one.student for one in submissions if one.state != "graded"],
        passed=sum(one.passed for one in graded),
        mean=statistics.fmean(points) if points else None,
        median=statistics.median(points) if points else None,
        criteria=_criteria(graded, asks),
        seconds=_spread([one.seconds for one in graded]),
        stages={
            stage: spread
            for stage in stages
            if (spread := _spread([one.stages[stage] for one in graded if stage in one.stages]))
        },
        memory=_spread([one.memory for one in graded if one.memory]),
        submissions=submissions,
        problem=problem,
    )


def _criteria(graded: list[Submission], asks: dict[str, str]) -> list[CriterionResult]:
    verdicts: dict[str, list[tuple[str, Verdict]]] = {}
    for submission in graded:
        for verdict in submission.verdicts:
            verdicts.setdefault(verdict.criterion, []).append((submission.student, verdict))
    found = []
    for criterion, given in verdicts.items():
        states = Counter(verdict.state for _, verdict in given)
        found.append(
            CriterionResult(
                criterion=criterion,
                asks=asks.get(criterion, ""),
                max_points=max(verdict.max_points for _, verdict in given),
                passed=states["passed"],
                failed=states["failed"],
                not_run=states["not run"],
                cut_short=sum(verdict.cut_short for _, verdict in given),
                broke=sum(verdict.broke for _, verdict in given),
                wrong=group_wrong((student, verdict) for student, verdict in given if verdict.state == "failed"),
            )
        )
    return sorted(found, key=lambda one: (-one.failing, -one.failed))


def _class_report(
    exercises: list[ExerciseReport], environments: list[EnvironmentUse], *, gradebook: bool
) -> ClassReport:
    submissions = [one for exercise in exercises for one in exercise.submissions]
    graded = [one for one in submissions if one.state == "graded"]
    return ClassReport(
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        students=sorted({one.student for one in submissions}),
        graded=len(graded),
        waiting=len(submissions) - len(graded),
        passed=sum(one.passed for one in graded),
        mean=statistics.fmean(one.part for one in graded) if graded else None,
        last_graded=max((one.graded for one in graded), default=""),
        gradebook=gradebook,
        exercises=exercises,
        environments=environments,
    )


def _asks(exercise: Exercise) -> tuple[dict[str, str], str]:
    """Returns the first line of what each criterion asks, and why that cannot be read."""
    try:
        criteria = exercise.acceptance.criteria
    except ExerciseError as error:
        return {}, str(error)
    return {one.id: one.description.partition("\n")[0] for one in criteria.values()}, ""


def _title(exercise: Exercise) -> str:
    heading = re.search(r"^# # (.+)$", exercise.source.read_text(), re.MULTILINE) if exercise.source.is_file() else None
    return heading[1].strip() if heading else exercise.name


def _spread(values: Sequence[float]) -> Spread | None:
    if not values:
        return None
    ordered = sorted(values)
    ninetieth = ordered[min(int(0.9 * len(ordered)), len(ordered) - 1)]
    return Spread(statistics.median(ordered), ninetieth, ordered[-1], sum(ordered))
