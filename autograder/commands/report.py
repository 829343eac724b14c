"""`autograder report`."""

from pathlib import Path
from typing import Annotated

import typer

from autograder.commands.common import end, json_fields, root
from autograder.judge import Verdict
from autograder.reporting.model import (
    ClassReport,
    CriterionResult,
    EnvironmentUse,
    ExerciseReport,
    Misunderstanding,
    PersonGrade,
    Spread,
    Submission,
)

HELP = f"""Write a report on the class, and a feedback page for each student.

Reads records.db, which `autograder grade` writes, and the gradebook, for the points that people gave and the penalties
that were taken. Into the folder reports/ go index.html (the class: who passed what, which criterion fails most and
what people got wrong, time, memory, attacks seen), grades.csv, criteria.csv and report.json, and into its folder
students/ a page for each student, which holds nothing of anybody else.

Exit status: 0 if the report is written; 1 if it could not be; 2 for an exercise that does not exist, or where nothing
was graded.

With --json, stdout has one object, the contents of report.json, a ClassReport:

{
    json_fields(
        ClassReport,
        ExerciseReport,
        CriterionResult,
        Misunderstanding,
        Spread,
        Submission,
        PersonGrade,
        Verdict,
        EnvironmentUse,
    )
}
"""


def report(
    exercise: Annotated[
        str | None,
        typer.Argument(help="A name, or a prefix such as ch01_ex1. Default: all.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where to write. Default: reports/ in the course.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Writes a report on the class."""
    from autograder.course.gradebook import GradebookError
    from autograder.course.records import RecordsError
    from autograder.exercises import select_exercises
    from autograder.names import UnknownNameError
    from autograder.reporting.data import NoRecordsError
    from autograder.reporting.show import report_and_show

    course = root()
    try:
        exercises = select_exercises([exercise] if exercise else [], course)
        report_and_show(exercises, course, output or course / "reports", as_json=as_json)
    except (UnknownNameError, NoRecordsError) as error:
        end(str(error), 2)
    except (RecordsError, GradebookError, OSError) as error:
        end(str(error), 1)
