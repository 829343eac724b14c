"""Makes notebooks (`.ipynb`) from their sources (`.py`, percent format), takes edits back, and finds what has drifted.

Contents are compared, never times. A notebook keeps in its metadata the digest of the contents that it was made with:
it shows which of the two files was edited since, so neither direction silently reverts an edit.
"""

import hashlib
import itertools
import json
import re
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

from autograder.files import write_atomically

LONGEST_CODE_CELL = 40  # lines
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}

# What JupyterLab or Jupytext note beside a cell; it says nothing about the notebook.
_NOTES = {"autoscroll", "cell_marker", "collapsed", "execution", "ExecuteTime", "lines_to_end_of_cell_marker"}
_NOTES |= {"lines_to_next_cell", "papermill", "scrolled", "trusted"}

Edited = Literal["neither", "source", "notebook", "both"]


class NotebookError(Exception):
    """A notebook or its source cannot be read, or one would overwrite an edit of the other. Nothing was written."""


def read_source(source: Path) -> Any:
    """Reads a `.py` in percent format as an nbformat notebook.

    Raises:
        NotebookError: It is missing or not text.
    """
    return _parse_source(_read(source))


def read_notebook(path: Path) -> Any:
    """Reads an `.ipynb` as an nbformat notebook, as it is; it may still be invalid in a detail.

    Raises:
        NotebookError: It is missing, not JSON, or not a notebook of format 4.
    """
    import nbformat

    try:
        found = json.loads(_read(path))
    except ValueError as error:
        raise NotebookError(
            f"{path} is not JSON ({error}): restore it, or delete it and run `make notebooks`"
        ) from error
    cells = found.get("cells") if isinstance(found, dict) and found.get("nbformat") == 4 else None
    if not isinstance(cells, list) or not all(isinstance(cell, dict) and "cell_type" in cell for cell in cells):
        raise NotebookError(f"{path} is not a notebook of format 4: delete it and run `make notebooks`")
    for cell in cells:
        text = cell.get("source", "")
        cell["source"] = "".join(text) if isinstance(text, list) else str(text)
        cell.setdefault("metadata", {})
    found.setdefault("metadata", {})
    return nbformat.from_dict(found)


def drift(source: Path) -> str | None:
    """Returns what to do about contents that differ between a `.py` and its `.ipynb`; None if they are equal.

    Raises:
        NotebookError: One of the two is missing or cannot be read.
    """
    return _drift(source, read_source(source), read_notebook(source.with_suffix(".ipynb")))


def make_notebook(source: Path, *, force: bool = False) -> bool:
    """Makes the `.ipynb` of a `.py`: no outputs, the ids of known cells kept. Returns whether the file has changed.

    Args:
        source: The `.py`.
        force: Make it even where that loses edits of the `.ipynb`.

    Raises:
        NotebookError: One of the two cannot be read, or the `.ipynb` has edits that the `.py` lacks.
        OSError: It cannot be written.
    """
    notebook = source.with_suffix(".ipynb")
    before = notebook.read_text(encoding="utf-8", errors="replace") if notebook.exists() else None
    wanted, made = read_source(source), None if before is None else read_notebook(notebook)
    if made is not None and not force and _edited(wanted, made) in ("notebook", "both"):
        raise NotebookError(_drift(source, wanted, made))
    after = _rendered(wanted, made)
    if after == before:
        return False
    write_atomically(notebook, after)
    return True


def take_back(source: Path, *, force: bool = False) -> bool:
    """Takes the edits of an `.ipynb` back into its `.py`, then strips its outputs. Returns whether a file has changed.

    Args:
        source: The `.py`, which need not exist yet.
        force: Take them back even where that loses edits of the `.py`.

    Raises:
        NotebookError: One of the two cannot be read, the `.py` has edits that the `.ipynb` lacks, or the percent format
            cannot hold the `.ipynb` (attachments, for one).
        OSError: A file cannot be written.
    """
    notebook = read_notebook(source.with_suffix(".ipynb"))
    if source.exists():
        wanted = read_source(source)
        state = _edited(wanted, notebook)
        if state == "neither":
            return make_notebook(source)
        if state in ("source", "both") and not force:
            raise NotebookError(_drift(source, wanted, notebook))
    text = _percent(notebook)
    number = _first_difference(_contents(_parse_source(text)), _contents(notebook))
    if number is not None:
        raise NotebookError(f"{source.with_suffix('.ipynb')}: cell {number} cannot be written in percent format")
    write_atomically(source, text)
    make_notebook(source, force=True)
    return True


