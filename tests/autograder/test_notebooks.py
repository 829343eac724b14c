"""Notebooks made from sources, edits taken back, and what the check finds."""

import json
from pathlib import Path

import nbformat
import pytest

from autograder.notebooks import (
    LONGEST_CODE_CELL,
    NotebookError,
    drift,
    make_notebook,
    problems,
    read_source,
    take_back,
)
from tests.autograder.book import Book, load, store, text

TITLE = "# %% [markdown]\n# # Title"


def edit(source: Path, cell: int, new: str) -> None:
    """Changes a cell of the `.ipynb`, as JupyterLab would."""
    notebook = load(source)
    notebook["cells"][cell]["source"] = new
    store(source, notebook)


def ids(source: Path) -> list[str]:
    return [cell["id"] for cell in load(source)["cells"]]


# --- from .py to .ipynb


def test_made_notebook_is_valid_and_carries_nothing_of_this_machine(book: Book) -> None:
    source = book.chapter("ch01", TITLE, '# %% tags=["parameters"]\nSEED = 0', "# %matplotlib inline\n1 + 1")
    notebook = load(source)
    nbformat.validate(nbformat.from_dict(notebook))
    assert [(cell["cell_type"], text(cell["source"])) for cell in notebook["cells"]] == [
        ("markdown", "# Title"),
        ("code", "SEED = 0"),
        ("code", "%matplotlib inline\n1 + 1"),
    ]
    assert notebook["cells"][1]["metadata"] == {"tags": ["parameters"]}
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in notebook["cells"][1:])
    assert set(notebook["metadata"]) == {"kernelspec", "language_info", "workbook"}
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert notebook["metadata"]["language_info"] == {"name": "python"}
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)


def test_twice_changes_nothing_and_two_people_make_the_same(book: Book) -> None:
    source = book.source("ch01", TITLE, "x = 1", "x = 1", "def f():\n    pass", "", "y = 2")
    assert make_notebook(source)
    first = source.with_suffix(".ipynb").read_bytes()
    assert not make_notebook(source)
    assert source.with_suffix(".ipynb").read_bytes() == first
    assert len(set(ids(source))) == 6
    source.with_suffix(".ipynb").unlink()
    make_notebook(source)
    assert source.with_suffix(".ipynb").read_bytes() == first


def test_known_cells_keep_their_ids(book: Book) -> None:
    source = book.chapter("ch01", TITLE, "x = 1", "y = 2", "z = 3")
    notebook = load(source)
    for cell, cell_id in zip(notebook["cells"], ("title", "x", "y", "z"), strict=True):
        cell["id"] = cell_id
    store(source, notebook)
    book.chapter("ch01", TITLE, "import os", "x = 1", "z = 3", "y = 2  # moved")
    title, new, x, z, y = ids(source)
    assert (title, x, z) == ("title", "x", "z")
    assert len({title, new, x, z, y}) == 5


def test_invalid_and_missing_ids_are_replaced(book: Book) -> None:
    source = book.chapter("ch01", "x = 1", "y = 2", "z = 3")
    good = ids(source)
    notebook = load(source)
    notebook["cells"][0]["id"] = "no spaces please"
    del notebook["cells"][1]["id"]
    notebook["cells"][2]["id"] = good[0]
    store(source, notebook)
    assert make_notebook(source)
    assert len(set(ids(source))) == 3
    assert problems(source) == []


def test_nbgrader_metadata_goes_both_ways(book: Book) -> None:
    mark = {"grade": True, "grade_id": "lock", "points": 2, "locked": True, "solution": False, "schema_version": 3}
    source = book.chapter("ch01", f"# %% nbgrader={json.dumps(mark)}\nassert True")
    assert load(source)["cells"][0]["metadata"] == {"nbgrader": mark}
    edit(source, 0, "assert 1")
    take_back(source)
    assert read_source(source).cells[0].metadata == {"nbgrader": mark}
    assert read_source(source).cells[0].source == "assert 1"


