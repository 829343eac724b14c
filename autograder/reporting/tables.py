"""The report as CSV, for spreadsheets. No cell of it is a formula."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

from autograder.printable import one_line
from autograder.reporting.model import ClassReport, Submission
from autograder.reporting.names import page_name

_FORMULA = re.compile(r"(^|;)(\s*)(?=[=+\-@＝＋－＠])")
"""A spreadsheet takes a cell that begins so for a formula. Some take a semicolon in a cell for the end of it."""

_GRADES = [
    "student",
    "exercise",
    "state",
    "points",
    "max_points",
    "judged_points",
    "judged_max_points",
    "penalty",
    "waits_for_person",
    "passed",
    "graded",
    "submitted",
    "seconds",
    "memory_mib",
    "failed_criteria",
    "problems",
    "incidents",
    "environment",
    "page",
]
_CRITERIA = [
    "student",
    "exercise",
    "criterion",
    "state",
    "points",
    "max_points",
    "attempts",
    "seconds",
    "mistake",
    "message",
]


def grades_csv(report: ClassReport) -> str:
    """Returns a line a submission."""
    return _csv(_GRADES, map(_grade, report.submissions))


def criteria_csv(report: ClassReport) -> str:
    """Returns a line a submission and criterion."""
    lines = (
        (
            submission.student,
            submission.exercise,
            verdict.criterion,
            verdict.state,
            _plain(verdict.points),
            _plain(verdict.max_points),
            verdict.attempts,
            verdict.seconds,
            verdict.mistake,
            verdict.message,
        )
        for submission in report.submissions
        for verdict in submission.verdicts
    )
    return _csv(_CRITERIA, lines)


def _grade(one: Submission) -> Sequence[object]:
    if one.state != "graded":
        empty = [""] * (len(_GRADES) - 4)
        return [one.student, one.exercise, one.state, *empty, page_name(one.student)]
    return [
        one.student,
        one.exercise,
        one.state,
        _plain(one.points),
        _plain(one.max_points),
        _plain(one.judged_points),
        _plain(one.judged_max_points),
        one.penalty,
        "yes" if one.waits_for_person else "no",
        "yes" if one.passed else "no",
        one.graded,
        one.submitted,
        one.seconds,
        round(one.memory / 2**20, 1) if one.memory else "",
        " ".join(verdict.criterion for verdict in one.verdicts if verdict.state == "failed"),
        " ".join(one.problems),
        " ".join(one.incidents),
        one.environment,
        page_name(one.student),
    ]


def _plain(number: float) -> float:
    """Returns points without what is no part of them: 5 for 5.0."""
    rounded = round(number, 4)
    return int(rounded) if rounded == int(rounded) else rounded


def _csv(header: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    file = io.StringIO()
    file.write("\ufeff")  # Excel reads UTF-8 only where the file says so
    writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(header)
    writer.writerows([cell(value) if isinstance(value, str) else value for value in line] for line in lines)
    return file.getvalue()


def cell(text: str) -> str:
    """Returns a text as a cell that no spreadsheet takes for a formula, on one line."""
    return _FORMULA.sub(r"\1\2'", one_line(text))
