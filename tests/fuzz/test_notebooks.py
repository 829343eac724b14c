"""What students hand in and print: whatever it is, the notebook is valid, and the release's cells are in it."""

import json
from collections.abc import Iterator
from copy import deepcopy
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

import nbformat
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autograder import outputs
from autograder.course.restoration import restored
from autograder.course.submissions import MOST_CELLS, Submission, SubmittedCell, read_submission
from tests.fuzz.hostile import SCALARS, TEXTS, corpus, damaged, jsons, mutated, text_of

NAME = "ch01_ex1_jupyter_agent"
ROOT = Path(__file__).parents[2]
RELEASE = nbformat.read(ROOT / "exercises" / NAME / f"{NAME}.ipynb", as_version=4)
GRADE_IDS = [cell.metadata.nbgrader.grade_id for cell in RELEASE.cells if "nbgrader" in cell.metadata]
HANDED_IN: dict[str, Any] = json.loads(nbformat.writes(RELEASE))

FIELDS = ("cells", "cell_type", "source", "metadata", "nbgrader", "attachments", "image/png", "nbformat", "grade_id")
DATA = jsons(st.sampled_from(FIELDS), SCALARS | st.sampled_from(["code", "markdown", "raw", 4, *GRADE_IDS[:3]]))


# -- submissions -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("submitted")


def check_submission(folder: Path, notebook: bytes) -> None:
    """Whatever is handed in is read, and the notebook that is graded is whole."""
    check_restored(submission_of(folder, notebook), len(notebook))


def submission_of(folder: Path, notebook: bytes, timestamp: bytes | None = None) -> Submission:
    (folder / f"{NAME}.ipynb").write_bytes(notebook)
    (folder / "timestamp.txt").unlink(missing_ok=True)
    if timestamp is not None:
        (folder / "timestamp.txt").write_bytes(timestamp)
    submission = read_submission(folder, NAME)
    assert submission == read_submission(folder, NAME)
    assert type(submission.submitted) in (datetime, type(None))
    assert submission.submitted is None or submission.submitted.tzinfo is None
    assert len(submission.cells) <= MOST_CELLS
    assert all(len(problem.encode()) < 2000 for problem in submission.problems)
    for cell in submission.cells:
        check_cell(cell)
    return submission


def check_cell(cell: SubmittedCell) -> None:
    assert cell.kind in ("code", "markdown", "raw")
    assert type(cell.nbgrader) is dict
    assert type(cell.grade_id) in (str, type(None))
    assert cell.kind == "markdown" or not cell.attachments
    texts = [text for name, bundle in cell.attachments.items() for text in (name, *bundle, *bundle.values())]
    for text in (cell.source, *texts):
        assert type(text) is str
        text.encode()


def check_restored(submission: Submission, size: int) -> None:
    """The notebook to grade is valid, counts as released, and is not much larger than what it was made of."""
    before = deepcopy(RELEASE)
    notebook, _ = restored(RELEASE, submission)
    assert before == RELEASE, "the release was changed"
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)  # validating mends them
    nbformat.validate(notebook)
    written = nbformat.writes(notebook).encode()
    # A line of text becomes one of JSON, with indentation; each cell gets fields; each problem a line of the report.
    assert len(written) < 12 * size + 2 * len(nbformat.writes(RELEASE)) + 200 * len(submission.cells) + 10_000
    assert nbformat.reads(written.decode(), 4) == notebook
    assert notebook.metadata == RELEASE.metadata
    assert all(
        (cell.outputs, cell.execution_count) == ([], None) for cell in notebook.cells if cell.cell_type == "code"
    )
    found = [cell for cell in notebook.cells if cell.metadata]
    named = {cell.metadata.nbgrader.grade_id: cell for cell in found if "nbgrader" in cell.metadata}
    assert len(named) == len(found)
    assert sorted(named) == sorted(GRADE_IDS)
    answers = {cell.source for cell in submission.cells}
    for cell in RELEASE.cells:
        if "nbgrader" not in cell.metadata:
            continue
        graded = named[cell.metadata.nbgrader.grade_id]
        assert (graded.cell_type, graded.id, graded.metadata) == (cell.cell_type, cell.id, cell.metadata)
        assert graded.source == cell.source or (cell.metadata.nbgrader.solution and graded.source in answers)


