"""A papermill engine that executes a notebook in a box and goes on after errors, timeouts and the box's death."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from papermill.engines import Engine, papermill_engines

from autograder.outputs import NotebookOutputs
from workbook.sandbox.isolation.box import Box
from workbook.sandbox.isolation.cells import DIED, MALFORMED, TIMED_OUT, CellEnd, execute

ENGINE = "sandbox"


@dataclass(frozen=True)
class CellRun:
    """How a code cell ran.

    Attributes:
        index: Of the cell among all cells of the notebook.
        error: The name of what it raised, or one of `isolation.cells`; None if it came to its end.
        seconds: How long it took.
        reason: Of one of `isolation.cells`; else empty.
    """

    index: int
    error: str | None
    seconds: float
    reason: str = ""


@dataclass
class Execution:
    """One execution of a notebook in a box: what it may do, and what came of it.

    Attributes:
        box: Where its cells run; a shell waits there (see `autograder.worker`).
        skip: Tells of a code cell whether it is passed over.
        cell_timeout: Limit of a cell, in seconds.
        timeout: Limit of all cells together, in seconds; then the box is closed.
        cells: The code cells that were executed, in order.
        died: Why the box is dead, and since which cell; None while it lives.
    """

    box: Box
    skip: Callable[[Any], bool]
    cell_timeout: float
    timeout: float
    cells: list[CellRun] = field(default_factory=list)
    died: str | None = None


class SandboxEngine(Engine):  # type: ignore[misc]
    """Executes a notebook in a box; takes an `Execution` as its engine argument `execution`."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, *, execution: Execution, **_: Any) -> None:  # noqa: ARG003
        """Executes the notebook's cells. Nothing that they do is raised: it is in their outputs.

        Args:
            nb_man: papermill's NotebookExecutionManager.
            kernel_name: Is of no account.
            execution: What it may do, and where its progress is noted.
        """
        outputs = NotebookOutputs(nb_man.nb)
        for index, cell in enumerate(nb_man.nb.cells):
            is_code = cell.cell_type == "code" and bool(cell.source.strip())
            if is_code and execution.skip(cell):
                continue
            nb_man.cell_start(cell, index)
            if is_code and not _execute(execution, outputs, cell, index):
                nb_man.cell_exception(cell, index)
            nb_man.cell_complete(cell, index)


papermill_engines.register(ENGINE, SandboxEngine)


def execute_notebook(notebook: Any, execution: Execution) -> None:
    """Executes a notebook, with the outputs and papermill's notes written into it."""
    notebook.metadata["papermill"] = {}
    papermill_engines.execute_notebook_with_engine(
        ENGINE, notebook, kernel_name=None, progress_bar=False, execution=execution
    )


def _execute(execution: Execution, outputs: NotebookOutputs, cell: Any, index: int) -> bool:
    """Executes a code cell; returns whether it came to its end."""
    cell_outputs = outputs.cell(index)
    if execution.died:
        cell_outputs.error(DIED, f"not executed: the process had ended before ({execution.died})")
        return False
    left = execution.timeout - sum(run.seconds for run in execution.cells)
    if left <= 0:
        execution.box.close()
        execution.died = f"the cells took longer than {execution.timeout:g} s together, up to cell {index}"
        cell_outputs.error(DIED, f"not executed: {execution.died}")
        return False
    began = time.monotonic()
    end = execute(execution.box, cell.source, min(execution.cell_timeout, left), cell_outputs.add)
    cell_outputs.flush()
    if end.error is None and cell_outputs.problem:
        end = CellEnd(MALFORMED, end.execution_count, cell_outputs.problem)
    cell.execution_count = end.execution_count
    if end.error in (TIMED_OUT, DIED, MALFORMED):
        cell_outputs.error(end.error, end.reason)
    if not execution.box.alive:
        execution.died = f"{end.reason or 'it has ended'}, in cell {index + 1}"
    execution.cells.append(CellRun(index, end.error, round(time.monotonic() - began, 3), end.reason))
    return end.error is None
