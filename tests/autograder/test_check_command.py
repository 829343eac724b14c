"""`autograder check` as a student meets it: the words, the errors, the exit status, and how long it takes."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from typer.testing import CliRunner, Result

from autograder.cli import app

COMMAND = Path(sys.executable).with_name("autograder")

ACCEPTANCE = '''
import os
from pathlib import Path

from autograder.acceptance import NotRun, criterion, equal

with Path("run_by").open("a") as file:
    file.write(f"{os.getpid()}\\n")

@criterion(hint="Twice, not squared.")
def doubles(work, rng):
    """`double(x)` is 2 x.

    More on that.
    """
    equal(work.call("double", 3), 6, "The square?")

@criterion(hint=("Ask the other.", "And add one."))
def both(work, rng):
    """`outer(x)` is one more than `double(x)`; it is a sentence that is longer than a line of a terminal is wide."""
    for x in range(4):
        equal(work.call("outer", x), work.call("double", x) + 1)

@criterion(hint="Halves.")
def partly(work, rng):
    """`double(x)` is a number; this is what half of the points are for."""
    return 1.0 if work.call("double", 2) == 4 else 0.5

@criterion(hint="")
def needs_more(work, rng):
    """Cannot be run here."""
    raise NotRun("no GPU")
'''

DOUBLE = "def double(x):\n    return 2 * x"
OUTER = "def outer(x):\n    return double(x) + 1"
STUB = 'def outer(x):\n    """Returns one more than the double."""\n    raise NotImplementedError'
CHECKS = {
    "doubles": 'check("doubles", double)',
    "both": 'check("both", double, outer)',
    "partly": 'check("partly", double)',
    "needs-more": 'check("needs-more", double)',
}
RUNNABLE = ACCEPTANCE.partition('@criterion(hint="")')[0]
RUNNABLE_CHECKS = {criterion: source for criterion, source in CHECKS.items() if criterion != "needs-more"}
JUDGE = "The grade comes from a judge, which runs these checks with other inputs."


def graded(criterion: str, source: str, points: int = 3) -> Any:
    about = {"grade": True, "grade_id": criterion, "points": points, "locked": True, "solution": False, "task": False}
    return new_code_cell(source, metadata={"nbgrader": {**about, "schema_version": 3}})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "acceptance.py").write_text(ACCEPTANCE)
    return tmp_path


@pytest.fixture
def save(folder: Path) -> Callable[..., Path]:
    def save(*answers: str, checks: dict[str, str] = CHECKS) -> Path:
        cells = [new_code_cell("from autograder.check import check"), new_code_cell(" ")]
        cells += [new_code_cell(answer) for answer in answers]
        cells += [graded(criterion, source) for criterion, source in checks.items()]
        path = folder / "exercise.ipynb"
        nbformat.write(new_notebook(cells=cells), path)
        return path

    return save


def invoke(path: Path, *options: str, **variables: str) -> Result:
    """Runs the command; the notebook must come out of it as it was."""
    before = path.read_bytes() if path.is_file() else None
    result = CliRunner().invoke(app, ["check", str(path), *options], env={"COLUMNS": "80", **variables})
    assert before is None or path.read_bytes() == before
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def run(path: Path) -> tuple[int, dict[str, Any]]:
    result = invoke(path, "--json")
    return result.exit_code, json.loads(result.stdout)


def kinds(report: dict[str, Any]) -> dict[str, str]:
    return {verdict["criterion"]: verdict["kind"] for verdict in report["verdicts"]}


def test_the_report(save: Callable[..., Path]) -> None:
    path = save(DOUBLE, STUB)
    status, report = run(path)
    assert status == 1
    assert kinds(report) == {
        "doubles": "passed",
        "both": "not written yet",
        "partly": "passed",
        "needs-more": "not run",
    }
    states = [verdict["state"] for verdict in report["verdicts"]]
    assert states == ["passed", "failed", "passed", "not run"]
    assert [verdict["message"] for verdict in report["verdicts"]][2:] == ["", "no GPU"]
    assert report["verdicts"][0]["asks"] == "`double(x)` is 2 x."
    assert all(verdict["seconds"] > 0 for verdict in report["verdicts"])
    assert (report["passed"], report["points"], report["max_points"], report["cells"]) == (False, 6, 12, [])
    assert {item.name for item in path.parent.iterdir()} == {"acceptance.py", "exercise.ipynb", "run_by"}


def test_help_documents_the_json(save: Callable[..., Path]) -> None:
    shown = CliRunner().invoke(app, ["check", "--help"]).stdout
    _, report = run(save("1 / 0"))
    for name in (*report, *report["verdicts"][0], *report["cells"][0]):
        assert f"      {name}: " in shown


def test_the_words(save: Callable[..., Path]) -> None:
    shown = invoke(save("def double(x):\n    return x * x", "def outer(x):\n    return double(x)"))
    assert shown.exit_code == 1
    assert shown.stdout.splitlines() == [
        "✗ doubles  0 of 3 points",
        "    `double(x)` is 2 x.",
        "    expected 6, got 9",
        "    perhaps: The square?",
        "    hint: Twice, not squared.",
        "    asked: double(3) → 9",
        "✗ both  0 of 3 points",
        "    `outer(x)` is one more than `double(x)`; it is a sentence that is longer",
        "    than a line of a terminal is wide.",
        "    expected 1, got 0",
        "    hint: Ask the other.",
        "    asked: outer(0) → 0",
        "    asked: double(0) → 0",
        "✓ partly  3 of 3 points",
        "    `double(x)` is a number; this is what half of the points are for.",
        "– needs-more  0 of 3 points, not run",
        "    Cannot be run here.",
        "    no GPU",
        "",
        "3 of 12 points hold. Next: doubles, the first that does not hold.",
        JUDGE,
    ]


def test_a_stub_is_not_written_yet(save: Callable[..., Path]) -> None:
    shown = invoke(save(DOUBLE, STUB, "outer(1)  # meets the stub, which is no error of this cell"))
    assert shown.stdout.splitlines()[2:6] == [
        "– both  0 of 3 points, not written yet: outer",
        "    `outer(x)` is one more than `double(x)`; it is a sentence that is longer",
        "    than a line of a terminal is wide.",
        "✓ partly  3 of 3 points",
    ]
    assert shown.stdout.splitlines()[-2:] == ["6 of 12 points hold. Next: write what both asks for.", JUDGE]
    assert "code cell" not in shown.stdout


def test_a_library_that_has_not_implemented_something_is_no_stub(save: Callable[..., Path]) -> None:
    library = "exec('def missing(): raise NotImplementedError(\\'not for Half\\')', library := {})"
    _, report = run(save(DOUBLE, f"{library}\ndef outer(x):\n    return library['missing']()"))
    assert kinds(report)["both"] == "failed"
    assert "NotImplementedError: not for Half" in report["verdicts"][1]["message"]


def test_part_of_the_points(save: Callable[..., Path]) -> None:
    path = save("def double(x):\n    return x + 3", OUTER)
    assert "✗ partly  1.5 of 3 points\n    `double(x)` is a number" in invoke(path).stdout
    verdict = run(path)[1]["verdicts"][2]
    assert (verdict["fraction"], verdict["points"], verdict["message"], verdict["hint"]) == (0.5, 1.5, "", "Halves.")


def test_what_was_measured_is_shown_where_it_holds_and_where_it_does_not(save: Callable[..., Path]) -> None:
    checks = {
        **CHECKS,
        "doubles": "print('✓ doubles\\n  measured: 3 of 4\\n  measured: at $2')",
        "both": "raise CheckFailed('both: no\\n  measured: 1 of 4\\n  hint: look')",
    }
    path = save(DOUBLE, "from autograder.check import CheckFailed", checks=checks)
    first, second = run(path)[1]["verdicts"][:2]
    assert (first["state"], first["measured"]) == ("passed", ["3 of 4", "at $2"])
    assert (second["measured"], second["hint"], second["message"]) == (["1 of 4"], "look", "no")
    shown = invoke(path).stdout
    assert "    measured: 3 of 4\n    measured: at $2\n" in shown
    assert "    no\n    measured: 1 of 4\n" in shown


def test_texts_of_several_lines_stay_whole(save: Callable[..., Path]) -> None:
    checks = {**CHECKS, "both": "raise CheckFailed('both: one\\n two\\n  asked: a\\n b\\n  asked: c\\n  hint: d\\n e')"}
    _, report = run(save(DOUBLE, "from autograder.check import CheckFailed", checks=checks))
    verdict = report["verdicts"][1]
    assert (verdict["message"], verdict["evidence"], verdict["hint"]) == ("one\n two", ["a\n b", "c"], "d\n e")


def test_all_hold(save: Callable[..., Path], folder: Path) -> None:
    shown = invoke(save(DOUBLE, OUTER))
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[-3:] == [
        "9 of 12 points hold, and nothing failed. What this machine cannot run is left to",
        "the judge.",
        JUDGE,
    ]
    (folder / "acceptance.py").write_text(RUNNABLE)
    path = save(DOUBLE, OUTER, checks=RUNNABLE_CHECKS)
    notebook = nbformat.read(path, 4)
    essay = new_markdown_cell("Why.", metadata=graded("why", "", 4).metadata)
    essay.metadata.nbgrader.update(solution=True, locked=False)
    notebook.cells.append(essay)
    nbformat.write(notebook, path)
    shown = invoke(path)
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[-3:] == [
        "All 9 points hold. Well done!",
        JUDGE,
        "4 points more come from a person, who reads your answers.",
    ]


@pytest.mark.parametrize("columns", [40, 80])
def test_it_is_no_wider_than_the_terminal(save: Callable[..., Path], columns: int) -> None:
    path = save("def double(x):\n    return 'many words ' * 30", "def outer(x:\n    return 1  # " + "long " * 30)
    lines = invoke(path, COLUMNS=str(columns)).stdout.splitlines()
    assert columns - 12 < max(map(len, lines)) <= columns
    assert all(line == line.rstrip() for line in lines if line.startswith("    "))


def test_colours_are_for_terminals(save: Callable[..., Path]) -> None:
    path = save(DOUBLE, STUB)
    assert "\x1b" not in invoke(path).output
    assert "\x1b[32m✓ doubles\x1b[0m" in invoke(path, FORCE_COLOR="1").output


def test_a_stream_that_takes_no_marks(save: Callable[..., Path]) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run([COMMAND, "check", save(DOUBLE, STUB)], capture_output=True, check=False, env=environment)
    assert b"? doubles  3 of 3 points" in done.stdout
    assert done.stderr == b""


def test_what_libraries_warn_of_is_not_shown(save: Callable[..., Path]) -> None:
    path = save(DOUBLE, OUTER)
    notebook = json.loads(path.read_text())
    for one in notebook["cells"]:
        del one["id"]  # nbformat warns of it
    path.write_text(json.dumps(notebook))
    assert subprocess.run([COMMAND, "check", path], capture_output=True, check=True).stderr == b""


@pytest.mark.parametrize(
    ("answer", "message", "advice"),
    [
        ("def double(x)\n    return 2 * x", "SyntaxError: expected ':' (line 1: def double(x))", "Python cannot read"),
        ("def double(x):\n", "SyntaxError: incomplete input (line 1: def double(x):)", "Python cannot read"),
        ("import torhc", "ModuleNotFoundError: No module named 'torhc' (line 1: import torhc)", "Is the name right?"),
        (
            "x = 1\nquadruple(x)",
            "NameError: name 'quadruple' is not defined (line 2: quadruple(x))",
            "Cells are run from",
        ),
        ("[].pop()", "IndexError: pop from empty list (line 1: [].pop())", "In JupyterLab"),
        ("raise SystemExit", "SystemExit", "Remove what ends"),
    ],
)
def test_a_cell_that_raises(save: Callable[..., Path], answer: str, message: str, advice: str) -> None:
    path = save(answer)
    status, report = run(path)
    assert status == 1
    (cell,) = report["cells"]
    assert (cell["cell"], cell["first_line"], cell["message"]) == (2, answer.splitlines()[0], message)
    assert cell["advice"].startswith(advice)
    assert set(kinds(report).values()) == {"not checked"}
    assert report["verdicts"][0]["message"] == "its check stopped: NameError: name 'double' is not defined"


def test_the_words_of_a_cell_that_raises(save: Callable[..., Path]) -> None:
    lines = invoke(save("import torhc\n" + DOUBLE, OUTER)).stdout.splitlines()
    assert lines[-6:] == [
        "✗ code cell 2, which begins with `import torhc`",
        "    ModuleNotFoundError: No module named 'torhc' (line 1: import torhc)",
        "    Is the name right? The exercise needs only what `make setup` installs.",
        "",
        "0 of 12 points hold. Next: mend code cell 2, then see to doubles.",
        JUDGE,
    ]


def test_a_cell_that_shows_an_error_on_purpose(save: Callable[..., Path]) -> None:
    path = save(DOUBLE, OUTER, "1 / 0")
    notebook = nbformat.read(path, 4)
    notebook.cells[4].metadata.tags = ["raises-exception"]
    nbformat.write(notebook, path)
    assert run(path)[1]["cells"] == []


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ("import os; os._exit(1)", "the kernel died"),
        ("quit()", "it asked the kernel to exit"),
        ("while True: pass", "it did not end in 2 s"),
    ],
)
def test_a_cell_that_ends_the_run(
    save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, ends: str, message: str
) -> None:
    monkeypatch.setattr("autograder.check_notebook.CELL_TIMEOUT", 2)
    status, report = run(save(DOUBLE, ends, OUTER))
    assert status == 1
    assert [(cell["cell"], cell["message"]) for cell in report["cells"]] == [(3, message)]
    assert {verdict["message"] for verdict in report["verdicts"]} == {"its check was not run to its end"}


def test_work_that_ends_the_kernel_when_it_is_asked(save: Callable[..., Path]) -> None:
    _, report = run(save(DOUBLE, "def outer(x): import os; os._exit(1)"))
    assert list(kinds(report).values()) == ["passed", "not checked", "not checked", "not checked"]
    assert report["verdicts"][1]["message"] == "its check was not run to its end"
    assert [cell["first_line"] for cell in report["cells"]] == [CHECKS["both"]]


@pytest.mark.parametrize(("source", "what"), [("pass", "was changed"), ("", "is empty")])
def test_a_check_cell_that_does_not_check(save: Callable[..., Path], source: str, what: str) -> None:
    status, report = run(save(DOUBLE, OUTER, checks={**CHECKS, "both": source}))
    assert status == 1
    assert report["verdicts"][1]["kind"] == "not checked"
    assert report["verdicts"][1]["message"] == f"its check cell {what}: copy it from a fresh copy of the exercise"


def test_what_is_printed_beside_a_check_does_no_harm(save: Callable[..., Path]) -> None:
    _, report = run(save("def double(x):\n    print('– ', end='')\n    return 2 * x", OUTER))
    assert list(kinds(report).values()) == ["passed", "passed", "passed", "not run"]


def test_check_cells_that_are_missing(save: Callable[..., Path]) -> None:
    path = save(DOUBLE, OUTER, checks={"doubles": CHECKS["doubles"], "needs-more": CHECKS["needs-more"]})
    shown = invoke(path)
    assert shown.exit_code == 1
    lines = shown.stdout.splitlines()
    assert lines[2:3] == ["✗ both, not checked"]
    assert lines[-4:-1] == [
        "Check cells are missing: both, partly. Copy them from a fresh copy of the",
        "exercise.",
        "3 of 6 points hold. Next: both, the first that does not hold.",
    ]
    assert run(path)[1]["missing"] == ["both", "partly"]


def test_of_a_check_cell_that_is_there_twice_the_first_counts(save: Callable[..., Path]) -> None:
    path = save(DOUBLE, OUTER)
    notebook = nbformat.read(path, 4)
    notebook.cells.append(graded("doubles", "pass"))
    nbformat.write(notebook, path)
    assert kinds(run(path)[1])["doubles"] == "passed"


def damaged(notebook: dict[str, Any], **changes: Any) -> str:
    return json.dumps({**notebook, **changes})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda notebook: "{", "cannot be read as a notebook (NotJSONError)"),
        (lambda notebook: "", "cannot be read as a notebook (NotJSONError)"),
        (lambda notebook: "[" * 100_000, "cannot be read as a notebook"),
        (lambda notebook: "[]", "cannot be read as a notebook"),
        (lambda notebook: "{}", "cannot be read as a notebook"),
        (lambda notebook: damaged(notebook, cells=None), "cannot be read as a notebook"),
        (lambda notebook: damaged(notebook, nbformat=5), "cannot be read as a notebook"),
        (
            lambda notebook: damaged(notebook, cells=[]),
            "has no check cells (doubles, both, partly, needs-more): copy them",
        ),
        (
            lambda notebook: json.dumps(notebook).replace('"points": 3', '"points": null'),
            "check cells of exercise.ipynb",
        ),
    ],
)
def test_files_that_are_no_notebook_of_an_exercise(
    save: Callable[..., Path], spoil: Callable[[dict[str, Any]], str], message: str
) -> None:
    path = save(DOUBLE)
    path.write_text(spoil(json.loads(path.read_text())))
    is_refused(invoke(path), message)


def is_refused(shown: Result, message: str) -> None:
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert message in shown.stderr
    assert len(shown.stderr.splitlines()) == 1


def test_a_path_that_is_no_file(folder: Path) -> None:
    is_refused(invoke(folder / "missing.ipynb"), "missing.ipynb does not exist")
    is_refused(invoke(folder), f"{folder.name} is a folder: name the notebook in it")


def test_a_notebook_of_another_exercise(save: Callable[..., Path]) -> None:
    message = "of another exercise: it checks adds-up; acceptance.py beside it has doubles, both, partly, needs-more"
    is_refused(invoke(save(DOUBLE, checks={"adds-up": "1"})), message)


@pytest.mark.parametrize(
    ("acceptance", "message"),
    [
        (None, "acceptance.py is missing beside exercise.ipynb: put the notebook into its exercise's folder"),
        ("def (", "acceptance.py cannot be read (invalid syntax (acceptance.py, line 1)): take it from a fresh copy"),
        ("x = 1", "acceptance.py has no criteria: take it from a fresh copy"),
    ],
)
def test_a_folder_that_is_no_exercise(save: Callable[..., Path], acceptance: str | None, message: str) -> None:
    path = save(DOUBLE)
    (path.parent / "acceptance.py").unlink()
    if acceptance is not None:
        (path.parent / "acceptance.py").write_text(acceptance)
    is_refused(invoke(path), message)


def test_a_full_disk(save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = save(DOUBLE)
    monkeypatch.setattr("tempfile.TemporaryDirectory", full)
    is_refused(invoke(path), "No space left on device: is there room for temporary files? Your notebook is as it was")


def test_a_kernel_that_does_not_start(
    save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    broken = tmp_path_factory.mktemp("broken")
    (broken / "ipykernel_launcher.py").write_text("raise SystemExit('no')")
    monkeypatch.setenv("PYTHONPATH", str(broken))
    is_refused(invoke(save(DOUBLE)), "exercise.ipynb cannot be executed (RuntimeError: Kernel died")


def test_ctrl_c(save: Callable[..., Path], folder: Path) -> None:
    path = save(DOUBLE, "open('begun', 'w').close()\nimport time; time.sleep(300)")
    command = subprocess.Popen([COMMAND, "check", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (folder / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    kernels = psutil.Process(command.pid).children(recursive=True)
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=60)
    assert (command.returncode, out) == (130, "")
    shown = "code cell 3 of 7: open('begun', 'w').close()"
    assert err == f"autograder: interrupted, and your notebook is as it was. Running was {shown}\n"
    assert kernels
    assert not any(kernel.is_running() for kernel in kernels)


def test_only_the_kernel_loads_what_the_criteria_need(save: Callable[..., Path], folder: Path) -> None:
    """A library such as torch takes seconds to import: once is enough."""
    assert run(save(DOUBLE, OUTER))[0] == 0
    processes = set((folder / "run_by").read_text().split())
    assert len(processes) == 1
    assert str(os.getpid()) not in processes


def seconds(*command: object) -> float:
    began = time.monotonic()
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return time.monotonic() - began


def test_the_verdict_is_there_within_ten_seconds(save: Callable[..., Path], folder: Path) -> None:
    """Of an exercise with torch and without a model; on a slow machine within three times what its imports take."""
    (folder / "acceptance.py").write_text("import torch\n" + RUNNABLE)
    path = save("import torch\n" + DOUBLE, OUTER, checks=RUNNABLE_CHECKS)
    imports = seconds(sys.executable, "-c", "import torch, papermill, ipykernel.kernelapp")
    assert any(seconds(COMMAND, "check", path) < max(10, 3 * imports) for _ in range(3))