@st.composite
def notebooks(draw: st.DrawFn) -> Any:
    """The released notebook with cells changed, copied, dropped, moved or put in."""
    notebook = deepcopy(HANDED_IN)
    cells = notebook["cells"]
    for _ in range(draw(st.integers(1, 4))):
        if not cells:
            break
        place = draw(st.integers(0, len(cells) - 1))
        kind = draw(st.sampled_from(["change", "copy", "drop", "move", "put in", "answer", "claim"]))
        if kind == "change":
            cells[place] = draw(mutated(cells[place], DATA))
        elif kind == "copy":
            cells[place:place] = [cells[place]] * draw(st.sampled_from([1, 2, 40]))
        elif kind == "drop":
            del cells[place : place + draw(st.sampled_from([1, len(cells) - 1]))]
        elif kind == "move":
            cells.insert(draw(st.integers(0, len(cells))), cells.pop(place))
        elif kind == "put in":
            cells.insert(place, draw(DATA | CELLS))
        elif kind == "answer" and isinstance(cells[place], dict):
            cells[place] = {**cells[place], "source": draw(TEXTS | st.lists(TEXTS, max_size=3))}
        elif isinstance(cells[place], dict):
            cells[place] = {**cells[place], "metadata": {"nbgrader": draw(CLAIMS)}}
    return notebook


CLAIMS = st.dictionaries(
    st.sampled_from(["grade_id", "grade", "locked", "points", "solution", "task", "checksum"]),
    st.sampled_from([*GRADE_IDS, True, False, 1e300, float("nan")]) | DATA,
)
CELLS = st.fixed_dictionaries(
    {"cell_type": st.sampled_from(["code", "markdown", "raw"]), "source": TEXTS},
    optional={
        "metadata": st.fixed_dictionaries({"nbgrader": CLAIMS}) | DATA,
        "attachments": st.dictionaries(TEXTS, st.dictionaries(TEXTS, TEXTS | DATA, max_size=3), max_size=3) | DATA,
        "id": TEXTS,
        "outputs": DATA,
    },
)


@given(st.binary(max_size=60) | DATA.map(text_of))
@example(b"[" * 200_000)
@example(text_of(HANDED_IN)[:-3] + b', "a": ' + b"[" * 900 + b"]" * 900 + b"}")
def test_anything_is_read_as_a_notebook_or_named(folder: Path, notebook: bytes) -> None:
    check_submission(folder, notebook)


@given(notebooks())
def test_a_changed_notebook_is_restored(folder: Path, notebook: Any) -> None:
    check_submission(folder, text_of(notebook))


@given(st.lists(CELLS | DATA, min_size=1, max_size=4), st.sampled_from([1, 1, 1, 60]))
def test_a_notebook_of_any_cells_is_restored(folder: Path, cells: list[Any], times: int) -> None:
    check_submission(folder, text_of({"nbformat": 4, "cells": cells * times}))


@given(damaged(text_of(HANDED_IN)))
def test_a_damaged_notebook_is_read_or_named(folder: Path, notebook: bytes) -> None:
    check_submission(folder, notebook)


TIMES = st.datetimes().map(str) | st.sampled_from(["2026-11-27 10:00:00.000000 UTC", "2026-11-27T10:00:00+01:00"])


@given(
    st.binary(max_size=30)
    | TEXTS.map(lambda text: text.encode(errors="replace"))
    | TIMES.map(str.encode).flatmap(damaged)
)
def test_any_timestamp_is_a_time_or_named(folder: Path, timestamp: bytes) -> None:
    submission_of(folder, b"", timestamp)


@pytest.mark.parametrize("case", corpus("notebooks"), ids=lambda case: case["what"])
def test_notebooks_of_the_corpus(folder: Path, case: dict[str, Any]) -> None:
    timestamp = case["timestamp"].encode() if "timestamp" in case else None
    notebook = text_of(case["notebook"])
    check_restored(submission_of(folder, notebook, timestamp), len(notebook))


# -- outputs -----------------------------------------------------------------------------------------------------------

SMALL = 1 << 13
"""Of MAX_OUTPUT, here: so that a few messages reach it."""

