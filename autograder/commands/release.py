"""`autograder release`."""

import sys
from typing import Annotated

import typer

from autograder.commands.common import end, json_fields, root
from autograder.course.release_report import Release, ReleaseReport

HELP = f"""Make the students' copies of exercises, exercises/, from solutions/.

A notebook in exercises/ that somebody has worked in is not overwritten without --force.

Exit status: 0 if all is released; 1 if an exercise could not be, or --check found that exercises/ differs from what
would be released; 2 for an exercise that does not exist.

With --json, stdout has one object, a ReleaseReport:

{json_fields(ReleaseReport, Release)}
"""


def release(
    exercise: Annotated[
        list[str] | None,
        typer.Argument(help="A name, or a prefix such as ch01_ex1. Default: all.", show_default=False),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; list what differs.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite work in exercises/.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Releases exercises."""
    from autograder.course.gradebook import GradebookError
    from autograder.course.release import release_all
    from autograder.exercises import select_exercises
    from autograder.names import UnknownNameError

    if check and force:
        raise typer.BadParameter("--check writes nothing, so it does not go with --force")
    try:
        chosen = select_exercises(exercise or [], root())
        report = release_all(chosen, strangers=not exercise, check=check, force=force)
    except UnknownNameError as error:
        end(str(error), 2)
    except (GradebookError, OSError) as error:
        end(str(error), 1)
    if as_json:
        sys.stdout.write(report.to_json() + "\n")
    else:
        for entry in report.exercises:
            for file in entry.changed:
                typer.echo(f"{file}: {'differs' if check or entry.problems else 'written'}")
            if not entry.changed and not entry.problems:
                typer.echo(f"exercises/{entry.exercise}: unchanged")
    for entry in report.exercises:
        for problem in entry.problems:
            typer.echo(f"{entry.exercise}: {problem}", err=True)
    raise typer.Exit(0 if report.passed else 1)
