"""Builds the notebook that is graded, from the release and a submission.

Everything that counts comes from the release: notebook metadata, locked and graded cells, flags, points, ids. From the
submission come the text of the cells that students write, their own cells, and the order. Nothing can be forged in
what is never taken, and a submission without a single readable cell still gives a whole notebook.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from autograder.course.submissions import Submission, SubmittedCell

_FLAGS = ("grade", "locked", "points", "solution", "task")


def restored(release: Any, submission: Submission) -> tuple[Any, list[str]]:
    """Returns the notebook to grade, and what was found wrong with the submission, which its first cell lists.

    A released cell that is missing is put back behind its predecessor. Where a cell is there more than once the first
    is the released one; the copies are cells of the student's own, executed like any other.

    Args:
        release: The released notebook.
        submission: What was handed in.
    """
    from nbformat.v4 import new_notebook

    problems = list(submission.problems)
    released = {_grade_id(cell): cell for cell in release.cells if _grade_id(cell)}
    ids = _new_ids({cell.id for cell in release.cells})
    cells = _merged(released, submission.cells, ids, problems) if submission.cells else deepcopy(release.cells)
    for cell in cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    problems = list(dict.fromkeys(problems))
    if problems:
        cells.insert(0, _report(problems, next(ids)))
    return new_notebook(cells=cells, metadata=deepcopy(release.metadata), nbformat=4, nbformat_minor=5), problems


def _merged(
    released: dict[str, Any], submitted: list[SubmittedCell], ids: Iterator[str], problems: list[str]
) -> list[Any]:
    cells: list[Any] = []
    places: dict[str, int] = {}  # of released cells in `cells`
    for cell in submitted:
        identity = cell.grade_id
        if identity not in released:
            cells.append(_own_cell(cell, next(ids)))
        elif identity in places:
            problems.append(f"The cell '{identity}' is there more than once; the first counts as the released one.")
            cells.append(_own_cell(cell, next(ids)))
        else:
            places[identity] = len(cells)
            cells.append(_restored_cell(released[identity], cell, problems))

    missing: dict[str, list[Any]] = {}  # by the id of the last released cell before them that is there
    before = ""
    for identity, cell in released.items():
        if identity in places:
            before = identity
        else:
            missing.setdefault(before, []).append(deepcopy(cell))
            problems.append(f"The cell '{identity}' is missing; it was put back as it was released.")
    whole = missing.get("", [])
    for index, cell in enumerate(cells):
        whole.append(cell)
        identity = _grade_id(cell)
        if identity and places[identity] == index:
            whole += missing.get(identity, [])
    return whole


def _restored_cell(released: Any, submitted: SubmittedCell, problems: list[str]) -> Any:
    cell, identity = deepcopy(released), _grade_id(released)
    claimed = {flag: submitted.nbgrader.get(flag, False) for flag in _FLAGS}
    if submitted.kind != cell.cell_type:
        problems.append(f"The cell '{identity}' is no {cell.cell_type} cell any more; it was treated as one.")
    elif claimed != {flag: cell.metadata.nbgrader.get(flag, False) for flag in _FLAGS}:
        problems.append(f"The nbgrader settings of the cell '{identity}' were changed; the released ones count.")
    if cell.metadata.nbgrader.get("solution"):
        cell.source = submitted.source
        if cell.cell_type == "markdown" and submitted.attachments:
            cell.attachments = deepcopy(submitted.attachments)
    elif submitted.source.strip() != cell.source.strip():
        problems.append(f"The locked cell '{identity}' was changed; the released one counts.")
    return cell


def _own_cell(submitted: SubmittedCell, identity: str) -> Any:
    # Metadata stays behind: tags tell executors to skip a cell, and nbgrader's would make it count.
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_raw_cell

    new = {"code": new_code_cell, "markdown": new_markdown_cell, "raw": new_raw_cell}[submitted.kind]
    cell = new(source=submitted.source, id=identity)
    if submitted.attachments:
        cell.attachments = deepcopy(submitted.attachments)
    return cell


def _report(problems: list[str], identity: str) -> Any:
    from html import escape

    from nbformat.v4 import new_markdown_cell

    # HTML without a blank line, since names of files could be Markdown.
    items = "\n".join(f"<li>{escape(problem, quote=False)}</li>" for problem in problems)
    return new_markdown_cell(source=f"<b>About this submission</b>\n<ul>\n{items}\n</ul>", id=identity)


def _grade_id(cell: Any) -> str:
    return str(cell.metadata.get("nbgrader", {}).get("grade_id", ""))


def _new_ids(taken: set[str]) -> Iterator[str]:
    number = 0
    while True:
        number += 1
        if f"own-{number}" not in taken:
            yield f"own-{number}"
