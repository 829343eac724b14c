"""`autograder check`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from autograder.commands.common import end, json_fields
from autograder.judge import Verdict

HELP = f"""Run your copy of an exercise, and say which of its checks hold.

It runs in an ordinary kernel, on any system, with the inputs that the checks in the notebook have. The grade comes from
a judge with other inputs. The notebook itself is not changed.

Exit status: 0 if no check failed; 1 if one did; 2 for a file that is no notebook of an exercise.

With --json, stdout has the report: notebook, passed, points, max_points, seconds, and verdicts, each one

{json_fields(Verdict)}
"""


def check(
    notebook: Annotated[Path, typer.Argument(help="The notebook, in its folder with acceptance.py.", dir_okay=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Runs a notebook's own checks."""
    from rich.console import Console
    from rich.text import Text

    from autograder.check_notebook import check_notebook
    from autograder.exercises import ExerciseError
    from autograder.notebooks import NotebookError

    console = Console(stderr=True, soft_wrap=True)
    path = notebook.resolve()
    try:
        with console.status("the kernel starts") as status:
            report = check_notebook(path, on_cell=lambda line: status.update(Text(line)))
    except (NotebookError, ExerciseError) as error:
        end(str(error), 2)
    if as_json:
        sys.stdout.write(report.to_json() + "\n")
    else:
        marks = {"passed": "✓", "failed": "✗", "not run": "–"}
        for verdict in report.verdicts:
            typer.echo(f"{marks[verdict.state]} {verdict.criterion}  {verdict.points:g} of {verdict.max_points:g}")
            for line in verdict.message.splitlines():
                typer.echo(f"    {line}")
        typer.echo(f"\n{report.points:g} of {report.max_points:g} points in the checks of this notebook")
    raise typer.Exit(0 if report.passed else 1)
