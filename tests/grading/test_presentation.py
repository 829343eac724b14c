"""Graded notebooks are fit to be shown: bounded, and without a script."""

import time
from typing import Any

import pytest
from nbconvert.filters import markdown2html
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from autograder.course import presentation
from autograder.course.presentation import CUT, make_presentable
from autograder.course.safe_html import clean
from autograder.grading import verdict_html
from autograder.judge import Verdict


def test_what_is_within_bounds_is_kept() -> None:
    cells = [new_markdown_cell("**essay**"), new_code_cell("x", outputs=[new_output("stream", text="y")])]
    notebook = new_notebook(cells=cells)
    make_presentable(notebook)
    assert [cell.source for cell in notebook.cells] == ["**essay**", "x"]
    assert notebook.cells[1].outputs[0].text == "y"


def test_bounds_hold_for_all_cells_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presentation, "LONGEST_MARKUP", 100)
    monkeypatch.setattr(presentation, "LONGEST_CODE", 50)

    def shown(data: dict[str, Any]) -> Any:
        return new_output("display_data", data=data, metadata={"text/html": {"isolated": True}})

    locked = {"nbgrader": {"locked": True}}
    notebook = new_notebook(
        cells=[
            new_markdown_cell("l" * 500, metadata=locked),
            new_markdown_cell("m" * 60),
            new_code_cell("c" * 60, outputs=[shown({"text/html": "h" * 30, "text/plain": "p" * 500})]),
            new_code_cell("d", outputs=[shown({"text/html": "i" * 30, "text/plain": "kept"})]),
            new_code_cell("", outputs=[shown({"text/html": "j" * 10})]),
        ]
    )
    make_presentable(notebook)
    cells = notebook.cells
    assert cells[0].source == "l" * 500
    assert cells[1].source == "m" * 60
    assert cells[2].source == "c" * 50 + CUT
    assert cells[3].source == CUT
    assert cells[2].outputs[0].data == {"text/html": "h" * 30, "text/plain": "p" * 500}
    assert cells[3].outputs[0].data == {"text/plain": "kept"}
    assert cells[4].outputs[0].data == {"text/html": "j" * 10}
    assert all(cell.outputs[0].metadata == {} for cell in cells[2:])


def test_verdicts_are_never_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presentation, "LONGEST_MARKUP", 1)
    verdict = new_output("execute_result", data={"text/plain": "5", "text/html": "<b>5</b>"})
    metadata = {"nbgrader": {"grade": True, "locked": True, "solution": False}}
    notebook = new_notebook(cells=[new_code_cell("check()", metadata=metadata, outputs=[verdict])])
    make_presentable(notebook)
    assert notebook.cells[0].outputs[0].data["text/html"] == "<b>5</b>"


@pytest.mark.parametrize("pattern", ["<p><b>", "|a|\n|-|\n", "<a ", "> "])
def test_the_worst_that_is_within_bounds_is_shown_in_time(pattern: str) -> None:
    size = presentation.LONGEST_MARKUP // 4  # the time grows with the square, at most
    began = time.monotonic()
    clean(markdown2html(pattern * (size // len(pattern))))
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("html", "kept"),
    [
        ("<b class='x'>bold</b>", '<b class="x">bold</b>'),
        ("<table><tr><td colspan='2'>1</td></tr></table>", None),
        ("<img src='data:image/png;base64,AAAA' width='3'>", None),
        ("<script>evil()</script>", "&lt;script&gt;evil()&lt;/script&gt;"),
        ("<img src='x' onerror='evil()'>", "<img>"),
        ("<img src='https://evil'>", "<img>"),
        ("<a href='javascript:evil()'>x</a>", "<a>x</a>"),
        ("<a href='data:text/html,evil'>x</a>", "<a>x</a>"),
        ("<a href='java\nscript:evil()'>x</a>", "<a>x</a>"),
        ("<a href='https://here'>x</a>", '<a href="https://here">x</a>'),
        ("<p style='position:fixed' id='score'>x</p>", "<p>x</p>"),
        (b"<b>bytes</b>", "<b>bytes</b>"),
    ],
)
def test_html_is_cleaned(html: Any, kept: str | None) -> None:
    cleaned = clean(html)
    if kept is None:
        assert cleaned.count("<") >= html.count("<")
    else:
        assert cleaned == kept


def test_what_was_measured_and_asked_is_text() -> None:
    verdict = Verdict("c", "failed", 0.0, measured=("9 < 10 & <b>", "second"), evidence=("f(<i>) → 1",))
    shown = verdict_html(verdict)
    assert "<pre>9 &lt; 10 &amp; &lt;b&gt;\nsecond</pre>" in shown
    assert "<pre>f(&lt;i&gt;) → 1</pre>" in shown
    assert "<pre>" not in verdict_html(Verdict("c", "passed", 1.0))
