"""`autograder check`."""

import io
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Annotated

import typer

from autograder.check_notebook import CellError, CheckReport, CheckVerdict
from autograder.commands.common import end, json_fields
from autograder.judge import Verdict

HELP = f"""Run your copy of an exercise, and say which of its checks hold.

It runs in an ordinary kernel, on any system, with the inputs that the checks in the notebook have. The grade comes from
a judge with other inputs. The notebook itself is not changed.

Exit status: 0 if no check failed; 1 if one did; 2 where there is nothing to check: a file that is no notebook of an
exercise, no kernel, no room for temporary files; 130 after Ctrl-C.

With --json, stdout has one object, a CheckReport:

{json_fields(CheckReport, CheckVerdict, Verdict, CellError)}
"""

_MARKS = {
    "passed": ("✓", "green"),
    "failed": ("✗", "red"),
    "not written yet": ("–", "yellow"),
    "not checked": ("✗", "red"),
    "not run": ("–", "yellow"),
}

_ASKED = 3
"""Questions that are shown of a check that fails; all of them are in the notebook, and in the JSON."""


def check(
    notebook: Annotated[Path, typer.Argument(help="The notebook, in its folder with acceptance.py.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Runs a notebook's own checks."""
    from rich.console import Console
    from rich.text import Text

    from autograder.check_notebook import CheckError, check_notebook

    running = "the start of the kernel"

    def starts(cell: str) -> None:
        nonlocal running
        running = cell
        status.update(Text(cell, no_wrap=True, overflow="ellipsis"))

    try:
        # What libraries have to say, of a disk that is full for one, is said below in a line.
        with Console(file=sys.stderr).status("the kernel starts") as status, redirect_stderr(io.StringIO()):
            report = check_notebook(notebook.resolve(), on_cell=starts)
    except CheckError as error:
        end(str(error), 2)
    except OSError as error:
        end(f"{error}: is there room for temporary files? Your notebook is as it was", 2)
    except KeyboardInterrupt:
        end(f"interrupted, and your notebook is as it was. Running was {running}", 130)
    if as_json:
        sys.stdout.write(report.to_json() + "\n")
    else:
        _show(report)
    raise typer.Exit(0 if report.passed else 1)


def _show(report: CheckReport) -> None:
    from rich.console import Console
    from rich.text import Text

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a file on Windows may have no ✓
    console = Console(highlight=False)

    def show(text: Text, indent: int = 0) -> None:
        for line in text.wrap(console, console.width - indent):
            line.rstrip()
            console.print(Text(" " * indent).append_text(line), soft_wrap=True)

    for verdict in report.verdicts:
        mark, colour = _MARKS[verdict.kind]
        show(Text.assemble((f"{mark} {verdict.criterion}", colour), _headline(verdict)))
        show(Text(verdict.asks, "dim"), indent=4)
        for line in _details(verdict):
            show(Text(line), indent=4)
    for cell in report.cells:
        show(Text.assemble((f"✗ code cell {cell.cell}", "red"), f", which begins with `{cell.first_line}`"))
        show(Text(cell.message), indent=4)
        show(Text(cell.advice), indent=4)
    console.print()
    for closing in _closing(report):
        show(Text(closing))


def _headline(verdict: CheckVerdict) -> str:
    points = f"  {_points(verdict.points, verdict.max_points)}" if verdict.max_points else ""
    if verdict.kind in ("passed", "failed"):
        return points
    stub = re.search(r"\(in (\w+), line", verdict.message) if verdict.kind == "not written yet" else None
    return f"{points}, {verdict.kind}" + (f": {stub[1]}" if stub else "")


def _details(verdict: CheckVerdict) -> Iterator[str]:
    if verdict.kind == "not written yet":
        return
    if verdict.message:
        yield verdict.message
    yield from (f"measured: {line}" for line in verdict.measured)
    if verdict.mistake:
        yield f"perhaps: {verdict.mistake}"
    if verdict.hint:
        yield f"hint: {verdict.hint}"
    yield from (f"asked: {line}" for line in verdict.evidence[-_ASKED:])


def _closing(report: CheckReport) -> Iterator[str]:
    held = f"{_points(report.points, report.max_points)} hold"
    unmet = next((verdict for verdict in report.verdicts if verdict.state == "failed"), None)
    if report.missing:
        yield f"Check cells are missing: {', '.join(report.missing)}. Copy them from a fresh copy of the exercise."
    if unmet:
        yield f"{held}. Next: {_next(unmet, report)}."
    elif any(verdict.state == "not run" for verdict in report.verdicts):
        yield f"{held}, and nothing failed. What this machine cannot run is left to the judge."
    else:
        yield f"All {report.max_points:g} points hold. Well done!"
    yield "The grade comes from a judge, which runs these checks with other inputs."
    if report.person_points:
        yield f"{report.person_points:g} points more come from a person, who reads your answers."


def _next(unmet: CheckVerdict, report: CheckReport) -> str:
    if unmet.kind == "not written yet":
        return f"write what {unmet.criterion} asks for"
    if unmet.kind == "not checked" and report.cells:
        return f"mend code cell {report.cells[0].cell}, then see to {unmet.criterion}"
    return f"{unmet.criterion}, the first that does not hold"


def _points(points: float, of: float) -> str:
    return f"{points:g} of {of:g} points"
