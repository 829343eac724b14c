"""Makes a report and shows where it is: a table or JSON on stdout."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autograder.console import make_console
from autograder.exercises import Exercise
from autograder.reporting.data import read_report
from autograder.reporting.model import ClassReport
from autograder.reporting.write import write_report

if TYPE_CHECKING:
    from rich.table import Table


def report_and_show(exercises: Sequence[Exercise], root: Path, output: Path, *, as_json: bool) -> None:
    """Writes the report on exercises into the folder `output`.

    Raises:
        autograder.reporting.data.NoRecordsError: There is nothing to report.
        autograder.course.records.RecordsError: The file of records cannot be read.
        autograder.course.gradebook.GradebookError: The gradebook cannot be used.
        OSError: The report cannot be written.
    """
    report = read_report(exercises, root)
    index = write_report(report, output)
    if as_json:
        sys.stdout.write(report.to_json() + "\n")
        return
    console = make_console()
    console.print(table(report))
    console.print(f"\n{index}", markup=False, highlight=False, soft_wrap=True)


def table(report: ClassReport) -> "Table":
    """Returns a line an exercise."""
    from rich.table import Table

    lines = Table("exercise", box=None, pad_edge=False)
    for name in ("graded", "not yet", "passed", "mean", "of"):
        lines.add_column(name, justify="right")
    lines.add_column("fails most")
    for one in report.exercises:
        worst = one.criteria[0] if one.criteria and one.criteria[0].failed else None
        lines.add_row(
            one.exercise,
            str(one.graded),
            str(len(one.waiting)),
            str(one.passed),
            "–" if one.mean is None else f"{one.mean:.1f}",
            f"{one.max_points:g}",
            f"{worst.criterion} ({worst.failing:.0%})" if worst else "",
        )
    return lines
