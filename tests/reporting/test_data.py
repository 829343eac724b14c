"""What a report says of a course's records."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from autograder.course.records import FILE
from autograder.exercises import find_exercises
from autograder.reporting.data import NoRecordsError, read_report
from autograder.reporting.model import ClassReport
from tests.reporting.conftest import FIRST, SECOND, THIRD
from tests.reporting.sample import WEAK, add, environment, make_class, names_of, record_of, submit


def report_on(course: Path) -> ClassReport:
    return read_report(find_exercises(course), course)


def test_no_record_at_all(course: Path) -> None:
    submit(course, "Ada", FIRST)
    with pytest.raises(NoRecordsError, match="autograder grade"):
        report_on(course)
    assert not (course / FILE).exists()  # looking makes nothing


def test_one_student(one_student: Path) -> None:
    report = report_on(one_student)
    assert (report.students, report.graded, report.waiting, report.passed) == (["Ada Abel"], 1, 0, 0)
    assert (report.mean, report.gradebook) == (0.0, False)
    first, second, third = report.exercises
    assert (first.title, first.graded, first.max_points) == ("Exercise 1.1: a cache of keys and values", 1, 15)
    assert (second.graded, second.mean, second.seconds, second.criteria) == (0, None, None, [])
    assert third.submissions == []
    criterion = first.criteria[0]
    assert (criterion.failed, criterion.failing, criterion.wrong[0].says) == (1, 1.0, "raised NotImplementedError")
    assert criterion.asks == "`get(i)` is what `put(i, …)` was given."


def test_last_record_counts_and_who_waits_is_listed(course: Path) -> None:
    draw = random.Random(0)
    add(course, record_of("Ada", FIRST, "empty", draw), record_of("Ada", FIRST, "right", draw))
    for student in ("Ada", "Ben", "[ab]*"):
        submit(course, student, FIRST)
    report = report_on(course)
    assert (report.graded, report.passed, report.waiting) == (1, 1, 2)
    assert report.exercises[0].waiting == ["Ben", "[ab]*"]
    assert [one.state for one in report.exercises[0].submissions] == ["graded", "not graded yet", "not graded yet"]


def test_criteria_that_fail_most_come_first(course: Path) -> None:
    make_class(course, names_of(30))
    for exercise in report_on(course).exercises:
        failing = [one.failing for one in exercise.criteria]
        assert failing == sorted(failing, reverse=True)
        for one in exercise.criteria:
            assert one.passed + one.failed + one.not_run == exercise.graded
            assert sum(wrong.count for wrong in one.wrong) == one.failed
            assert [wrong.count for wrong in one.wrong] == sorted((wrong.count for wrong in one.wrong), reverse=True)


def test_what_was_not_run_is_no_pass(course: Path) -> None:
    add(course, record_of("Ada", THIRD, "right", random.Random(0)))
    exercise = report_on(course).exercises[2]
    assert exercise.passed == 0
    assert {one.criterion: one.not_run for one in exercise.criteria if one.not_run} == {"on-a-gpu": 1}
    assert exercise.criteria[-1].failing == 0.0


def test_time_by_stage_and_memory(course: Path) -> None:
    draw = random.Random(0)
    for number in range(1, 11):
        stages = {"judge": float(number), "fork": 0.5}
        changes = {"stages": stages, "seconds": number + 0.5, "memory": 0 if number > 2 else number * 2**20}
        add(course, record_of(f"s{number}", FIRST, "right", draw, **changes))
    exercise = report_on(course).exercises[0]
    assert list(exercise.stages) == ["fork", "judge"]  # in the order of grading
    spread = exercise.stages["judge"]
    assert (spread.median, spread.ninetieth, spread.largest, spread.total) == (5.5, 10.0, 10.0, 55.0)
    assert exercise.memory is not None
    assert exercise.memory.largest == 2 * 2**20  # a machine that does not tell says 0


def test_environments(course: Path) -> None:
    draw = random.Random(0)
    weak = environment("b", weak_isolation=WEAK)
    add(course, *(record_of(f"s{number}", FIRST, "right", draw) for number in range(3)))
    add(course, record_of("s9", SECOND, "right", draw, environment=weak))
    report = report_on(course)
    assert [(use.name, use.submissions, use.weak_isolation) for use in report.environments] == [
        ("environment 1", 3, []),
        ("environment 2", 1, WEAK),
    ]
    assert report.exercises[1].submissions[0].environment == "environment 2"
    assert report.exercises[1].submissions[0].weak_isolation == WEAK


def test_criteria_that_cannot_be_read_are_no_end(one_student: Path) -> None:
    (one_student / "solutions" / FIRST / "acceptance.py").write_text("1 / 0")
    exercise = report_on(one_student).exercises[0]
    assert "ZeroDivisionError" in exercise.problem
    assert [one.asks for one in exercise.criteria] == [""] * 6


def test_criterion_that_broke_or_was_cut_short_is_told(course: Path) -> None:
    record = record_of("Ada", FIRST, "empty", random.Random(0))
    broken = replace(record.verdicts[0], broke=True, cut_short=True)
    add(course, replace(record, verdicts=[broken, *record.verdicts[1:]]))
    criteria = report_on(course).exercises[0].criteria
    assert {one.criterion: one.broke for one in criteria if one.broke} == {broken.criterion: 1}
    assert {one.criterion: one.cut_short for one in criteria if one.cut_short} == {broken.criterion: 1}
