"""What all commands do alike."""

import inspect
from pathlib import Path
from typing import NoReturn

import typer


def end(message: str, status: int) -> NoReturn:
    """Ends the command with a line on stderr.

    Raises:
        typer.Exit: With that status.
    """
    typer.echo(f"autograder: {message}", err=True)
    raise typer.Exit(status)


def root() -> Path:
    """Returns the workbook's folder; ends the command with status 2 where there is none."""
    from autograder.chapters import find_root

    try:
        return find_root()
    except FileNotFoundError as error:
        end(str(error), 2)


def json_fields(*kinds: type) -> str:
    """Says what a command prints with --json, from the docstrings of the classes that make it."""
    texts = ((kind.__name__, (inspect.getdoc(kind) or "").replace("\n\n", "\n")) for kind in kinds)
    # \b keeps click from filling the lines that follow.
    return "\n\n".join(f"\b\n{name}: {text}" for name, text in texts)
