"""The command line: its commands are in `autograder.commands`."""

import sys
from typing import Annotated

import typer

from autograder.commands import check, doctor, grade, matrix, notebooks, release, report, run, verify

app = typer.Typer(
    help="Runs the workbook's chapters, makes its notebooks, and releases, checks and grades its exercises.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command(help=run.HELP)(run.run)
app.command()(notebooks.notebooks)
app.command(help=release.HELP)(release.release)
app.command(help=check.HELP)(check.check)
app.command(help=grade.HELP)(grade.grade)
app.command(help=report.HELP)(report.report)
app.command(help=verify.HELP)(verify.verify)
app.command(help=matrix.HELP)(matrix.matrix)
app.command(help=doctor.HELP)(doctor.doctor)


def main() -> None:
    """Runs the command line. Exit status: 0 done and all well, 1 something failed, 2 bad usage, 130 Ctrl-C."""
    # jsonschema, under nbformat, would take two seconds to build a grammar for IRIs, which no notebook has; it does
    # without where this import fails.
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
    app()


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("inference-workbook"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")] = False,
) -> None:
    pass
