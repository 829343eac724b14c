"""An exercise: a folder in `solutions/` with its notebook, its criteria, and answers that must pass or fail."""

import ast
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from autograder.acceptance import Criterion
from autograder.names import UnknownNameError, pick

NAME = re.compile(r"ch\d\d_ex\d+_\w+")

NEEDS = ("device", "model")

Language = Literal["triton", "cuda"]
"""What kernels that are lifted are written in."""


class ExerciseError(Exception):
    """An exercise is not as an exercise must be: its author's mistake, never a student's."""


@dataclass(frozen=True)
class Acceptance:
    """What an `acceptance.py` says.

    Attributes:
        criteria: By id, in the order of the file.
        hides: Modules of `workbook` that would be the answer (`HIDES`); a worker has none of them.
        preload: Modules that are imported before a worker is forked (`PRELOAD`), since the exercise uses them.
        needs: What there is only one of (`NEEDS`): "device" where its criteria measure on the machine's device, so that
            one submission at a time is graded there; "model" where they ask the language model.
        source: The text that was executed.
    """

    criteria: dict[str, Criterion]
    hides: tuple[str, ...]
    preload: tuple[str, ...]
    needs: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True)
class Exercise:
    """An exercise of a course.

    Attributes:
        folder: `solutions/chNN_exM_name/` of the course.
    """

    folder: Path

    @property
    def name(self) -> str:
        """Returns `chNN_exM_name`."""
        return self.folder.name

    @property
    def root(self) -> Path:
        """Returns the course's folder."""
        return self.folder.parents[1]

    @property
    def source(self) -> Path:
        """Returns the notebook with the reference solution, in percent format."""
        return self.folder / f"{self.name}.py"

    @property
    def notebook(self) -> Path:
        """Returns the notebook made from the source."""
        return self.folder / f"{self.name}.ipynb"

    @property
    def released(self) -> Path:
        """Returns the folder that students get."""
        return self.root / "exercises" / self.name

    @cached_property
    def acceptance(self) -> Acceptance:
        """Returns the criteria.

        Raises:
            ExerciseError: `acceptance.py` is missing, does not run, or has no criteria.
        """
        return load_acceptance(self.folder / "acceptance.py")

    @cached_property
    def shape(self) -> Literal["object", "tensor", "kernel"]:
        """Returns what its answers are: kernels that are lifted, functions of tensors, or objects."""
        if self.languages:
            return "kernel"
        return "tensor" if any(one.numeric for one in self.acceptance.criteria.values()) else "object"

    @cached_property
    def languages(self) -> frozenset[Language]:
        """Returns what the kernels in its answers are written in; nothing where there are none."""
        from autograder.notebooks import read_notebook

        answers = filter(is_answer, read_notebook(self.notebook).cells)
        return frozenset[Language]().union(*(languages_of(cell.source) for cell in answers))

    @cached_property
    def points(self) -> dict[str, float]:
        """Returns what each criterion is worth, in the notebook's order: the points of the graded cell of that id.

        Raises:
            ExerciseError: The notebook's graded cells and the criteria are not the same.
            autograder.notebooks.NotebookError: The notebook cannot be read.
        """
        from autograder.notebooks import read_notebook

        cells = [cell for cell in read_notebook(self.notebook).cells if is_judged(cell)]
        points = points_of(cells)
        cells_only, criteria_only = (
            points.keys() - self.acceptance.criteria.keys(),
            self.acceptance.criteria.keys() - points.keys(),
        )
        if cells_only:
            raise ExerciseError(f"{self.name}: graded cells without a criterion: {', '.join(sorted(cells_only))}")
        if criteria_only:
            raise ExerciseError(f"{self.name}: criteria without a graded cell: {', '.join(sorted(criteria_only))}")
        if len(points) < len(cells):
            raise ExerciseError(f"{self.name}: a criterion has several graded cells")
        return points


