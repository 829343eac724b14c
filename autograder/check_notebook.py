"""Runs a student's copy of an exercise on their own machine, in an ordinary kernel, and says which checks hold."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

from autograder.engine import Execution, KernelExitError, execute_notebook
from autograder.exercises import is_judged, load_acceptance
from autograder.gate import plain
from autograder.judge import State, Verdict
from autograder.notebooks import NotebookError, read_notebook

CELL_TIMEOUT = 300  # seconds


@dataclass(frozen=True)
class CheckReport:
    """What a student's own checks say. It is no grade: that comes from the judge, with other inputs.

    Attributes:
        notebook: its path.
        passed: no check failed.
        points: what the checks that hold are worth.
        max_points: what all of them are worth.
        seconds: wall time.
        verdicts: one a criterion.
    """

    notebook: str
    passed: bool
    points: float
    max_points: float
    seconds: float
    verdicts: list[Verdict]

    def to_json(self) -> str:
        """Returns the report as one JSON object."""
        return json.dumps(asdict(self), indent=2)


def check_notebook(path: Path, on_cell: Callable[[str], None]) -> CheckReport:
    """Executes a notebook in a kernel, in its own folder, and reads its check cells.

    Args:
        path: The notebook; the exercise's `acceptance.py` lies beside it. It is not changed.
        on_cell: Called with the first line of each code cell before it executes.

    Raises:
        autograder.notebooks.NotebookError: It cannot be read.
        autograder.exercises.ExerciseError: There is no `acceptance.py` beside it.
    """
    began = time.monotonic()
    criteria = load_acceptance(path.parent / "acceptance.py").criteria
    points = _points(read_notebook(path))
    execution = Execution(
        path.parent,
        CELL_TIMEOUT,
        on_cell=lambda cell: on_cell(str(cell.source).strip().splitlines()[0]) if cell.source.strip() else None,
        past_errors=True,
    )
    ended = _execute(path, execution)
    cells = (
        {_criterion(cell): cell for cell in execution.notebook.cells if is_judged(cell)} if execution.notebook else {}
    )
    verdicts = [_verdict(criterion, points.get(criterion, 0.0), cells.get(criterion), ended) for criterion in criteria]
    return CheckReport(
        notebook=str(path),
        passed=not any(verdict.state == "failed" for verdict in verdicts),
        points=sum(verdict.points for verdict in verdicts),
        max_points=sum(verdict.max_points for verdict in verdicts),
        seconds=round(time.monotonic() - began, 3),
        verdicts=verdicts,
    )


def _points(notebook: Any) -> dict[str, float]:
    try:
        return {
            _criterion(cell): float(cell.metadata["nbgrader"]["points"]) for cell in notebook.cells if is_judged(cell)
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotebookError("its check cells were changed: copy them from a new copy of the exercise") from error


def _criterion(cell: Any) -> str:
    return str(cell.metadata["nbgrader"]["grade_id"])


def _execute(path: Path, execution: Execution) -> str:
    """Executes the notebook; returns what ended it early, empty for nothing."""
    try:
        execute_notebook(path, execution)
    except PapermillExecutionError:
        return ""  # a cell has raised; it is in its outputs
    except CellTimeoutError:
        return f"a cell did not end in {CELL_TIMEOUT} s"
    except KernelExitError:
        return "a cell asked the kernel to exit"
    except DeadKernelError:
        return "the kernel died"
    return ""


def _verdict(criterion: str, points: float, cell: Any, ended: str) -> Verdict:
    def verdict(state: State, message: str) -> Verdict:
        earned = points if state == "passed" else 0.0
        return Verdict(criterion, state, float(state == "passed"), earned, points, message=message)

    if cell is None:
        return verdict("failed", "its check cell is missing: copy it from a new copy of the exercise")
    for output in cell.outputs:
        if output.output_type == "error":
            return verdict("failed", plain(f"{output.ename}: {output.evalue}"))
        if output.output_type == "stream" and output.text.startswith("– "):
            return verdict("not run", output.text.strip())
    if cell.execution_count is None:
        return verdict("failed", f"its check was not run: {ended or 'the cell is empty'}")
    return verdict("passed", "")
