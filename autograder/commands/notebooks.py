"""`autograder notebooks`."""

from enum import StrEnum
from typing import Annotated

import typer

from autograder.commands.common import root


class Side(StrEnum):
    """Which of a notebook's two files the other is made from."""

    PY = "py"
    IPYNB = "ipynb"


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
    folder = root()
    sources = [*find_chapters(folder), *find_solutions(folder)]
    if check:
        found = [
            f"{source.parent.relative_to(folder)}: {problem}" for source in sources for problem in problems(source)
        ]
        for line in found:
            typer.echo(line)
        raise typer.Exit(1 if found else 0)

    failed = False
    for source in sources:
        try:
            changed = make_notebook(source, force=force) if side is Side.PY else take_back(source, force=force)
        except (NotebookError, OSError) as error:
            failed = True
            typer.echo(f"{source.parent.relative_to(folder)}: {error}", err=True)
            continue
        typer.echo(f"{source.relative_to(folder).with_suffix('')}: {'written' if changed else 'unchanged'}")
    raise typer.Exit(1 if failed else 0)
