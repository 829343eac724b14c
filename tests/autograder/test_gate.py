"""The gate on notebooks made by hand: what a kernel would hardly do, and each check on its own."""

from copy import deepcopy
from typing import Any

import nbformat
import pytest

from autograder.gate import first_failure

ERROR = {
    "output_type": "error",
    "ename": "ValueError",
    "evalue": "bad",
    "traceback": ["\x1b[31mTraceback\x1b[0m", "bad"],
}


def notebook() -> Any:
    """Three code cells, a text, and an empty code cell, as they are before execution."""
    cells = [nbformat.v4.new_code_cell(f"x = {number}", id=f"cell{number}") for number in (1, 2, 3)]
    cells.insert(1, nbformat.v4.new_markdown_cell("text", id="text"))
    return nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell(" \n", id="empty")])


def executed(source: Any) -> Any:
    """What papermill makes of it when all is well."""
    done = deepcopy(source)
    for count, cell in enumerate((cell for cell in done.cells if cell.source.startswith("x")), 1):
        cell.execution_count = count
        cell.metadata.papermill = {"status": "completed", "exception": False}
    return nbformat.from_dict(done)


def injected(**changes: Any) -> Any:
    cell = nbformat.v4.new_code_cell("SEED = 1", id="injected", metadata={"tags": ["injected-parameters"]})
    cell.metadata.papermill = {"status": "completed", "exception": False}
    cell.execution_count = 9
    cell.update(changes)
    return nbformat.from_dict(cell)


def test_complete_run_passes() -> None:
    source = notebook()
    assert first_failure(source, executed(source)) is None


def test_removed_cell() -> None:
    source = notebook()
    done = executed(source)
    del done.cells[2]
    failure = first_failure(source, done)
    assert failure is not None
    assert (failure.kind, failure.cell) == ("not executed", 2)


def test_changed_cell() -> None:
    source = notebook()
    done = executed(source)
    done.cells[2].source = "pass"
    failure = first_failure(source, done)
    assert failure is not None
    assert (failure.kind, failure.cell) == ("not executed", 2)


def test_cell_without_execution_count() -> None:
    source = notebook()
    done = executed(source)
    done.cells[3].execution_count = None
    failure = first_failure(source, done)
    assert failure is not None
    assert (failure.kind, failure.cell) == ("not executed", 3)


@pytest.mark.parametrize("count", [0, 1])
def test_count_that_does_not_increase(count: int) -> None:
    source = notebook()
    done = executed(source)
    done.cells[2].execution_count = count
    failure = first_failure(source, done)
    assert failure is not None
    assert (failure.kind, failure.cell) == ("not executed", 2)
    assert "after 1" in failure.message


def test_error_output_has_its_traceback_without_colours() -> None:
    source = notebook()
    done = executed(source)
    done.cells[2].outputs = [nbformat.from_dict(ERROR)]
    failure = first_failure(source, done)
    assert failure is not None
    assert (failure.kind, failure.cell, failure.message) == ("error", 2, "ValueError: bad")
    assert failure.details == "Traceback\nbad"


@pytest.mark.parametrize("mark", [{"status": "completed", "exception": True}, {"status": "failed", "exception": False}])
def test_failure_that_only_papermill_has_marked(mark: dict[str, object]) -> None:
    source = notebook()
    done = executed(source)
    done.cells[2].metadata.papermill = nbformat.from_dict(mark)
    failure = first_failure(source, done)
    assert failure is not None
    assert (failure.kind, failure.cell) == ("error", 2)


@pytest.mark.parametrize("changes", [{"execution_count": None}, {"outputs": [ERROR]}])
def test_parameters_that_could_not_be_set(changes: dict[str, object]) -> None:
    source = notebook()
    done = executed(source)
    done.cells.insert(1, injected())
    assert first_failure(source, done) is None
    done.cells[1] = injected(**changes)
    failure = first_failure(source, done)
    assert failure is not None
    assert failure.kind == "error"
