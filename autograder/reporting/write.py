"""Writes a report into a folder, and takes away the pages of an earlier one that are nobody's any more."""

import re
from pathlib import Path

from autograder.files import write_atomically
from autograder.reporting.model import ClassReport, Submission
from autograder.reporting.names import page_name
from autograder.reporting.pages import class_page, student_page
from autograder.reporting.tables import criteria_csv, grades_csv

INDEX = "index.html"
STUDENTS = "students"
_PAGE = re.compile(r"[a-z0-9-]+-[0-9a-f]{12}\.html")  # as autograder.reporting.names makes them


def write_report(report: ClassReport, folder: Path) -> Path:
    """Writes the report, each file in one step, and the class's page last; returns the path of that.

    Raises:
        OSError: The disk is full, the folder cannot be written, and the like.
    """
    by_student: dict[str, list[Submission]] = {student: [] for student in report.students}
    for submission in report.submissions:
        by_student[submission.student].append(submission)
    index = class_page(report)
    pages = folder / STUDENTS
    for student, submissions in by_student.items():
        write_atomically(pages / page_name(student), student_page(report, student, submissions))
    write_atomically(folder / "grades.csv", grades_csv(report))
    write_atomically(folder / "criteria.csv", criteria_csv(report))
    write_atomically(folder / "report.json", report.to_json() + "\n")
    write_atomically(folder / INDEX, index)
    kept = {page_name(student) for student in by_student}
    for path in pages.iterdir():
        if _PAGE.fullmatch(path.name) and path.name not in kept:
            path.unlink()
    return folder / INDEX
