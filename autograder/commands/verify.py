"""`autograder verify`."""

import sys
from typing import Annotated

import typer

from autograder.commands.common import end, json_fields, root
from autograder.course.verify import Finding, VerifyReport

HELP = f"""Hold the gradebook against the signed records of grades, and list every grade that no record supports.

Each grade has a record in records.db, signed with the grader's key: the file that AUTOGRADER_KEY names, or one in the
user's own folder, made by the first `autograder grade`. To check a course on another machine, let AUTOGRADER_KEY name a
copy of the key's public half, the file beside it that ends in .pub.

Exit status: 0 if every grade is supported; 1 if one is not, or scores were set by hand over the judge's, or nothing can
be checked; 2 for an exercise that does not exist.

With --json, stdout has one object, a VerifyReport:

{json_fields(VerifyReport, Finding)}
"""


def verify(
    exercise: Annotated[
        str | None,
        typer.Argument(help="A name, or a prefix such as ch01_ex1. Default: all.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Finds grades that no record supports."""
    from autograder.console import make_console
    from autograder.course.gradebook import GradebookError
    from autograder.course.records import FILE, RecordsError
    from autograder.course.signing import KeyFileError, load_key
    from autograder.course.verify import table
    from autograder.course.verify import verify as look
    from autograder.exercises import ExerciseError, select_exercises
    from autograder.names import UnknownNameError
    from autograder.notebooks import NotebookError

    try:
        exercises = select_exercises([exercise] if exercise else [], root())
        for file in (FILE, "gradebook.db"):
            if not (exercises[0].root / file).exists():
                end(f"there is no {file} in {exercises[0].root}: nothing is graded yet; `autograder grade` does it", 1)
        report = look(exercises, load_key(), others=exercise is None)
    except UnknownNameError as error:
        end(str(error), 2)
    except (GradebookError, RecordsError, KeyFileError, ExerciseError, NotebookError, OSError) as error:
        end(str(error), 1)
    if as_json:
        sys.stdout.write(report.to_json() + "\n")
    else:
        output = make_console()
        if report.findings:
            output.print(table(report))
            output.print()
        unsupported = {(one.exercise, one.student) for one in report.findings if one.kind != "another submission"}
        said = f"{len(unsupported)} of {report.grades} grades are not supported" if unsupported else "all are supported"
        line = f"{report.grades} grades, {report.records} records, key {report.key}: {said}"
        output.print(line, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(0 if report.holds else 1)
