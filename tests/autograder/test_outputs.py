"""Outputs made of messages of every kind: assembled as nbclient does, bounded, and valid whatever came."""

from typing import Any

import nbformat
import pytest

from autograder.outputs import MAX_OUTPUT, TRUNCATED, CellOutputs, NotebookOutputs


def notebook(cells: int = 1) -> Any:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell() for _ in range(cells)])


def stream(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"msg_type": "stream", "content": {"name": name, "text": text}}


def display(text: Any, display_id: Any = None, kind: str = "display_data", **more: Any) -> dict[str, Any]:
    transient = {"transient": {"display_id": display_id}} if display_id is not None else {}
    return {"msg_type": kind, "content": {"data": {"text/plain": text}, "metadata": {}, **transient, **more}}


def clear(wait: bool = False) -> dict[str, Any]:
    return {"msg_type": "clear_output", "content": {"wait": wait}}


def error(name: str = "ValueError", text: str = "v") -> dict[str, Any]:
    return {"msg_type": "error", "content": {"ename": name, "evalue": text, "traceback": [text]}}


def fill(outputs: CellOutputs, *messages: dict[str, Any]) -> CellOutputs:
    for message in messages:
        outputs.add(message)
    outputs.flush()
    return outputs


def texts(cell: Any) -> list[str]:
    return [output.get("text") or output.get("ename") or output["data"]["text/plain"] for output in cell.outputs]


def size(nb: Any) -> int:
    nbformat.validate(nb)
    return len(nbformat.writes(nb).encode())


def test_messages_become_outputs_in_order() -> None:
    nb = notebook()
    result = display("4", kind="execute_result", execution_count=2)
    outputs = NotebookOutputs(nb).cell(0)
    fill(outputs, stream("a"), stream("b\n"), stream("e", "stderr"), display("3"), stream("c"), result, error())
    assert texts(nb.cells[0]) == ["ab\n", "e", "3", "c", "4", "ValueError"]
    assert outputs.problem == ""
    nbformat.validate(nb)


def test_displays_are_updated_also_in_other_cells() -> None:
    nb = notebook(2)
    outputs = NotebookOutputs(nb)
    fill(outputs.cell(0), display("1", "one"), display("2", "two"))
    fill(outputs.cell(1), display("3", "one"), display("4", "two", "update_display_data"))
    assert [texts(cell) for cell in nb.cells] == [["3", "4"], ["3"]]


def test_clearing() -> None:
    nb = notebook()
    outputs = NotebookOutputs(nb).cell(0)
    fill(outputs, stream("gone"), clear(), stream("seen"), clear(wait=True))
    assert texts(nb.cells[0]) == ["seen"]
    fill(outputs, stream("next"))
    assert texts(nb.cells[0]) == ["next"]


def test_a_cell_that_waits_to_clear_does_not_clear_the_next() -> None:
    nb = notebook(2)
    outputs = NotebookOutputs(nb)
    fill(outputs.cell(0), stream("first"), clear(wait=True))
    fill(outputs.cell(1), stream("a"), display("b"))
    assert [texts(cell) for cell in nb.cells] == [["first"], ["a", "b"]]