MIMES = (
    st.sampled_from(["text/plain", "text/html", "application/json", "application/geo+json", "image/png", ""]) | TEXTS
)
IDS = st.sampled_from(["a", "b", 1, True, None, ["a"]])
LARGE = st.sampled_from(["x" * SMALL, "\n" * (SMALL // 2), [0] * (SMALL // 4), ["x"] * 50])
BUNDLES = st.dictionaries(MIMES, TEXTS | DATA | LARGE, max_size=3)
SHOWN = {"data": BUNDLES, "metadata": st.dictionaries(MIMES, DATA, max_size=2)}
TRANSIENT = {"transient": st.fixed_dictionaries({"display_id": IDS}) | DATA}
STREAMS = st.sampled_from(["stdout", "stderr"])


def _message(kind: str, fields: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    content = st.fixed_dictionaries(fields, optional=optional)
    return st.fixed_dictionaries({"msg_type": st.just(kind), "content": content})


MESSAGES: st.SearchStrategy[Any] = st.one_of(
    _message("stream", {"name": STREAMS, "text": TEXTS | st.just("x" * SMALL)}, {}),
    _message("display_data", SHOWN, TRANSIENT),
    _message("update_display_data", SHOWN, TRANSIENT),
    _message("execute_result", SHOWN | {"execution_count": st.integers(0, 9) | DATA}, TRANSIENT),
    _message("error", {"ename": TEXTS, "evalue": TEXTS, "traceback": st.lists(TEXTS, max_size=3) | LARGE}, {}),
    _message("clear_output", {"wait": st.booleans()}, {}),
)
KINDS = st.sampled_from(["stream", "display_data", "update_display_data", "execute_result", "error", "comm_open"])
ODD_MESSAGES = MESSAGES.flatmap(lambda message: mutated(message, DATA)) | st.fixed_dictionaries(
    {"msg_type": KINDS | DATA, "content": DATA}
)
TIMES_OVER = st.sampled_from([1, 1, 1, 2, 100])


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    """Little output is much output."""
    with mock.patch.object(outputs, "MAX_OUTPUT", SMALL):
        yield


def check_outputs(*cells: list[tuple[list[Any], int]]) -> None:
    """Whatever comes while cells run, their outputs are valid, bounded, and can be written down."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell() for _ in cells])
    made = outputs.NotebookOutputs(notebook)
    for index, runs in enumerate(cells):
        cell = made.cell(index)
        for messages, times in runs:
            for _ in range(times):
                for message in messages:
                    cell.add(deepcopy(message))
        cell.flush()
        assert len(cell.problem) <= 500
        assert "\n" not in cell.problem
        cell.error("DeadKernelError", "the end")
        assert notebook.cells[index].outputs[-1].ename == "DeadKernelError"
    nbformat.validate(notebook)
    written = nbformat.writes(notebook)
    # A line break is two bytes as text, and in the file a line of its own with indentation.
    assert len(written.encode()) < 16 * SMALL * len(cells)
    nbformat.validate(nbformat.reads(written, 4))
    json.loads(written, parse_constant=pytest.fail)  # no NaN, which is no JSON
    assert all(len(cell.outputs) < SMALL / 50 for cell in notebook.cells)
    assert all(cell.execution_count is None for cell in notebook.cells)
    assert sum(len(str(display)) for display in made.client._display_id_map) < 4 * SMALL * len(cells)
    assert len(made.shown) < SMALL * len(cells) / 50


RUNS = st.lists(st.tuples(st.lists(MESSAGES, min_size=1, max_size=3), TIMES_OVER), max_size=4)


@given(RUNS, RUNS)
def test_any_messages_make_valid_bounded_outputs(first: Any, second: Any) -> None:
    check_outputs(first, second)


@given(st.lists(st.tuples(st.lists(ODD_MESSAGES | MESSAGES, min_size=1, max_size=2), TIMES_OVER), max_size=4))
@example([([3], 1), ([{}], 1), ([{"msg_type": [], "content": None}], 1)])
def test_what_is_no_message_does_no_harm(runs: Any) -> None:
    check_outputs(runs, runs)


def test_displays_that_were_cleared_are_not_kept_for_ever() -> None:
    shown = [
        {"msg_type": "display_data", "content": {"data": {}, "metadata": {}, "transient": {"display_id": str(number)}}}
        for number in range(2000)
    ]
    clear = {"msg_type": "clear_output", "content": {"wait": False}}
    check_outputs([([message, clear], 1) for message in shown])


@pytest.mark.parametrize("case", corpus("messages"), ids=lambda case: case["what"])
def test_messages_of_the_corpus(case: dict[str, Any]) -> None:
    check_outputs([(case["messages"], case["times"])], [(case["messages"], 1)])
