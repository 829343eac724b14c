"""Decides from an executed notebook whether it ran: every code cell executed, completed, without error.

papermill alone is no gate: it takes `raise SystemExit` for a success with the later cells never run, marks a cell whose
kernel died as completed, and passes over a cell tagged `skip-execution`.
"""

import re
from typing import Any

from autograder.report import Failure

MAY_RAISE = "raises-exception"  # nbclient's tag: the cell shows an error on purpose


def code_cells(notebook: Any) -> list[Any]:
    """Returns the code cells that have something to execute."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def first_failure(source: Any, executed: Any) -> Failure | None:
    """Returns why `executed` is no complete run of `source`, by the first cell where it shows; None if it is one.

    Args:
        source: The nbformat notebook that was to be run.
        executed: What papermill made of it.
    """
    ran = {cell.id: cell for cell in code_cells(executed)}
    last_count = 0
    for number, wanted in enumerate(code_cells(source), 1):
        cell = ran.get(wanted.id)
        if cell is None or cell.source != wanted.source or cell.execution_count is None:
            return Failure("not executed", "the cell was not executed", number)
        if cell.execution_count <= last_count:
            return Failure("not executed", f"its execution count is {cell.execution_count} after {last_count}", number)
        last_count = cell.execution_count
        failure = _error(cell, number)
        if failure:
            return failure
    injected = [cell for cell in code_cells(executed) if "injected-parameters" in cell.metadata.get("tags", [])]
    if any(cell.execution_count is None or _error(cell, 0) for cell in injected):
        return Failure("error", "the values given with -p could not be set")
    return None


def _error(cell: Any, number: int) -> Failure | None:
    errors = [output for output in cell.outputs if output.output_type == "error"]
    if any(error.ename == "SystemExit" for error in errors):
        return Failure("exit", "the cell raised SystemExit; a chapter runs to its last cell", number)
    if MAY_RAISE in cell.metadata.get("tags", []):
        return None if errors else Failure("no error", f"the cell is tagged {MAY_RAISE} and raised nothing", number)
    if errors:
        message = plain(f"{errors[0].ename}: {errors[0].evalue}")
        return Failure("error", message, number, plain("\n".join(errors[0].traceback)))
    if cell.metadata.papermill.exception or cell.metadata.papermill.status != "completed":
        return Failure("error", "the cell raised an error that shows no output", number)
    return None


def plain(text: str) -> str:
    """Returns the text without terminal colours."""
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
