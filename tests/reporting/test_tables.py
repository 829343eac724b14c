"""The report as CSV."""

import csv
import io
import random
from pathlib import Path

import pytest

from autograder.exercises import find_exercises
from autograder.reporting.data import read_report
from autograder.reporting.tables import cell, criteria_csv, grades_csv
from tests.reporting.conftest import FIRST
from tests.reporting.sample import HOSTILE, add, make_class, record_of, submit


def rows(text: str) -> list[dict[str, str]]:
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text[1:])))


@pytest.mark.parametrize(
    ("text", "neutral"),
    [
        ("=1+1", "'=1+1"),
        ("-rf", "'-rf"),
        ("+1", "'+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'=1"),
        ("\n=1", "'=1"),
        ("＝1", "'＝1"),
        ("x; =1", "x; '=1"),  # where a semicolon separates
        ("Ada - Ben", "Ada - Ben"),
        ("a\r\nb", "a b"),
    ],
)
def test_no_cell_is_a_formula(text: str, neutral: str) -> None:
    assert cell(text) == neutral


def test_a_line_a_submission_and_a_line_a_verdict(course: Path) -> None:
    make_class(course, HOSTILE)
    report = read_report(find_exercises(course), course)
    grades, criteria = rows(grades_csv(report)), rows(criteria_csv(report))
    assert len(grades) == len(report.submissions)
    assert len(criteria) == sum(len(one.verdicts) for one in report.submissions)
    for table in (grades, criteria):
        for row in table:
            assert None not in row
            assert not any(value.startswith(tuple("=+-@\t\r")) for value in row.values())
    assert {row["student"] for row in grades} >= {"'=HYPERLINK(1)", "'-rf", "ü ñ 漢字"}


def test_numbers(course: Path) -> None:
    add(course, record_of("Ada", FIRST, "right", random.Random(0), memory=300 * 2**20))
    submit(course, "Ben", FIRST)
    ada, ben = rows(grades_csv(read_report(find_exercises(course), course)))
    assert (ada["points"], ada["max_points"], ada["passed"], ada["memory_mib"]) == ("15", "15", "yes", "300.0")
    assert (ben["state"], ben["points"]) == ("not graded yet", "")
    assert ben["page"].startswith("ben-")
