"""A reader opens a chapter in JupyterLab and runs all of it."""

import re
from pathlib import Path

import nbformat
import psutil
import pytest
from playwright.sync_api import sync_playwright

from tests.browser.lab import CHROMIUM_ARGS, ROOT, open_notebook, run_all, serve_lab
from tests.system import need

SHOTS = ROOT / "build" / "screenshots"


@pytest.mark.browser
@pytest.mark.llm
@pytest.mark.timeout(400)
def test_chapter_1_runs_in_jupyterlab_without_an_error(tmp_path: Path) -> None:
    chromium = need("chromium", "chromium")
    notebook = "chapters/ch01_agent_sandbox.ipynb"
    code_cells = [cell for cell in nbformat.read(ROOT / notebook, 4).cells if cell.cell_type == "code"]
    SHOTS.mkdir(parents=True, exist_ok=True)
    before = (ROOT / notebook).read_bytes()
    with serve_lab(tmp_path) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1100})
        page_errors: list[str] = []
        page.on("pageerror", lambda error: page_errors.append(str(error)))
        panel = open_notebook(page, address, notebook)
        page.screenshot(path=SHOTS / "ch01_opened.png")
        run_all(page, panel, timeout=300)

        counts = panel.locator(".jp-CodeCell .jp-InputPrompt").all_inner_texts()
        ran = [int(match[1]) for text in counts if (match := re.search(r"\[(\d+)\]", text))]
        errors = panel.locator(
            '.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]'
        ).all_inner_texts()
        figures = panel.locator(".jp-OutputArea-output img")
        figures.last.scroll_into_view_if_needed()
        page.screenshot(path=SHOTS / "ch01_ran.png")
        figures_drawn = figures.count()
        browser.close()
    assert errors == []
    assert ran == list(range(1, len(code_cells) + 1))
    assert figures_drawn >= 3
    assert page_errors == []
    assert (ROOT / notebook).read_bytes() == before, "running a chapter may not change it: nothing was saved"
    assert not [p.pid for p in psutil.process_iter() if str(tmp_path) in " ".join(_arguments(p))]


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
