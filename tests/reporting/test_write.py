"""What is written, and what is taken away."""

import random
from pathlib import Path

import pytest

from autograder.exercises import find_exercises
from autograder.reporting import write
from autograder.reporting.data import read_report
from autograder.reporting.model import ClassReport
from autograder.reporting.names import page_name
from tests.reporting.conftest import FIRST
from tests.reporting.sample import HOSTILE, add, make_class, record_of, submit


def report_on(course: Path) -> ClassReport:
    return read_report(find_exercises(course), course)


def test_files(course: Path) -> None:
    make_class(course, HOSTILE)
    report = report_on(course)
    folder = course / "reports"
    assert write.write_report(report, folder) == folder / "index.html"
    assert {path.name for path in folder.iterdir()} == {
        "index.html",
        "grades.csv",
        "criteria.csv",
        "report.json",
        "students",
    }
    assert {path.name for path in (folder / "students").iterdir()} == set(map(page_name, report.students))
    assert {path.name for path in course.parent.iterdir()} == {"course"}


def test_no_page_is_left_of_who_is_gone(course: Path) -> None:
    draw = random.Random(0)
    add(course, record_of("Ada", FIRST, "right", draw))
    submit(course, "Ben", FIRST)
    folder = course / "reports"
    write.write_report(report_on(course), folder)
    (folder / "students" / "notes.html").write_text("a teacher's own")
    (course / "submitted" / "Ben" / FIRST).rmdir()
    write.write_report(report_on(course), folder)
    assert {path.name for path in (folder / "students").iterdir()} == {page_name("Ada"), "notes.html"}


@pytest.mark.parametrize("file", ["index.html", "grades.csv", "report.json", page_name("Ada Abel")])
def test_what_was_there_stays_whole(one_student: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    folder = one_student / "reports"
    write.write_report(report_on(one_student), folder)
    names = {path.name for path in folder.rglob("*")}
    path = next(path for path in folder.rglob("*") if path.name == file)
    before = path.read_bytes()
    replaces = Path.replace

    def fails(self: Path, target: Path) -> Path:
        if target.name == file:
            raise OSError("no space left")
        return replaces(self, target)

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(OSError, match="no space left"):
        write.write_report(report_on(one_student), folder)
    assert path.read_bytes() == before
    assert {path.name for path in folder.rglob("*")} == names


def test_the_same_report_has_the_same_pictures(one_student: Path) -> None:
    from autograder.reporting.plots import plots_of

    exercise = report_on(one_student).exercises[0]
    assert plots_of(exercise) == plots_of(exercise)
    assert len(plots_of(exercise)) == 4