def points_of(cells: Iterable[Any]) -> dict[str, float]:
    """Returns what judged cells are worth, by their ids; passes over all others."""
    settings = (cell.metadata["nbgrader"] for cell in cells if is_judged(cell))
    return {one["grade_id"]: float(one["points"]) for one in settings}


def is_judged(cell: Any) -> bool:
    """Returns whether the judge decides on a cell: a graded code cell in which students write nothing."""
    about = cell["metadata"].get("nbgrader", {})
    return cell["cell_type"] == "code" and bool(about.get("grade")) and not about.get("solution")


def is_answer(cell: Any) -> bool:
    """Returns whether students write their answer into a cell: a code cell that is marked so."""
    return cell["cell_type"] == "code" and bool(cell["metadata"].get("nbgrader", {}).get("solution"))


def languages_of(cell: str) -> frozenset[Language]:
    """Returns what the kernels in a cell are written in: `@triton.jit` functions, and texts in CUDA C."""
    from autograder.syntax import parse

    found: set[Language] = {"triton"} if "@triton.jit" in cell else set()
    if "__global__" in cell and any(map(_is_cuda, ast.walk(parse(cell)))):
        found.add("cuda")
    return frozenset(found)


def _is_cuda(node: ast.AST) -> bool:
    match node:
        case ast.Assign(value=ast.Constant(value=str(text))) | ast.AnnAssign(value=ast.Constant(value=str(text))):
            return "__global__" in text
    return False


def load_acceptance(path: Path) -> Acceptance:
    """Runs an `acceptance.py`.

    Raises:
        ExerciseError: It is missing, does not run, or has no criteria.
    """
    if not path.is_file():
        raise ExerciseError(f"{path} is missing: it holds the exercise's criteria")
    name = f"acceptance_of_{path.parent.name}"
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses in it look their module up
    try:
        source = path.read_text(encoding="utf-8")  # once: what is executed is what its digest is of
        exec(compile(source, str(path), "exec"), vars(module))  # noqa: S102 - our own
    except Exception as error:
        del sys.modules[name]
        raise ExerciseError(f"{path} does not run: {type(error).__name__}: {error}") from error
    return _acceptance(module, path, source)


def _acceptance(module: ModuleType, path: Path, source: str) -> Acceptance:
    found = [value for value in vars(module).values() if isinstance(value, Criterion)]
    criteria = {criterion.id: criterion for criterion in found}
    if not criteria:
        raise ExerciseError(f"{path} has no criteria: functions with @criterion")
    needs = _names(module, "NEEDS", path)
    if unknown := set(needs) - set(NEEDS):
        raise ExerciseError(f"{path}: NEEDS knows {' and '.join(NEEDS)}, not {', '.join(sorted(unknown))}")
    return Acceptance(criteria, _names(module, "HIDES", path), _names(module, "PRELOAD", path), needs, source)


def _names(module: ModuleType, constant: str, path: Path) -> tuple[str, ...]:
    names = getattr(module, constant, ())
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        raise ExerciseError(f"{path}: {constant} must be a tuple of names")
    return names


def find_exercises(root: Path) -> list[Exercise]:
    """Returns a course's exercises, by name."""
    folders = sorted(path for path in (root / "solutions").glob("*") if path.is_dir())
    return [Exercise(folder) for folder in folders if NAME.fullmatch(folder.name)]


def select_exercises(names: Sequence[str], root: Path) -> list[Exercise]:
    """Returns the exercises that are meant, each once, in the order given; all where none is named.

    Args:
        names: An exercise's name, or a prefix that fits one only (`ch01_ex1`).
        root: The course's folder.

    Raises:
        UnknownNameError: A name fits no exercise or several; the message lists them.
    """
    exercises = find_exercises(root)
    if not names:
        if not exercises:
            raise UnknownNameError(f"no exercises in {root / 'solutions'}")
        return exercises
    by_name = {exercise.name: exercise for exercise in exercises}
    return list(dict.fromkeys(by_name[pick(name, list(by_name), "exercise")] for name in names))
