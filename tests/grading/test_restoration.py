"""The notebook that is graded: all that counts comes from the release, whatever was handed in."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from autograder.course.restoration import restored
from autograder.course.submissions import Submission, SubmittedCell


def settings(identity: str, **flags: Any) -> dict[str, Any]:
    about = {"grade": False, "locked": False, "solution": False, "task": False, "schema_version": 3}
    return {"nbgrader": {**about, "grade_id": identity, "checksum": identity.ljust(32, "0"), **flags}}


RELEASE = new_notebook(
    cells=[
        new_markdown_cell("# Title", id="r0"),
        new_code_cell("import this", id="r1", metadata=settings("setup", locked=True)),
        new_code_cell("def f(): raise NotImplementedError", id="r2", metadata=settings("f", solution=True)),
        new_code_cell("check('f-works', f)", id="r3", metadata=settings("f-works", grade=True, locked=True, points=2)),
        new_code_cell("check('f-holds', f)", id="r4", metadata=settings("f-holds", grade=True, locked=True, points=3)),
        new_markdown_cell("YOUR ANSWER", id="r5", metadata=settings("why", grade=True, solution=True, points=4)),
    ],
    metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
)
COUNTING = [cell for cell in RELEASE.cells if cell.metadata.get("nbgrader")]


def handed_in(cells: list[Any]) -> Submission:
    read = [
        SubmittedCell(cell.cell_type, cell.source, cell.get("attachments", {}), cell.metadata.get("nbgrader", {}))
        for cell in cells
    ]
    return Submission(read, {}, None, [], "")


def graded(cells: list[Any]) -> Any:
    notebook, _ = restored(RELEASE, handed_in(cells))
    nbformat.validate(notebook)
    return notebook


def report(notebook: Any) -> str:
    return notebook.cells[0].source if "About this submission" in notebook.cells[0].source else ""


def counts_as_released(notebook: Any, *, answers: bool = True) -> bool:
    """Whether each cell that counts is there once, with all that the release says of it, but for answers."""
    found = {cell.metadata.nbgrader.grade_id: cell for cell in notebook.cells if cell.metadata.get("nbgrader")}
    for cell in COUNTING:
        same = deepcopy(found.get(cell.metadata.nbgrader.grade_id))
        if same is None:
            return False
        if answers and cell.metadata.nbgrader.solution:
            same.source = cell.source
            same.pop("attachments", None)
        if same != cell:
            return False
    return sum(bool(cell.metadata) for cell in notebook.cells) == len(COUNTING)


def solved() -> list[Any]:
    cells: list[Any] = deepcopy(RELEASE.cells)
    cells[2].source = "def f(): return 1"
    cells[5].source = "Because."
    return cells


def test_honest_work_is_kept_as_it_is() -> None:
    own = new_code_cell("helper = 1")
    cells = solved()
    cells.insert(2, own)
    notebook = graded(cells)
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in cells]
    assert counts_as_released(notebook)
    assert report(notebook) == ""
    assert notebook.metadata == RELEASE.metadata


def test_nothing_handed_in_gives_the_release() -> None:
    notebook, _ = restored(RELEASE, Submission([], {}, None, ["It is not JSON."], ""))
    assert notebook.cells[1:] == RELEASE.cells
    assert "<li>It is not JSON.</li>" in report(notebook)


def change(index: int, edit: Callable[[Any], Any]) -> list[Any]:
    cells = solved()
    edit(cells[index])
    return cells


def claim(**flags: Any) -> Callable[[Any], Any]:
    return lambda cell: cell.metadata.nbgrader.update(flags)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (change(3, claim(points=1000)), "settings of the cell 'f-works'"),
        (change(3, claim(points="many")), "settings of the cell 'f-works'"),
        (change(3, claim(grade=False)), "settings of the cell 'f-works'"),
        (change(3, claim(solution=True)), "settings of the cell 'f-works'"),
        (change(3, claim(locked={"a": []})), "settings of the cell 'f-works'"),
        (change(2, claim(grade=True, points=50)), "settings of the cell 'f'"),
        (change(5, claim(grade=False)), "settings of the cell 'why'"),
        (change(3, lambda cell: cell.update(source="2")), "locked cell 'f-works' was changed"),
        (change(1, lambda cell: cell.update(source="import that")), "locked cell 'setup' was changed"),
        (change(3, lambda cell: cell.update(cell_type="markdown")), "'f-works' is no code cell"),
        (change(2, lambda cell: cell.update(cell_type="markdown")), "'f' is no code cell"),
        (change(5, lambda cell: cell.update(cell_type="code")), "'why' is no markdown cell"),
    ],
)
def test_a_changed_cell_counts_as_released(cells: list[Any], said: str) -> None:
    notebook = graded(cells)
    assert counts_as_released(notebook)
    assert said in report(notebook)
    assert notebook.cells[3].source == "def f(): return 1"


@pytest.mark.parametrize("gone", [{1}, {2}, {3}, {4}, {3, 4}, {2, 3, 4}, {1, 2, 3, 4, 5}, {4, 5}, {1, 2}, {0, 1, 5}])
def test_missing_cells_are_put_back_in_their_places(gone: set[int]) -> None:
    cells = [cell for index, cell in enumerate(solved()) if index not in gone]
    cells.append(new_code_cell("own = 1"))
    notebook = graded(cells)
    assert counts_as_released(notebook)
    order = [cell.metadata.nbgrader.grade_id for cell in notebook.cells if cell.metadata]
    assert order == [cell.metadata.nbgrader.grade_id for cell in COUNTING]
    for index in gone - {0}:
        assert f"'{RELEASE.cells[index].metadata.nbgrader.grade_id}' is missing" in report(notebook)


def test_a_deleted_answer_is_the_stub() -> None:
    notebook = graded([cell for index, cell in enumerate(solved()) if index != 2])
    assert "def f(): raise NotImplementedError" in [cell.source for cell in notebook.cells]


def test_of_doubled_cells_one_counts_and_all_are_kept_in_order() -> None:
    cells = solved()
    copy = deepcopy(cells[2])
    copy.source = "def f(): return 2"
    fake = deepcopy(cells[3])
    fake.source, fake.metadata.nbgrader.points = "1000", 1000
    notebook = graded([*cells[:3], copy, fake, *cells[3:]])
    assert counts_as_released(notebook)
    sources = [cell.source for cell in notebook.cells]
    assert sources.index("def f(): return 1") < sources.index("def f(): return 2")
    assert "'f' is there more than once" in report(notebook)
    assert "'f-works' is there more than once" in report(notebook)


def test_own_cells_bring_nothing_but_their_text() -> None:
    loud = new_code_cell("x", metadata={**settings("mine", grade=True, points=99), "tags": ["skip-execution"]})
    loud.outputs = [{"output_type": "execute_result", "data": {"text/plain": "99"}, "metadata": {}}]
    notebook = graded([*solved(), loud])
    assert counts_as_released(notebook)
    assert (notebook.cells[-1].metadata, notebook.cells[-1].outputs) == ({}, [])


def test_outputs_and_counts_stay_behind() -> None:
    cells = solved()
    cells[3].outputs, cells[3].execution_count = [{"output_type": "stream", "name": "stdout", "text": "2"}], 7
    notebook = graded(cells)
    assert (notebook.cells[3].outputs, notebook.cells[3].execution_count) == ([], None)


def test_the_students_order_is_kept() -> None:
    cells = solved()
    notebook = graded([cells[2], cells[0], cells[5], cells[1], cells[4], cells[3]])
    order = [cell.metadata.nbgrader.grade_id for cell in notebook.cells if cell.metadata]
    assert order == ["f", "why", "setup", "f-holds", "f-works"]
    assert counts_as_released(notebook)


def test_ids_are_each_there_once() -> None:
    cells = [*solved(), *(new_code_cell("x", id=identity) for identity in ("r1", "r2", "own-1"))]
    notebook = graded(cells)
    identities = [cell.id for cell in notebook.cells]
    assert len(identities) == len(set(identities))


def test_a_problem_cannot_be_markup() -> None:
    problems = ["'<script>alert(1)</script>' is a link.", "'[x](javascript:x)' is a link."]
    text = report(restored(RELEASE, Submission([], {}, None, problems, ""))[0])
    assert "<script>" not in text
    assert "\n\n" not in text  # up to a blank line Markdown leaves HTML alone


def test_the_release_is_never_changed() -> None:
    before = deepcopy(RELEASE)
    notebook = graded(solved())
    for cell in notebook.cells:
        cell.source = "changed"
        cell.metadata["x"] = 1
    notebook.metadata["kernelspec"]["name"] = "other"
    assert before == RELEASE
