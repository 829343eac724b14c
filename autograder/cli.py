"""The command line: a function a command, each calling the module that does the work."""

import inspect
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from autograder import report

app = typer.Typer(
    help="Runs the workbook's chapters and makes its notebooks.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


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


def _end(message: str, status: int) -> NoReturn:
    typer.echo(f"autograder: {message}", err=True)
    raise typer.Exit(status)


def _root() -> Path:
    from autograder.chapters import find_root

    try:
        return find_root()
    except FileNotFoundError as error:
        _end(str(error), 2)


def _json_fields() -> str:
    """What `run --json` prints, from the docstrings of the classes that make it."""
    kinds = (report.RunReport, report.ChapterRun, report.CellRun, report.Failure)
    texts = ((kind.__name__, (inspect.getdoc(kind) or "").replace("\n\n", "\n")) for kind in kinds)
    # \b keeps click from filling the lines that follow.
    return "\n\n".join(f"\b\n{name}: {text}" for name, text in texts)


_RUN_HELP = f"""Execute chapters with papermill, as a gate.

Every code cell must be executed, complete, and raise no error; one tagged raises-exception must raise one. Executed
copies with their outputs go to build/chapters/.

Exit status: 0 if all chapters passed; 1 if one failed; 2 for a chapter or parameter that does not exist; 130 after
Ctrl-C.

With --json, stdout has one object, a RunReport:

{_json_fields()}
"""


@app.command(help=_RUN_HELP)
def run(
    chapter: Annotated[
        list[str] | None,
        typer.Argument(help="A name, a prefix such as ch01, or a path. Default: all.", show_default=False),
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", metavar="NAME=VALUE", help="A value for a name in the parameters cells; repeatable."),
    ] = None,
    timeout: Annotated[int, typer.Option(min=1, metavar="SECONDS", help="Limit of a cell.")] = 300,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Executes chapters."""
    from autograder.chapters import UnknownChapterError, select_chapters
    from autograder.console import run_and_show
    from autograder.parameters import ParameterError

    root = _root()
    try:
        status = run_and_show(
            select_chapters(chapter or [], root),
            assignments=parameter or [],
            timeout=timeout,
            copies=root / "build" / "chapters",
            as_json=as_json,
        )
    except (UnknownChapterError, ParameterError) as error:
        _end(str(error), 2)
    except OSError as error:
        _end(str(error), 1)
    raise typer.Exit(status)


class Side(StrEnum):
    """Which of a notebook's two files the other is made from."""

    PY = "py"
    IPYNB = "ipynb"


@app.command()
def notebooks(
    side: Annotated[Side, typer.Option("--from", help="Which of the two files has the edits.")] = Side.PY,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; list what is wrong, status 1 if anything is.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Also where that loses edits of the other file.")] = False,
) -> None:
    """Make the notebooks (.ipynb) of chapters/ and solutions/ from their sources (.py, percent format).

    With --from ipynb, take edits made in JupyterLab back into the .py, and strip outputs. A file with edits that the
    other lacks is never overwritten without --force.

    Exit status: 0 if all is done and well; 1 if a notebook could not be made, or --check found something.
    """
    from autograder.chapters import find_chapters, find_solutions
    from autograder.notebooks import NotebookError, make_notebook, problems, take_back

    if check and (force or side is Side.IPYNB):
        raise typer.BadParameter("--check writes nothing, so it goes with neither --from ipynb nor --force")
    root = _root()
    sources = [*find_chapters(root), *find_solutions(root)]
    if check:
        found = [f"{source.parent.relative_to(root)}: {problem}" for source in sources for problem in problems(source)]
        for line in found:
            typer.echo(line)
        raise typer.Exit(1 if found else 0)

    failed = False
    for source in sources:
        try:
            changed = make_notebook(source, force=force) if side is Side.PY else take_back(source, force=force)
        except (NotebookError, OSError) as error:
            failed = True
            typer.echo(f"{source.parent.relative_to(root)}: {error}", err=True)
            continue
        typer.echo(f"{source.relative_to(root).with_suffix('')}: {'written' if changed else 'unchanged'}")
    raise typer.Exit(1 if failed else 0)
