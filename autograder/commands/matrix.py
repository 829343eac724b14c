"""`autograder matrix`."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from autograder.attacking.report import AttackOutcome, AttackReport
from autograder.commands.common import end, json_fields, root
from autograder.matrix import MatrixReport, Outcome

if TYPE_CHECKING:
    from rich.table import Table

    from autograder.exercises import Exercise

ALL = "all"

HELP = f"""Grade every answer that exercises keep, and hold the verdicts against what they must be.

The reference and the answers in right/ must meet every criterion, the empty release must earn nothing, and each answer
in wrong/ must fail the criterion that its header names, and none before it. Each criterion must be the end of at least
one wrong answer. A criterion that compares tensors must fail for every decoy: zeros, NaN, the transpose and the like.

A criterion that this machine cannot run proves nothing, and does not hold.

With --attacks, the attacks in autograder/attacks/ are run instead: each changes the empty answer and the reference into
a hostile submission. None may gain a point, touch or learn anything outside of its box, go beyond its limits, or cost
the next submission anything. Every attack is run on one exercise of each shape (object, tensor, kernel), and those on
the judge itself on all; `autograder matrix --attacks all` runs every attack on every exercise, by all criteria.

Exit status: 0 if all of it holds; 1 if not, or if the sandbox lacks a layer that it needs (see `autograder doctor`); 2
for an exercise that does not exist.

With --json, stdout has one object, a MatrixReport, or with --attacks an AttackReport:

{json_fields(MatrixReport, Outcome, AttackReport, AttackOutcome)}
"""


def matrix(
    exercise: Annotated[
        list[str] | None,
        typer.Argument(help="A name or a prefix such as ch01_ex1. Default: all.", show_default=False),
    ] = None,
    attacks: Annotated[bool, typer.Option("--attacks", help="Run the attacks instead.")] = False,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Answers that are graded at a time. Default: 4, much of it is waiting; of attacks 2."),
    ] = None,
    seed: Annotated[str | None, typer.Option(help="Draw the inputs of an earlier run again.")] = None,
    accept_weak_isolation: Annotated[
        bool,
        typer.Option("--accept-weak-isolation", help="Grade also where a layer of the sandbox does not hold."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Grades every answer that exercises keep."""
    from autograder.attacking.attack import AttackError
    from autograder.exercises import ExerciseError, select_exercises
    from autograder.isolation_check import WeakIsolationError
    from autograder.names import UnknownNameError
    from workbook.sandbox.isolation.server import IsolationError

    names = exercise or []
    whole = attacks and names == [ALL]
    try:
        exercises = select_exercises([] if whole else names, root())
        if attacks:
            _attack(exercises, whole, as_json, jobs=jobs or 2, seed=seed, accept_weak_isolation=accept_weak_isolation)
        _prove(exercises, as_json, jobs=jobs or 4, seed=seed, accept_weak_isolation=accept_weak_isolation)
    except UnknownNameError as error:
        end(str(error), 2)
    except (ExerciseError, AttackError, IsolationError, WeakIsolationError) as error:
        end(str(error), 1)


def _prove(exercises: "Sequence[Exercise]", as_json: bool, **options: Any) -> NoReturn:
    from autograder.matrix import run_matrix, table

    report = run_matrix(
        exercises,
        **options,
        on_outcome=lambda outcome, done, total: _show(outcome, f"{outcome.exercise} {outcome.answer}", done, total),
    )
    problems = [f"no wrong answer is killed by {criterion}" for criterion in report.unguarded]
    _end(report, table(report), problems, as_json)


def _attack(exercises: "Sequence[Exercise]", whole: bool, as_json: bool, **options: Any) -> NoReturn:
    from autograder.attacking.attack import attacks
    from autograder.attacking.report import table
    from autograder.attacking.run import chosen, run_attacks

    report = run_attacks(
        chosen(attacks(), exercises, whole=whole),
        whole=whole,
        **options,
        on_outcome=lambda outcome, done, total: _show(
            outcome, f"{outcome.attack} on {outcome.exercise}, {outcome.answer}", done, total
        ),
    )
    _end(report, table(report), report.problems, as_json)


def _show(outcome: Outcome | AttackOutcome, name: str, done: int, total: int) -> None:
    said = "holds" if outcome.holds else f"DOES NOT HOLD: {outcome.problem}"
    typer.echo(f"{done:3}/{total}  {outcome.seconds:6.1f} s  {name}  {said}", err=True)


def _end(report: MatrixReport | AttackReport, tables: "list[Table]", problems: list[str], as_json: bool) -> NoReturn:
    """Prints a report, and ends the command."""
    from rich.console import Console

    from autograder.isolation_check import weakness

    if as_json:
        sys.stdout.write(report.to_json() + "\n")
    else:
        console = Console()
        console = console if console.is_terminal else Console(width=160)
        for part in tables:
            console.print()
            console.print(part)
        for line in filter(None, [*problems, weakness(report.weak_isolation)]):
            console.print(line, markup=False)
        console.print(f"\n{report.seconds:.0f} s, seed {report.seed}", markup=False, highlight=False)
    raise typer.Exit(0 if report.holds else 1)
