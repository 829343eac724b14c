"""A reader opens a chapter in JupyterLab and runs all of it."""

import re
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Page, expect

from tests.browser.lab import ROOT, SHOTS, errors, open_notebook, run_all, serve_lab

SHORT = "ch08_custom_kernels"
"""Opened in each run; the others take minutes, and `tests/test_chapters.py` runs all of them without a browser."""

CHAPTERS = [
    pytest.param(path.stem, marks=[] if path.stem == SHORT else [pytest.mark.slow, pytest.mark.llm])
    for path in sorted((ROOT / "chapters").glob("ch*.ipynb"))
]


@pytest.mark.browser
@pytest.mark.timeout(400)
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_runs_in_jupyterlab_without_an_error(page: Page, tmp_path: Path, chapter: str) -> None:
    notebook = f"chapters/{chapter}.ipynb"
    code_cells = [cell for cell in nbformat.read(ROOT / notebook, 4).cells if cell.cell_type == "code"]
    before = (ROOT / notebook).read_bytes()
    with serve_lab(tmp_path) as lab:
        panel = open_notebook(page, lab.address, notebook)
        page.screenshot(path=SHOTS / f"{chapter}_opened.png")
        run_all(page, panel, timeout=300)

        counts = panel.locator(".jp-CodeCell .jp-InputPrompt").all_inner_texts()
        ran = [int(match[1]) for text in counts if (match := re.search(r"\[(\d+)\]", text))]
        figures = panel.locator(".jp-OutputArea-output img")
        figures.last.scroll_into_view_if_needed()
        page.screenshot(path=SHOTS / f"{chapter}_ran.png")
        expect(errors(panel)).to_have_count(0)
        assert ran == list(range(1, len(code_cells) + 1))
        assert figures.count() >= 3
        assert "No nbgrader_config.py file found" not in lab.log.read_text()
    assert (ROOT / notebook).read_bytes() == before, "running a chapter may not change it: nothing was saved"
