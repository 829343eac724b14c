"""Makes the students' copies, `exercises/`, from `solutions/`, and registers them in the gradebook."""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nbgrader.preprocessors import NbGraderPreprocessor

from autograder.course.config import course_directory, load_config
from autograder.course.gradebook import register
from autograder.course.nbgrader_log import Reason
from autograder.course.release_report import Release, ReleaseReport
from autograder.course.released import digest, was_worked_in
from autograder.exercises import NAME, Exercise, ExerciseError, find_exercises
from autograder.files import write_atomically
from autograder.notebooks import NotebookError, drift

_GRADE_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_LEFT_BY_TOOLS = {".ipynb_checkpoints", "__pycache__", ".ruff_cache", ".mypy_cache"}


class ReleaseError(Exception):
    """An exercise cannot be released, or its release would overwrite somebody's work. The message says what to do."""


class CheckRoom(NbGraderPreprocessor):  # type: ignore[misc]
    """Stops nbgrader from releasing what is not named as an exercise is."""

    def preprocess(self, nb: Any, resources: Any) -> Any:
        """Checks the names of the exercise and its notebook: by them the reference is kept back.

        Raises:
            ReleaseError: One of them is wrong.
        """
        name, notebook = resources["nbgrader"]["assignment"], resources["nbgrader"]["notebook"]
        if not NAME.fullmatch(name):
            raise ReleaseError(f"{name} is not named as an exercise: chNN_exM_topic")
        if notebook != name:
            raise ReleaseError(f"{notebook}.ipynb: the only notebook of {name} is {name}.ipynb; move it elsewhere")
        return nb, resources


class MarkRelease(NbGraderPreprocessor):  # type: ignore[misc]
    """Leaves in a released notebook's metadata what a reader needs, and the digest of its contents as released."""

    def preprocess(self, nb: Any, resources: Any) -> Any:
        """Replaces the metadata."""
        nb.metadata.pop("jupytext", None)
        nb.metadata["workbook"] = {"released_sha256": digest(nb)}
        return nb, resources


def released_files(exercise: Exercise) -> dict[str, bytes]:
    """Returns what is released of an exercise: contents by path in the student's copy. Writes nothing.

    Raises:
        ReleaseError: nbgrader refuses, or the notebook's graded cells are not the criteria.
    """
    from nbgrader.converters import GenerateAssignment
    from nbgrader.coursedir import CourseDirectory

    try:
        points = exercise.points
    except (ExerciseError, NotebookError) as error:
        raise ReleaseError(str(error)) from error
    for identity in points:
        if not _GRADE_ID.fullmatch(identity):
            raise ReleaseError(f"the grade_id '{identity}' should be words of small letters with dashes: 'adds-up'")

    with tempfile.TemporaryDirectory() as temporary, Reason() as reason:
        config = load_config(exercise.root)
        config.CourseDirectory.release_directory = temporary
        config.CourseDirectory.assignment_id = exercise.name
        config.SaveCells.enabled = False
        config.GenerateAssignment.no_database = True
        coursedir = CourseDirectory(config=config)
        try:
            GenerateAssignment(coursedir=coursedir, config=config).start()
        except Exception as error:
            raise ReleaseError(f"{exercise.name} cannot be released: {reason.of(error)}") from error
        folder = Path(temporary) / exercise.name
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in _files(folder)}


def release(exercise: Exercise, *, check: bool = False, force: bool = False) -> Release:
    """Releases an exercise: files that are equal are left alone, a student's work is not overwritten.

    Args:
        exercise: The exercise.
        check: Write nothing, only say what differs.
        force: Overwrite a notebook in `exercises/` even where somebody has worked in it.

    Raises:
        OSError: A file cannot be read or written.
        GradebookError: The gradebook cannot be used, or does not take the exercise's cells.
    """
    try:
        difference = drift(exercise.source)
        if difference:
            raise ReleaseError(difference)
        wanted = released_files(exercise)
    except (NotebookError, ReleaseError) as error:
        return Release(exercise.name, problems=[str(error)])

    folder, place = exercise.released, exercise.released.relative_to(exercise.root).as_posix()
    there = {path.relative_to(folder).as_posix(): path.read_bytes() for path in _files(folder)}
    changed = [file for file, data in wanted.items() if there.get(file) != data]
    problems = [f"{place}/{file} is not part of the release: delete it" for file in there if file not in wanted]
    notebook = f"{exercise.name}.ipynb"
    if notebook in changed and notebook in there and not (check or force) and was_worked_in(there[notebook]):
        problems.append(
            f"{place}/{notebook} holds somebody's work: keep a copy of it elsewhere, then overwrite it with "
            "`autograder release --force`"
        )
    if not (check or problems):
        for file in changed:
            write_atomically(folder / file, wanted[file])
        register(exercise, course_directory(exercise.root))
    return Release(exercise.name, [f"{place}/{file}" for file in changed], problems)


def release_all(
    exercises: Sequence[Exercise], *, strangers: bool, check: bool = False, force: bool = False
) -> ReleaseReport:
    """Releases exercises; see `release`.

    Args:
        exercises: Of one course.
        strangers: Report folders in `exercises/` that are no exercise, too.
        check: Write nothing, only say what differs.
        force: Overwrite notebooks in `exercises/` even where somebody has worked in them.

    Raises:
        OSError: A file cannot be read or written.
        GradebookError: The gradebook cannot be used, or does not take an exercise's cells.
    """
    entries = [release(exercise, check=check, force=force) for exercise in exercises]
    if strangers:
        entries += _strangers(exercises[0].root)
    failed = any(entry.problems or (check and entry.changed) for entry in entries)
    return ReleaseReport(not failed, entries)


def _strangers(root: Path) -> list[Release]:
    names = {exercise.name for exercise in find_exercises(root)}
    folders = sorted(path.name for path in (root / "exercises").glob("[!._]*") if path.is_dir())
    return [
        Release(name, problems=[f"exercises/{name} has no solutions/{name}: delete it"])
        for name in folders
        if name not in names
    ]


def _files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not _LEFT_BY_TOOLS & set(path.relative_to(folder).parts)
    )
