"""Executes chapters with papermill, as a gate: what does not run from its first cell to its last fails."""

import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

from autograder.engine import Execution, KernelExitError, execute_notebook
from autograder.files import write_atomically
from autograder.gate import code_cells, first_failure, plain
from autograder.interruption import Interruption
from autograder.notebooks import NotebookError, drift, read_notebook
from autograder.parameters import ParameterError, Value, declared_parameters, parse_parameters
from autograder.progress import RunProgress
from autograder.report import CellRun, ChapterRun, Failure, RunReport

CELL_TIMEOUT = 300  # seconds
_MARKER_TAG = "papermill-error-cell-tag"  # cells that papermill adds where it thinks that the notebook failed


def run_chapters(
    chapters: Sequence[Path],
    *,
    assignments: Sequence[str],
    timeout: int,
    copies: Path,
    progress: RunProgress,
    interruption: Interruption,
) -> RunReport:
    """Runs chapters one after the other, each in a kernel of its own, in its own folder as JupyterLab does.

    Args:
        chapters: Their `.py` paths; what is executed is the `.ipynb` beside, which must have the same contents.
        assignments: `NAME=VALUE` texts for the parameters of each of them.
        timeout: Limit of a cell, in seconds.
        copies: Folder for the executed copies with their outputs, also of failed runs.
        progress: Told how far it is.
        interruption: Ends the run early.

    Raises:
        ParameterError: A chapter does not have such a parameter, or the value is of the wrong type. Nothing has run.
        OSError: A copy cannot be written.
    """
    parameters = [_parameters(source, assignments) for source in chapters]
    began = time.monotonic()
    runs = []
    for source, values in zip(chapters, parameters, strict=True):
        if interruption.signal is not None:
            break
        runs.append(_run_chapter(source, values, timeout, copies / f"{source.stem}.ipynb", progress, interruption))
    return RunReport(
        passed=len(runs) == len(chapters) and all(run.passed for run in runs),
        interrupted=interruption.signal is not None,
        seconds=round(time.monotonic() - began, 3),
        timeout=timeout,
        parameters={name: value for values in parameters for name, value in values.items()},
        chapters=runs,
    )


def _parameters(source: Path, assignments: Sequence[str]) -> dict[str, Value]:
    if not assignments:
        return {}
    try:
        notebook = read_notebook(source.with_suffix(".ipynb"))
    except NotebookError:
        return {}  # fails when its turn comes
    try:
        return parse_parameters(assignments, declared_parameters(notebook))
    except ParameterError as error:
        raise ParameterError(f"{source.stem}: {error}") from error


def _run_chapter(
    source: Path,
    parameters: dict[str, Value],
    timeout: int,
    copy: Path,
    progress: RunProgress,
    interruption: Interruption,
) -> ChapterRun:
    path = source.with_suffix(".ipynb")
    try:
        difference = drift(source)
    except NotebookError as error:
        difference = str(error)
    if difference:
        return ChapterRun(source.stem, False, Failure("notebook", difference))

    notebook = read_notebook(path)
    numbers = {cell.id: number for number, cell in enumerate(code_cells(notebook), 1)}

    def starts(cell: Any) -> None:
        interruption.check()
        if cell.id in numbers:
            progress.cell(numbers[cell.id], _first_line(cell))

    execution = Execution(source.parent, timeout, on_cell=starts)
    interruption.execution = execution
    progress.begin(source.stem, len(numbers))
    began = time.monotonic()
    ended_by = _execute(path, parameters, execution)
    seconds = time.monotonic() - began
    interruption.execution = None

    executed = execution.notebook
    failure = _failure(ended_by, execution, numbers, interruption) or first_failure(notebook, executed)
    if executed is not None:
        executed.cells = [cell for cell in executed.cells if _MARKER_TAG not in cell.metadata.get("tags", [])]
        write_atomically(copy, nbformat.writes(executed) + "\n")
    progress.end(failure is None)
    return ChapterRun(
        chapter=source.stem,
        passed=failure is None,
        failure=failure,
        seconds=round(seconds, 3),
        code_cells=len(numbers),
        cells=[] if executed is None else _cell_runs(executed, numbers, failure),
        executed_copy=None if executed is None else str(copy),
        left_behind=execution.left_behind,
    )


def _execute(path: Path, parameters: dict[str, Value], execution: Execution) -> Exception | None:
    try:
        execute_notebook(path, execution, parameters)
    except PapermillExecutionError:
        return None  # papermill's opinion of the outputs; the gate has its own
    except Exception as error:  # noqa: BLE001 - whatever ends the execution early, the chapter has failed
        return error
    return None


def _failure(
    ended_by: Exception | None, execution: Execution, numbers: dict[str, int], interruption: Interruption
) -> Failure | None:
    """Says what ended the execution early; None if it came to its end, or to a cell's error."""
    cell = numbers.get(execution.current.id) if execution.current else None
    log = plain("\n".join(execution.log.splitlines()[-20:]))
    if interruption.signal is not None:
        return Failure("interrupted", "the run was interrupted", cell)
    match ended_by:
        case None:
            return None
        case KernelExitError():
            return Failure("exit", "the cell asked its kernel to exit; a chapter runs to its last cell", cell)
        case CellTimeoutError():
            limit = f"{execution.timeout} s, the limit of a cell (--timeout)"
            return Failure("timeout", f"the cell did not complete in {limit}", cell, log)
        case DeadKernelError():
            return Failure("kernel", f"the kernel died ({_how(execution.exit_status)})", cell, log)
        case _:
            return Failure("kernel", f"{type(ended_by).__name__}: {ended_by}", cell, log)


def _how(exit_status: int | None) -> str:
    if exit_status is None:
        return "exit status unknown"
    if exit_status >= 0:
        return f"exit status {exit_status}"
    name = signal.Signals(-exit_status).name
    return f"{name}; out of memory?" if name == "SIGKILL" else name


def _cell_runs(executed: Any, numbers: dict[str, int], failure: Failure | None) -> list[CellRun]:
    return [
        CellRun(
            cell=numbers[cell.id],
            first_line=_first_line(cell),
            seconds=round(cell.metadata.papermill.duration, 3),
            completed=failure is None or failure.cell != numbers[cell.id],
        )
        for cell in code_cells(executed)
        if cell.id in numbers and cell.metadata.papermill.get("duration") is not None
    ]


def _first_line(cell: Any) -> str:
    return str(cell.source.strip().splitlines()[0])