def test_what_jupyterlab_notes_is_stripped_and_is_no_edit(book: Book) -> None:
    source = book.chapter("ch01", TITLE, "x = 1")
    made = source.with_suffix(".ipynb").read_bytes()
    notebook = load(source)
    notebook["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["hi"]}]
    notebook["cells"][1]["execution_count"] = 3
    notebook["cells"][1]["metadata"] = {"execution": {"x": 1}, "scrolled": True, "collapsed": False, "tags": []}
    notebook["metadata"]["language_info"]["version"] = "3.11.2"
    store(source, notebook)
    assert drift(source) is None
    assert make_notebook(source)
    assert source.with_suffix(".ipynb").read_bytes() == made


# --- neither direction loses an edit


def test_edit_of_the_source_goes_to_the_notebook(book: Book) -> None:
    source = book.chapter("ch01", TITLE, "x = 1")
    book.source("ch01", TITLE, "x = 2")
    assert "ch01.py was edited after ch01.ipynb was made (first in cell 2): run `make notebooks`" in (
        drift(source) or ""
    )
    make_notebook(source)
    assert text(load(source)["cells"][1]["source"]) == "x = 2"
    assert drift(source) is None


def test_edit_of_the_notebook_goes_to_the_source(book: Book) -> None:
    source = book.chapter("ch01", TITLE, "x = 1", "y = 1")
    notebook = load(source)
    notebook["cells"][1]["source"] = "x = 2\n"
    notebook["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["hi"]}]
    new = {"cell_type": "markdown", "metadata": {}, "source": "*new*\n\n- `a`\n", "id": "new"}
    notebook["cells"].insert(2, new)
    store(source, notebook)
    assert "ch01.ipynb was edited, ch01.py was not" in (drift(source) or "")
    assert take_back(source)
    assert "x = 2\n\n# %% [markdown]\n# *new*\n#\n# - `a`\n\n# %%\ny = 1\n" in source.read_text()
    assert ids(source)[2] == "new"
    assert problems(source) == []
    assert not take_back(source)


def test_edited_tag_is_an_edit(book: Book) -> None:
    source = book.chapter("ch01", "x = 1")
    book.source("ch01", '# %% tags=["parameters"]\nx = 1')
    assert "ch01.py was edited" in (drift(source) or "")
    make_notebook(source)
    assert load(source)["cells"][0]["metadata"] == {"tags": ["parameters"]}


def both_edited(book: Book) -> Path:
    source = book.chapter("ch01", TITLE, "x = 1", "y = 1")
    edit(source, 2, "y = 'notebook'")
    book.source("ch01", TITLE, "x = 'source'", "y = 1")
    return source


@pytest.mark.parametrize("direction", [make_notebook, take_back])
def test_both_edited_is_refused_either_way(book: Book, direction: object) -> None:
    source = both_edited(book)
    before = source.read_bytes(), source.with_suffix(".ipynb").read_bytes()
    with pytest.raises(NotebookError, match=r"both edited \(first in cell 2\)"):
        direction(source)  # type: ignore[operator]
    assert (source.read_bytes(), source.with_suffix(".ipynb").read_bytes()) == before


def test_edited_notebook_is_not_overwritten(book: Book) -> None:
    source = book.chapter("ch01", "x = 1")
    edit(source, 0, "x = 'notebook'")
    with pytest.raises(NotebookError, match="make notebooks FROM=ipynb"):
        make_notebook(source)
    assert text(load(source)["cells"][0]["source"]) == "x = 'notebook'"


def test_edited_source_is_not_overwritten(book: Book) -> None:
    source = book.chapter("ch01", "x = 1")
    book.source("ch01", "x = 'source'")
    with pytest.raises(NotebookError, match="run `make notebooks`"):
        take_back(source)
    assert "x = 'source'" in source.read_text()


def test_force_keeps_the_named_side(book: Book) -> None:
    source = both_edited(book)
    make_notebook(source, force=True)
    assert text(load(source)["cells"][2]["source"]) == "y = 1"
    source = both_edited(book)
    take_back(source, force=True)
    assert "y = 'notebook'" in source.read_text()
    assert "'source'" not in source.read_text()


def test_notebook_of_unknown_origin_that_differs_is_not_overwritten(book: Book) -> None:
    source = book.chapter("ch01", "x = 1")
    notebook = load(source)
    del notebook["metadata"]["workbook"]
    notebook["cells"][0]["source"] = "x = 2"
    store(source, notebook)
    with pytest.raises(NotebookError, match="both edited"):
        make_notebook(source)


def test_source_is_made_from_a_lone_notebook(book: Book) -> None:
    source = book.chapter("ch01", TITLE, "x = 1")
    source.unlink()
    take_back(source)
    assert problems(source) == []


def test_what_percent_format_cannot_hold_is_refused(book: Book) -> None:
    source = book.chapter("ch01", TITLE, "x = 1")
    before = source.read_bytes()
    notebook = load(source)
    notebook["cells"][0]["source"] = "![figure](attachment:a.png)"
    notebook["cells"][0]["attachments"] = {"a.png": {"image/png": "AAAA"}}
    store(source, notebook)
    with pytest.raises(NotebookError, match="cell 1 cannot be written in percent format"):
        take_back(source)
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    "cell",
    ["# %% not a marker\nx = 1", "'''\n# %%\n'''", "x = 1\n\n\n# comment\n\n", "!ls\n%time f()\n?f", "%%bash\nls"],
)
def test_awkward_code_is_taken_back_whole_or_refused(book: Book, cell: str) -> None:
    source = book.chapter("ch01", "x = 1")
    edit(source, 0, cell)
    try:
        take_back(source)
    except NotebookError:
        assert "x = 1" in source.read_text()
    assert [text(found["source"]).strip("\n") for found in load(source)["cells"]] == [cell.strip("\n")]


# --- bad files


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (b'{"cells": [', "is not JSON"),
        (b"<<<<<<< HEAD\n{}\n", "is not JSON"),
        (b"", "is not JSON"),
        (b"[]", "is not a notebook of format 4"),
        (b'{"nbformat": 3, "worksheets": []}', "is not a notebook of format 4"),
        (b'{"nbformat": 4, "cells": [1]}', "is not a notebook of format 4"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_damaged_notebook_is_named_and_kept(book: Book, damage: bytes, message: str) -> None:
    source = book.chapter("ch01", "x = 1")
    before = source.read_bytes()
    source.with_suffix(".ipynb").write_bytes(damage)
    for action in (make_notebook, take_back, drift):
        with pytest.raises(NotebookError, match=message):
            action(source)
    assert any(message in problem for problem in problems(source))
    assert source.with_suffix(".ipynb").read_bytes() == damage
    assert source.read_bytes() == before


def test_source_that_is_not_text_is_named(book: Book) -> None:
    source = book.chapter("ch01", "x = 1")
    made = source.with_suffix(".ipynb").read_bytes()
    source.write_bytes(b"\xff\xfe")
    with pytest.raises(NotebookError, match="cannot be read"):
        make_notebook(source)
    assert source.with_suffix(".ipynb").read_bytes() == made


# --- what must not be committed


def test_check_finds_nothing_in_a_made_notebook(book: Book) -> None:
    assert problems(book.chapter("ch01", TITLE, "x = 1")) == []


def test_check_finds_drift(book: Book) -> None:
    source = book.chapter("ch01", TITLE, "x = 1")
    book.source("ch01", TITLE, "x = 1", "y = 2")
    assert len(problems(source)) == 1
    assert "first in cell 3" in problems(source)[0]


def test_check_finds_outputs_and_execution_counts(book: Book) -> None:
    source = book.chapter("ch01", TITLE, "x = 1")
    notebook = load(source)
    notebook["cells"][1]["execution_count"] = 1
    notebook["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["hi"]}]
    store(source, notebook)
    found = problems(source)
    assert len(found) == 2
    assert "cell 2 has outputs" in found[0]
    assert "cell 2 has an execution count" in found[1]


def test_check_finds_a_long_cell(book: Book) -> None:
    longest = "\n".join(["x = 1"] * LONGEST_CODE_CELL)
    assert problems(book.chapter("ch01", longest)) == []
    assert "cell 1 has 41 lines" in problems(book.chapter("ch01", longest + "\ny = 2"))[0]


@pytest.mark.parametrize("invalid", [{"id": "a b"}, {"metadata": {"tags": "parameters"}}, {"id": None}])
def test_check_finds_an_invalid_notebook(book: Book, invalid: dict[str, object]) -> None:
    source = book.chapter("ch01", "x = 1")
    notebook = load(source)
    notebook["cells"][0].update(invalid)
    store(source, notebook)
    assert "is not a valid notebook" in problems(source)[0]


def test_check_finds_repeated_and_missing_ids(book: Book) -> None:
    source = book.chapter("ch01", "x = 1", "y = 1")
    notebook = load(source)
    notebook["cells"][0]["id"] = notebook["cells"][1]["id"]
    store(source, notebook)
    assert "is not a valid notebook: Non-unique cell id" in problems(source)[0]
    del notebook["cells"][0]["id"]
    store(source, notebook)
    assert "is not a valid notebook: Cell is missing an id" in problems(source)[0]


def test_check_finds_metadata_of_a_machine(book: Book) -> None:
    source = book.chapter("ch01", "x = 1")
    notebook = load(source)
    notebook["metadata"]["language_info"]["version"] = "3.11.2"
    store(source, notebook)
    assert "not as `make notebooks` writes it" in problems(source)[0]


def test_check_finds_a_file_without_its_other(book: Book) -> None:
    source = book.chapter("ch01", "x = 1")
    source.unlink()
    assert "ch01.ipynb has no ch01.py" in problems(source)[0]
    assert "ch02.py has no ch02.ipynb" in problems(book.source("ch02", "x = 1"))[0]
