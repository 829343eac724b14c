"""A student's own check: in the notebook, and of a notebook from the command line."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from typer.testing import CliRunner

from autograder.check import IN_WORKER, CheckFailed, check
from autograder.cli import app

ACCEPTANCE = '''
from autograder.acceptance import NotRun, criterion, equal

@criterion(hint=("Twice, not squared.", "x + x"))
def doubles(work, rng):
    """`double(x)` is 2 x."""
    equal(work.call("double", 3), 6, "The square?")

@criterion(hint="Ask the other.")
def both(work, rng):
    """`outer` uses `double`."""
    equal(work.call("outer", 3), work.call("double", 3) + 1)

@criterion(hint="")
def needs_more(work, rng):
    """Cannot be run."""
    raise NotRun("no GPU")
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "acceptance.py").write_text(ACCEPTANCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("autograder.check._failed", {})
    return tmp_path


def double(x: int) -> int:
    return 2 * x


def outer(x: int) -> int:
    return double(x) + 1


@pytest.mark.usefixtures("folder")
def test_a_check_prints_or_raises(capsys: pytest.CaptureFixture[str]) -> None:
    check("doubles", double)
    check("both", outer, double)
    check("needs-more", double)
    assert capsys.readouterr().out == "✓ doubles\n✓ both\n– needs-more was not run: no GPU\n"
    with pytest.raises(CheckFailed) as caught:
        check("doubles", lambda x: x * x)
    lines = ["doubles: expected 6, got 9", "  asked: double(3) → 9", "  perhaps: The square?"]
    assert str(caught.value).splitlines() == [*lines, "  hint: Twice, not squared."]


@pytest.mark.usefixtures("folder")
def test_each_check_that_fails_again_shows_the_next_hint() -> None:
    def hint() -> str:
        with pytest.raises(CheckFailed) as caught:
            check("doubles", lambda x: x * x)
        return str(caught.value).splitlines()[-1]

    assert [hint() for _ in range(3)] == ["  hint: Twice, not squared.", "  hint: x + x", "  hint: x + x"]
    check("doubles", double)
    assert hint() == "  hint: Twice, not squared."


@pytest.mark.usefixtures("folder")
def test_one_object_stands_for_whatever_is_asked_for_and_several_have_names() -> None:
    check("doubles", lambda x: 2 * x)
    with pytest.raises(CheckFailed, match="does not define double"):
        check("doubles", outer, len)


@pytest.mark.usefixtures("folder")
def test_a_criterion_that_does_not_exist() -> None:
    with pytest.raises(LookupError, match="it has doubles, both, needs-more"):
        check("double", double)


def test_a_folder_without_criteria(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match=r"acceptance\.py is missing"):
        check("doubles", double)


def test_in_a_worker_a_check_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(IN_WORKER, "1")
    check("no such criterion", None)


def test_in_a_worker_importing_it_brings_nothing_of_the_judge_along() -> None:
    code = "import sys, autograder.check; print([name for name in sys.modules if name.startswith('autograder')])"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, IN_WORKER: "1"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['autograder', 'autograder.check']"


def cell(criterion: str, source: str) -> Any:
    about = {"grade": True, "grade_id": criterion, "points": 3, "locked": True, "solution": False, "task": False}
    return new_code_cell(source, metadata={"nbgrader": {**about, "schema_version": 3}})


@pytest.fixture
def save(folder: Path) -> Callable[..., Path]:
    def save(answer: str, *more: Any) -> Path:
        cells = [
            new_code_cell("from autograder.check import check"),
            new_code_cell(answer),
            cell("doubles", 'check("doubles", double)'),
            cell("both", 'check("both", double, lambda x: x)'),
            cell("needs-more", 'check("needs-more", double)'),
            *more,
        ]
        path = folder / "exercise.ipynb"
        nbformat.write(new_notebook(cells=cells), path)
        return path

    return save


def run(path: Path) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, ["check", str(path), "--json"])
    return result.exit_code, json.loads(result.stdout)


def test_checking_a_notebook(save: Callable[..., Path]) -> None:
    path = save("def double(x): return 2 * x")
    before = path.read_bytes()
    status, report = run(path)
    states = {verdict["criterion"]: verdict["state"] for verdict in report["verdicts"]}
    assert states == {"doubles": "passed", "both": "failed", "needs-more": "not run"}
    assert status == 1
    assert not report["passed"]
    assert (report["points"], report["max_points"]) == (3, 9)
    assert "does not define outer" in report["verdicts"][1]["message"]
    assert path.read_bytes() == before
    assert sorted(item.name for item in path.parent.iterdir() if item.name[0] != ".") == [
        "acceptance.py",
        "exercise.ipynb",
    ]


def test_an_error_in_one_cell_does_not_hide_the_others(save: Callable[..., Path]) -> None:
    status, report = run(save("1 / 0\ndouble = None"))
    assert status == 1
    assert "NameError" in report["verdicts"][0]["message"]
    assert report["verdicts"][2]["state"] == "failed", "the name is missing there too"


def test_a_kernel_that_dies(save: Callable[..., Path]) -> None:
    status, report = run(save("import os; os._exit(1)"))
    assert status == 1
    assert all(verdict["message"] == "its check was not run: the kernel died" for verdict in report["verdicts"])


def test_a_check_cell_that_is_missing(save: Callable[..., Path]) -> None:
    path = save("def double(x): return 2 * x")
    notebook = nbformat.read(path, 4)
    del notebook.cells[2]
    nbformat.write(notebook, path)
    status, report = run(path)
    assert status == 1
    assert "its check cell is missing" in report["verdicts"][0]["message"]


def test_files_that_are_no_notebook_of_an_exercise(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = folder / "broken.ipynb"
    path.write_text("{")
    invoke = CliRunner().invoke
    assert invoke(app, ["check", str(path)]).exit_code == 2
    assert invoke(app, ["check", str(folder / "missing.ipynb")]).exit_code == 2
    alone = tmp_path_factory.mktemp("alone") / "a.ipynb"
    nbformat.write(new_notebook(), alone)
    result = invoke(app, ["check", str(alone)])
    assert result.exit_code == 2
    assert "acceptance.py is missing" in result.output
