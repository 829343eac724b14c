"""The notebook that students get, in `exercises/`: grading builds on it, so it must be as it was released."""

import hashlib
import json
from typing import Any

from autograder.exercises import Exercise


class NotReleasedError(Exception):
    """An exercise has no release, or one in which somebody has worked. The message says what to do."""


def read_release(exercise: Exercise) -> Any:
    """Reads the notebook that students get.

    Raises:
        NotReleasedError: It is missing, cannot be read, or somebody has worked in it: an answer in it would be taken
            for what all students were given.
    """
    import nbformat

    path = exercise.released / f"{exercise.name}.ipynb"
    try:
        data = path.read_bytes()
        notebook = nbformat.reads(data.decode(), as_version=4)
    except FileNotFoundError as error:
        raise NotReleasedError(f"{exercise.name} is not released: run `autograder release {exercise.name}`") from error
    except Exception as error:  # nbformat raises what it likes
        raise NotReleasedError(f"{path} cannot be read ({error}): run `autograder release {exercise.name}`") from error
    if was_worked_in(data):
        raise NotReleasedError(
            f"{path} holds somebody's work, and submissions are restored from it: keep a copy of it elsewhere, then "
            f"overwrite it with `autograder release {exercise.name} --force`"
        )
    return notebook


def was_worked_in(data: bytes) -> bool:
    """Returns whether a notebook has other cells than when it was released; an unreadable one counts as work."""
    import nbformat

    try:
        notebook = nbformat.reads(data.decode(), as_version=4)
        return bool(digest(notebook) != notebook.metadata["workbook"]["released_sha256"])
    except Exception:  # noqa: BLE001 - nbformat raises what it likes
        return True


def digest(notebook: Any) -> str:
    """Returns the digest of a notebook's cells: their types and texts."""
    contents = [[cell.cell_type, cell.source] for cell in notebook.cells]
    return hashlib.sha256(json.dumps(contents).encode()).hexdigest()