def problems(source: Path) -> list[str]:
    """Returns all that is wrong with a `.py` and its `.ipynb` as they would be committed, a sentence each."""
    path = source.with_suffix(".ipynb")
    if not source.exists():
        return [f"{path.name} has no {source.name}: make it with `make notebooks FROM=ipynb`"]
    if not path.exists():
        return [f"{source.name} has no {path.name}: run `make notebooks`"]
    try:
        wanted, notebook = read_source(source), read_notebook(path)
    except NotebookError as error:
        return [str(error)]

    found = []
    invalid = _invalid(notebook)
    if invalid:
        found.append(f"{path.name} is not a valid notebook: {invalid}")
    for number, cell in enumerate(notebook.cells, 1):
        if cell.get("outputs"):
            found.append(f"{path.name}: cell {number} has outputs: run `make notebooks`")
        if cell.get("execution_count") is not None:
            found.append(f"{path.name}: cell {number} has an execution count: run `make notebooks`")
    difference = _drift(source, wanted, notebook)
    if difference:
        found.append(difference)
    elif not found and _rendered(wanted, notebook) != path.read_text(encoding="utf-8"):
        found.append(f"{path.name} is not as `make notebooks` writes it (metadata, ids or layout): run it")
    for number, cell in enumerate(wanted.cells, 1):
        lines = len(cell.source.splitlines())
        if cell.cell_type == "code" and lines > LONGEST_CODE_CELL:
            found.append(
                f"{source.name}: cell {number} has {lines} lines; the longest code cell has {LONGEST_CODE_CELL}"
            )
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotebookError(f"{path} does not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise NotebookError(f"{path} cannot be read: {error}") from error


def _invalid(notebook: Any) -> str | None:
    import nbformat

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nbformat repairs missing and repeated cell ids, with a warning
        try:
            nbformat.validate(deepcopy(notebook))
        except (nbformat.ValidationError, Warning) as error:
            return str(error).splitlines()[0]
    return None


def _parse_source(text: str) -> Any:
    import jupytext

    return jupytext.reads(text, fmt="py:percent")


def _percent(notebook: Any) -> str:
    import jupytext

    notebook = deepcopy(notebook)
    for cell in notebook.cells:
        cell.source, cell.metadata = cell.source.strip("\n"), _lasting(cell.metadata)
    filters = {"notebook_metadata_filter": "kernelspec,-all", "cell_metadata_filter": "all"}
    notebook.metadata = {"jupytext": filters, "kernelspec": KERNELSPEC}
    return str(jupytext.writes(notebook, fmt="py:percent"))


def _rendered(wanted: Any, made: Any | None) -> str:
    """The text of the `.ipynb` for the cells `wanted`, with the ids that the same cells have in `made`."""
    import nbformat
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell

    new = {"code": new_code_cell, "markdown": new_markdown_cell, "raw": new_raw_cell}
    ids = _cell_ids(wanted.cells, [] if made is None else made.cells)
    cells = [
        new[cell.cell_type](source=cell.source.strip("\n"), metadata=_lasting(cell.metadata), id=cell_id)
        for cell, cell_id in zip(wanted.cells, ids, strict=True)
    ]
    metadata = {
        "kernelspec": KERNELSPEC,
        "language_info": {"name": "python"},
        "workbook": {"made_with_sha256": _digest(_contents(wanted))},
    }
    notebook = new_notebook(cells=cells, metadata=metadata, nbformat=4, nbformat_minor=5)
    return str(nbformat.writes(notebook)) + "\n"


def _cell_ids(cells: list[Any], known: list[Any]) -> list[str]:
    """Known cells keep their ids; a new cell's id comes from its contents, so that everybody makes the same file."""
    from jupytext.combine import map_outputs_to_inputs

    kept: list[str | None] = []
    for index in map_outputs_to_inputs(cells, known):
        cell_id = None if index is None else known[index].get("id")
        kept.append(cell_id if _is_cell_id(cell_id) and cell_id not in kept else None)
    ids: list[str] = []
    for cell, cell_id in zip(cells, kept, strict=True):
        ids.append(cell_id or _new_cell_id(cell, taken={*kept, *ids}))
    return ids


def _is_cell_id(cell_id: Any) -> bool:
    return isinstance(cell_id, str) and re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", cell_id) is not None


def _new_cell_id(cell: Any, taken: set[str | None]) -> str:
    texts = (f"{cell.cell_type}\n{cell.source}\n{repetition}" for repetition in itertools.count())
    candidates = (hashlib.sha256(text.encode()).hexdigest()[:8] for text in texts)
    return next(candidate for candidate in candidates if candidate not in taken)


def _lasting(metadata: Any) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key not in _NOTES and (key, value) != ("tags", [])}


def _contents(notebook: Any) -> list[Any]:
    """What a reader or a kernel would notice: each cell's type, text, lasting metadata and attachments."""
    return [
        [cell.cell_type, cell.source.strip("\n"), _lasting(cell.metadata), cell.get("attachments") or {}]
        for cell in notebook.cells
    ]


def _digest(contents: list[Any]) -> str:
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


def _edited(wanted: Any, notebook: Any) -> Edited:
    source, made = _digest(_contents(wanted)), _digest(_contents(notebook))
    if source == made:
        return "neither"
    made_with = notebook.metadata.get("workbook", {}).get("made_with_sha256")
    if made == made_with:
        return "source"
    return "notebook" if source == made_with else "both"


def _drift(source: Path, wanted: Any, notebook: Any) -> str | None:
    name, made = source.name, source.with_suffix(".ipynb").name
    place = f"(first in cell {_first_difference(_contents(wanted), _contents(notebook))})"
    match _edited(wanted, notebook):
        case "neither":
            return None
        case "source":
            return f"{name} was edited after {made} was made {place}: run `make notebooks`"
        case "notebook":
            return f"{made} was edited, {name} was not {place}: take the edits back with `make notebooks FROM=ipynb`"
        case "both":
            return (
                f"{name} and {made} were both edited {place}: copy the edits of one into the other, or keep one: "
                "`autograder notebooks --force` keeps the .py, `autograder notebooks --from ipynb --force` the .ipynb"
            )


def _first_difference(one: list[Any], other: list[Any]) -> int | None:
    for number, (a, b) in enumerate(zip(one, other, strict=False), 1):
        if a != b:
            return number
    return None if len(one) == len(other) else min(len(one), len(other)) + 1
