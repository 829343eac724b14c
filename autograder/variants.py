"""The answers that prove a grader: the reference, the empty release, the wrong ones and the right ones.

A file in `wrong/` or `right/` is in percent format. Each of its cells carries the `grade_id` of the solution cell that
it replaces; the rest comes from the reference. Comments at its top say what it is:

    # mistake: the value of the last expression is dropped
    # killed_by: values-come-back
    # dies_of: timeout

`killed_by` names the criterion that must fail; the ones before it pass. `dies_of` stands only where the mistake is that
the work raises a NameError or a SyntaxError, gives no answer in time (`timeout`), or ends its process (`death`). A file
in `right/` has `# differs: …` alone.

Decoys are in no folder: of each criterion that compares tensors, the reference's function is put behind one that gives
zeros, NaN and the like in place of its results (see `autograder.decoys`).
"""

import copy
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from autograder.decoys import decoys
from autograder.exercises import Exercise, ExerciseError
from autograder.notebooks import NotebookError, read_notebook, read_source

Kind = Literal["reference", "empty", "wrong", "right", "decoy"]

DEATHS = ("NameError", "SyntaxError", "timeout", "death")


@dataclass(frozen=True)
class Variant:
    """An answer to an exercise, and what the grader must say of it.

    Attributes:
        name: "reference", "empty", the file: "wrong/exec_in_process", or "decoy/<criterion>/zeros".
        kind: which of the five.
        about: what the mistake is, or what is different.
        killed_by: of a wrong answer and of a decoy, the criterion that must fail.
        dies_of: what it may die of; empty for nothing.
        notebook: the answer.
    """

    name: str
    kind: Kind
    about: str
    killed_by: str
    dies_of: str
    notebook: Any

    def judged_by(self, exercise: Exercise) -> list[str]:
        """Returns the criteria that decide on it."""
        criteria = list(exercise.acceptance.criteria)
        if self.kind == "decoy":
            return [self.killed_by]
        return criteria[: criteria.index(self.killed_by) + 1] if self.killed_by else criteria


def variants(exercise: Exercise) -> list[Variant]:
    """Returns all answers of an exercise: the reference, the empty release, the wrong ones, the right ones, decoys.

    Raises:
        ExerciseError: One is missing or not as it must be.
    """
    reference = _read(exercise.notebook)
    empty = _read(exercise.released / f"{exercise.name}.ipynb")
    wrong = [_variant(path, "wrong", exercise, reference) for path in sorted(exercise.folder.glob("wrong/*.py"))]
    right = [_variant(path, "right", exercise, reference) for path in sorted(exercise.folder.glob("right/*.py"))]
    if not wrong or not right:
        raise ExerciseError(f"{exercise.name} needs answers in wrong/ and in right/: they prove its criteria")
    return [
        Variant("reference", "reference", "the reference solution", "", "", reference),
        Variant("empty", "empty", "the release, untouched", "", "", empty),
        *wrong,
        *right,
        *_decoys(exercise, reference),
    ]


def unguarded(exercise: Exercise, answers: list[Variant]) -> list[str]:
    """Returns the criteria that no wrong answer is killed by: nothing shows that they can fail."""
    killers = {answer.killed_by for answer in answers if answer.kind == "wrong"}
    return [criterion for criterion in exercise.acceptance.criteria if criterion not in killers]


def _decoys(exercise: Exercise, reference: Any) -> list[Variant]:
    return [
        Variant(f"decoy/{criterion.id}/{name}", "decoy", about, criterion.id, "", with_cell(reference, code))
        for criterion in exercise.acceptance.criteria.values()
        if criterion.numeric
        for name, about, code in decoys(criterion.numeric)
    ]


def with_cell(notebook: Any, source: str) -> Any:
    """Returns a copy of a notebook with one more cell, a student's own, at its end."""
    from nbformat.v4 import new_code_cell

    notebook = copy.deepcopy(notebook)
    notebook.cells.append(new_code_cell(source))
    return notebook


def _read(path: Path) -> Any:
    try:
        return read_notebook(path)
    except NotebookError as error:
        raise ExerciseError(str(error)) from error


def _variant(path: Path, kind: Literal["wrong", "right"], exercise: Exercise, reference: Any) -> Variant:
    name = f"{exercise.name}/{kind}/{path.stem}"
    text = path.read_text(encoding="utf-8")
    header = dict(re.findall(r"^# (\w+): (.+)$", text.split("\n# %%")[0], flags=re.MULTILINE))
    wanted = {"mistake", "killed_by"} if kind == "wrong" else {"differs"}
    if not wanted <= header.keys():
        raise ExerciseError(f"{name} must say at its top: {', '.join(f'# {key}: …' for key in sorted(wanted))}")
    killed_by, dies_of = header.get("killed_by", ""), header.get("dies_of", "")
    if killed_by and killed_by not in exercise.acceptance.criteria:
        raise ExerciseError(f"{name} is killed_by {killed_by}, and there is no such criterion")
    if dies_of and dies_of not in DEATHS:
        raise ExerciseError(f"{name} dies_of {dies_of}: it may be one of {', '.join(DEATHS)}")
    about = header.get("mistake") or header["differs"]
    return Variant(f"{kind}/{path.stem}", kind, about, killed_by, dies_of, _replaced(path, name, reference))


def _replaced(path: Path, name: str, reference: Any) -> Any:
    cells = [cell for cell in read_source(path).cells if "nbgrader" in cell.metadata]
    new = {cell.metadata["nbgrader"]["grade_id"]: cell.source for cell in cells}
    notebook = copy.deepcopy(reference)
    for cell in notebook.cells:
        about = cell.metadata.get("nbgrader", {})
        if about.get("solution") and about["grade_id"] in new:
            cell.source = new.pop(about["grade_id"])
    if not cells:
        raise ExerciseError(f"{name} replaces no cell: each of its cells needs the grade_id of a solution cell")
    if new:
        raise ExerciseError(f"{name} replaces {', '.join(new)}: the reference has no such solution cell")
    return notebook
