"""Opens nbgrader's gradebook, and registers exercises in it."""

import os
import sqlite3
import sysconfig
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from autograder.course.released import NotReleasedError, read_release
from autograder.exercises import Exercise

PATIENCE = 10  # seconds to wait for another program that writes


class GradebookError(Exception):
    """The gradebook cannot be used, or does not take something. The message says what to do.

    Attributes:
        for_all: Whether it takes nothing else either, as on a full disk.
    """

    def __init__(self, message: str, *, for_all: bool = False) -> None:
        super().__init__(message)
        self.for_all = for_all


@contextmanager
def open_gradebook(coursedir: Any) -> Iterator[Any]:
    """Opens a course's gradebook, making it where it does not exist; closes it at the end of the block.

    Args:
        coursedir: nbgrader's CourseDirectory.

    Raises:
        GradebookError: It is locked, read-only, damaged, or of another version of nbgrader.
    """
    import warnings

    from nbgrader.api import Gradebook
    from sqlalchemy.exc import DBAPIError, SAWarning

    _check_file(coursedir.db_url)
    # nbgrader calls `alembic` by name when it makes the file, and an environment need not be active to be used.
    before = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = os.pathsep.join((sysconfig.get_path("scripts"), before))
    try:
        with warnings.catch_warnings(), Gradebook(coursedir.db_url, coursedir.course_id) as gradebook:
            warnings.simplefilter("ignore", SAWarning)  # of nbgrader's own doing
            yield gradebook
    except DBAPIError as error:
        raise GradebookError(f"the gradebook {coursedir.db_url}: {error.orig}") from error
    finally:
        os.environ["PATH"] = before


def register(exercise: Exercise, coursedir: Any, gradebook: Any = None) -> None:
    """Makes sure that the gradebook knows an exercise's released cells and points, as autograding needs.

    Args:
        exercise: It must be released.
        coursedir: nbgrader's CourseDirectory.
        gradebook: The course's gradebook, where it is open.

    Raises:
        GradebookError: The exercise is not released, somebody has worked in its release, or it lost or gained cells
            after submissions of it were graded.
    """
    from nbgrader.preprocessors import SaveCells

    try:
        notebook = read_release(exercise)
    except NotReleasedError as error:
        raise GradebookError(str(error)) from error
    with nullcontext(gradebook) if gradebook else open_gradebook(coursedir) as opened:
        if _registered(opened, exercise.name) == _cells(notebook):
            return
        opened.update_or_create_assignment(exercise.name)
    resources = {"notebook": exercise.name, "assignment": exercise.name, "db_url": coursedir.db_url}
    try:
        SaveCells().preprocess(notebook, {"nbgrader": resources})
    except RuntimeError as error:
        raise GradebookError(
            f"{exercise.name} has other cells than when its submissions in {coursedir.db_url} were graded: release it "
            "with the cells that it had, or begin a new gradebook (move the file away) and grade all submissions again"
        ) from error


def _cells(notebook: Any) -> dict[str, Any]:
    cells = {}
    for cell in notebook.cells:
        settings = cell.metadata.get("nbgrader")
        if settings:
            points = float(settings.points) if settings.get("grade") or settings.get("task") else None
            cells[settings.grade_id] = [settings.get("checksum"), points]
    return cells


def _registered(gradebook: Any, name: str) -> dict[str, Any]:
    from nbgrader.api import MissingEntry

    try:
        notebook = gradebook.find_notebook(name, name)
    except MissingEntry:
        return {}
    points = {cell.name: cell.max_score for cell in (*notebook.grade_cells, *notebook.task_cells)}
    return {cell.name: [cell.checksum, points.get(cell.name)] for cell in notebook.source_cells}


def _check_file(url: str) -> None:
    """Tries to write, so that what stands in the way shows before anything is graded, and in plain words."""
    if not url.startswith("sqlite:///"):
        return
    path = Path(url.removeprefix("sqlite:///"))
    if not path.exists():
        if not os.access(path.parent, os.W_OK):
            raise GradebookError(f"{path} cannot be made: its folder is missing or read-only")
        return
    try:
        with closing(sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            damage = database.execute("PRAGMA quick_check").fetchone()[0]
            database.execute("ROLLBACK")
    except sqlite3.DatabaseError as error:
        raise GradebookError(f"{path}: {error}: {_advice(error)}") from error
    if damage != "ok":
        raise GradebookError(f"{path} is damaged ({damage}): {_RESTORE}")


_RESTORE = "restore it from a backup, or move it away and grade all submissions again"


def _advice(error: sqlite3.DatabaseError) -> str:
    if "locked" in str(error):
        return f"another program has been writing to it for {PATIENCE} s; end it, or wait, and try again"
    if "readonly" in str(error) or "unable to open" in str(error):
        return "make the file and its folder writable"
    return _RESTORE
