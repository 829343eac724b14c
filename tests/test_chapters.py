"""Every chapter runs from top to bottom, through the command that CI and readers use."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
CHAPTERS = sorted(path.stem for path in (ROOT / "chapters").glob("ch*.py"))


def test_there_are_chapters() -> None:
    assert CHAPTERS


@pytest.mark.llm
@pytest.mark.timeout(400)
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_runs(chapter: str) -> None:
    command = Path(sys.executable).with_name("autograder")
    run = subprocess.run(
        [command, "run", chapter, "--json", "-p", "FAST=true"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    report = json.loads(run.stdout)
    (ran,) = report["chapters"]
    assert ran["failure"] is None
    assert run.returncode == 0
    assert report["passed"]
    assert report["parameters"] == {"FAST": True}
    assert len(ran["cells"]) == ran["code_cells"] > 0
    assert all(cell["completed"] for cell in ran["cells"])
    assert ran["left_behind"] == []

    executed = nbformat.read(ROOT / ran["executed_copy"], as_version=4)
    stderr = [
        output["text"]
        for cell in executed.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stderr"
    ]
    assert stderr == [], "a reader sees no noise"
