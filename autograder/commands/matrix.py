"""`autograder matrix`."""

import sys
from typing import Annotated

import typer

from autograder.commands.common import end, json_fields, root
from autograder.matrix import MatrixReport, Outcome

HELP = f"""Grade every answer that exercises keep, and hold the verdicts against what they must be.

The reference and the answers in right/ must meet every criterion, the empty release must earn nothing, and each answer
in wrong/ must fail the criterion that its header names, and none before it. Each criterion must be the end of at least
one wrong answer.

A criterion that this machine cannot run proves nothing, and does not hold.

Exit status: 0 if all of it holds; 1 if not, or if no sandbox can be made; 2 for an exercise that does not exist.

With --json, stdout has one object, a MatrixReport:

{json_fields(MatrixReport, Outcome)}
"""


def matrix(
    exercise: Annotated[
        list[str] | None,
        typer.Argument(help="A name or a prefix such as ch01_ex1. Default: all.", show_default=False),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Answers that are graded at a time; much of it is waiting.")] = 4,
    seed: Annotated[str | None, typer.Option(help="Draw the inputs of an earlier run again.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Grades every answer that exercises keep."""
    from rich.console import Console

    from autograder.exercises import ExerciseError, select_exercises
    from autograder.matrix import run_matrix, table
    from autograder.names import UnknownNameError
    from workbook.sandbox.isolation.server import IsolationError

    errors = Console(stderr=True, soft_wrap=True)

    def show(outcome: Outcome, done: int, total: int) -> None:
        said = "holds" if outcome.holds else f"DOES NOT HOLD: {outcome.problem}"
        line = f"{done:3}/{total}  {outcome.seconds:6.1f} s  {outcome.exercise} {outcome.answer}  {said}"
        errors.print(line, markup=False, highlight=False)

    try:
        report = run_matrix(select_exercises(exercise or [], root()), seed=seed, jobs=jobs, on_outcome=show)
    except UnknownNameError as error:
        end(str(error), 2)
    except (ExerciseError, IsolationError) as error:
        end(str(error), 1)
    if as_json:
        sys.stdout.write(report.to_json() + "\n")
    else:
        console = Console()
        console = console if console.is_terminal else Console(width=160)
        for part in table(report):
            console.print()
            console.print(part)
        for criterion in report.unguarded:
            console.print(f"no wrong answer is killed by {criterion}", markup=False)
        console.print(f"\n{report.seconds:.0f} s, seed {report.seed}", markup=False, highlight=False)
    raise typer.Exit(0 if report.holds else 1)