@pytest.mark.parametrize("piece", ["x" * 1000, "é" * 1000, "x\n", "x" * (3 * MAX_OUTPUT)])
def test_printed_text_is_cut(piece: str) -> None:
    nb = notebook()
    outputs = NotebookOutputs(nb).cell(0)
    fill(outputs, *[stream(piece)] * (2 * MAX_OUTPUT // len(piece) + 1), error())
    text, name = texts(nb.cells[0])
    assert text.endswith(TRUNCATED)
    assert len(text.encode()) == pytest.approx(MAX_OUTPUT + len(TRUNCATED.encode()), abs=2)
    assert name == "ValueError"
    assert outputs.problem == ""


def test_displays_are_cut() -> None:
    nb = notebook()
    fill(NotebookOutputs(nb).cell(0), *[display("x" * 10_000)] * 200, stream("more"), error("E" * MAX_OUTPUT))
    assert texts(nb.cells[0])[-1] == TRUNCATED
    assert 0.9 * MAX_OUTPUT < size(nb) < 1.1 * MAX_OUTPUT


def test_one_error_is_kept_behind_a_cut_and_no_flood_of_them() -> None:
    nb = notebook()
    fill(NotebookOutputs(nb).cell(0), stream("x" * 2 * MAX_OUTPUT), *[error()] * 1000)
    assert texts(nb.cells[0])[1:] == ["ValueError"]


def test_what_was_cleared_does_not_count() -> None:
    nb = notebook()
    frames = [message for number in range(30) for message in (clear(wait=True), display(f"{number} " + "x" * 100_000))]
    fill(NotebookOutputs(nb).cell(0), *frames)
    assert [text[:3] for text in texts(nb.cells[0])] == ["29 "]


def test_one_update_of_many_displays_is_bounded() -> None:
    """One message that 5,000 outputs take up would make gigabytes of one."""
    nb = notebook(2)
    outputs = NotebookOutputs(nb)
    fill(outputs.cell(0), *[display("x", "same")] * 5000)
    fill(outputs.cell(1), display("x" * (MAX_OUTPUT // 2), "same", "update_display_data"))
    assert size(nb) < 3 * MAX_OUTPUT
    assert texts(nb.cells[1]) == [TRUNCATED]


def test_many_updates_in_other_cells_are_bounded_whatever_is_cleared() -> None:
    nb = notebook(2)
    outputs = NotebookOutputs(nb)
    ids = [str(number) for number in range(20)]
    fill(outputs.cell(0), *[display("x", display_id) for display_id in ids for _ in range(30)])
    assert len(nb.cells[0].outputs) == 600
    before = size(nb)
    updates = [display("x" * 30_000, display_id, "update_display_data") for display_id in ids]
    fill(outputs.cell(1), *[message for update in updates for message in (update, clear())])
    assert size(nb) < before + 2 * MAX_OUTPUT


DEEP: Any = "x"
for _ in range(95):
    DEEP = [DEEP]

MALFORMED = {
    "a number for text": display(5),
    "a list of numbers": display([1]),
    "no number of the execution": display("x", kind="execute_result"),
    "a text for it": display("x", kind="execute_result", execution_count="1"),
    "a name that no stream has": stream("x", "stdin"),
    "half a character": display("\ud800"),
    "not a number": {
        "msg_type": "display_data",
        "content": {"data": {"application/json": float("nan")}, "metadata": {}},
    },
    "a display id that is a list": display("x", ["a"]),
    "a transient that is a list": display("x", transient=[1]),
    "an update that is malformed": display(5, "known", "update_display_data"),
    "a traceback of numbers": {"msg_type": "error", "content": {"ename": "E", "evalue": "", "traceback": [1]}},
    "a kind that a notebook has not": {"msg_type": "comm_open", "content": {}},
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_content_is_a_problem_of_the_cell(what: str) -> None:
    nb = notebook(2)
    notebook_outputs = NotebookOutputs(nb)
    fill(notebook_outputs.cell(0), display("known", "known"))
    outputs = fill(notebook_outputs.cell(1), stream("before"), MALFORMED[what], stream("after"))
    assert outputs.problem
    assert "\n" not in outputs.problem
    assert texts(nb.cells[0]) == ["known"]
    assert "".join(texts(nb.cells[1])) == "beforeafter"
    assert size(nb)


@pytest.mark.parametrize(
    "message",
    [
        stream("half \ud800"),
        display("x", 5),
        display("x", "unknown", "update_display_data"),
        display("x", more="unknown"),
        {"msg_type": "display_data", "content": {"data": {"application/json": DEEP}, "metadata": {}}},
        {
            "msg_type": "display_data",
            "content": {"data": {"application/geo+json": {"a": 1}}, "metadata": {"text/plain": {"deep": [1]}}},
        },
    ],
)
def test_odd_content_makes_a_valid_notebook(message: dict[str, Any]) -> None:
    nb = notebook()
    assert fill(NotebookOutputs(nb).cell(0), message).problem == ""
    assert nbformat.reads(nbformat.writes(nb), 4)
    nbformat.writes(nb).encode()
    assert size(nb)


def test_an_error_that_no_message_tells_of() -> None:
    nb = notebook()
    outputs = NotebookOutputs(nb).cell(0)
    outputs.add(stream("held back"))
    outputs.error("CellTimeoutError", "too long")
    assert texts(nb.cells[0]) == ["held back", "CellTimeoutError"]
    assert nb.cells[0].outputs[1].traceback == ["CellTimeoutError: too long"]
