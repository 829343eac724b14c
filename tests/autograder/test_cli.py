"""The command as somebody at a terminal or a program meets it: streams, exit status, signals."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import psutil
import pytest

from tests.autograder.book import Book, load, store

COMMAND = Path(sys.executable).with_name("autograder")
STARTS = """
import subprocess, sys, tempfile, time
tempfile.mkdtemp()
subprocess.Popen(["sleep", "300"], start_new_session=True)
subprocess.run([sys.executable, "-c", "import subprocess; subprocess.Popen(['sleep', '300'], start_new_session=True)"])
print("started", flush=True)
open("../started", "w").close()
"""


def autograder(book: Book, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *arguments], cwd=book.root, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("argument", "shown"), [("--help", "notebooks"), ("--version", "0."), ("run --help", "JSON")])
def test_help_loads_nothing_heavy(argument: str, shown: str) -> None:
    call = "app(sys.argv[1].split(), standalone_mode=False)"
    code = f"import sys; from autograder.cli import app; {call}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, argument], capture_output=True, text=True, check=True)
    *text, modules = done.stdout.splitlines()
    assert shown in "\n".join(text)
    heavy = {"papermill", "nbformat", "jupytext", "nbclient", "rich", "psutil", "torch"}
    assert heavy & set(modules.split()) == set()


def test_help_of_run_documents_the_json(book: Book) -> None:
    shown = autograder(book, "run", "--help").stdout
    book.chapter("ch01", "1 / 0")
    report = json.loads(autograder(book, "run", "--json").stdout)
    chapter = report["chapters"][0]
    for name in (*report, *chapter, *chapter["cells"][0], *chapter["failure"]):
        assert f"      {name}: " in shown


def test_run_prints_a_table_and_progress(book: Book) -> None:
    book.chapter("ch01", "x = 1", "print('output of the cell')")
    done = autograder(book, "run")
    assert done.returncode == 0
    assert "ch01" in done.stdout
    assert "Slowest cells" in done.stdout
    assert "cell 2 of 2: print('output of the cell')" in done.stderr
    assert "passed" in done.stderr.splitlines()[-1]
    assert len(done.stderr.splitlines()) == 4  # nothing from papermill, nbclient or the kernel


def test_json_is_one_object_alone_on_stdout(book: Book) -> None:
    book.chapter("ch01", "import os; os.write(1, b'x'); os.system('echo y'); print('z')")
    book.chapter("ch02", "raise ValueError('bad luck')")
    done = autograder(book, "run", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert [chapter["chapter"] for chapter in report["chapters"]] == ["ch01", "ch02"]
    assert report["passed"] is False
    assert "ch02, cell 1 of 1: ValueError: bad luck" in done.stderr
    assert "Traceback" in done.stderr
    assert report["chapters"][1]["executed_copy"] in done.stderr


def test_noise_of_libraries_is_shown_below_the_failure_only(book: Book) -> None:
    book.chapter("ch01", "import os; os._exit(3)")
    lines = autograder(book, "run").stderr.splitlines()
    failure = lines.index("ch01, cell 1 of 1: the kernel died (exit status 3)")
    assert len(lines[:failure]) == 3
    details = lines[failure + 1 :]
    assert all(line.startswith("    ") for line in details)
    assert "Kernel died while waiting" in details[0]  # nbclient's log


def test_notebook_that_is_not_json(book: Book) -> None:
    source = book.chapter("ch01", "x = 1")
    source.with_suffix(".ipynb").write_text("<<<<<<< HEAD\n")
    for arguments in (["run"], ["run", "-p", "SEED=1"], ["notebooks"], ["notebooks", "--from", "ipynb"]):
        done = autograder(book, *arguments)
        assert done.returncode == 1
        assert "ch01.ipynb is not JSON" in done.stderr
        assert "Traceback" not in done.stderr
    assert source.with_suffix(".ipynb").read_text() == "<<<<<<< HEAD\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "ch09"], "'ch09' is no chapter: ch01"),
        (["run", "-p", "SPEED=1"], "ch01: has no parameter 'SPEED'; it has: none"),
        (["run", "--timeout", "0"], "--timeout"),
        (["run", "--no-such"], "--no-such"),
        (["notebooks", "--from", "md"], "--from"),
        (["notebooks", "--check", "--force"], "--check"),
        (["no-such"], "no-such"),
    ],
)
def test_bad_usage(book: Book, arguments: list[str], message: str) -> None:
    book.chapter("ch01", "x = 1")
    done = autograder(book, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_copies_that_cannot_be_written(book: Book) -> None:
    book.chapter("ch01", "x = 1")
    (book.root / "build").write_text("in the way")
    done = autograder(book, "run")
    assert done.returncode == 1
    assert "build" in done.stderr
    assert "Traceback" not in done.stderr


def test_notebooks_from_source_check_edit_and_back(book: Book) -> None:
    source = book.source("ch01", "x = 1")
    room = book.root / "solutions" / "ch01_ex1_lock"
    room.mkdir(parents=True)
    (room / "ch01_ex1_lock.py").write_text("# %%\ny = 1\n")

    done = autograder(book, "notebooks", "--check")
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 2
    assert not source.with_suffix(".ipynb").exists()

    done = autograder(book, "notebooks")
    assert done.returncode == 0
    assert done.stdout.splitlines() == ["chapters/ch01: written", "solutions/ch01_ex1_lock/ch01_ex1_lock: written"]
    done = autograder(book, "notebooks", "--check")
    assert (done.returncode, done.stdout) == (0, "")

    notebook = load(source)
    notebook["cells"][0]["source"] = "x = 2"
    store(source, notebook)
    done = autograder(book, "notebooks")
    assert done.returncode == 1
    assert "FROM=ipynb" in done.stderr
    assert autograder(book, "notebooks", "--from", "ipynb").returncode == 0
    assert "x = 2" in source.read_text()
    assert autograder(book, "notebooks", "--check").returncode == 0


# --- Ctrl-C


class Started:
    """An `autograder run` in the background, whose processes can be found by a mark of our own."""

    def __init__(self, book: Book, temporary: Path) -> None:
        self.mark = uuid.uuid4().hex
        self.command = subprocess.Popen(
            [COMMAND, "run", "--json"],
            cwd=book.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TEST_MARK": self.mark, "TMPDIR": str(temporary)},
        )

    def processes(self) -> list[str]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("TEST_MARK") == self.mark and process.pid != self.command.pid:
                    found.append(process.name())
            except (psutil.Error, OSError):
                continue
        return found

    def wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert self.command.poll() is None, self.command.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def interrupt(self, number: int) -> tuple[int, str, str]:
        self.command.send_signal(number)
        out, err = self.command.communicate(timeout=60)
        return self.command.returncode, out, err


@pytest.fixture
def start(book: Book, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Started]]:
    runs: list[Started] = []
    temporary = tmp_path_factory.mktemp("t")

    def begin() -> Started:
        runs.append(Started(book, temporary))
        return runs[-1]

    yield begin
    for run in runs:
        run.command.kill()
        run.command.wait()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_in_a_cell_ends_all_and_keeps_what_was_done(
    book: Book, start: Callable[[], Started], number: signal.Signals
) -> None:
    book.chapter("ch01", STARTS, "time.sleep(300)")
    book.chapter("ch02", "x = 1")
    run = start()
    run.wait_for((book.root / "started").exists)
    assert sorted(run.processes())[-2:] == ["sleep", "sleep"]
    status, out, err = run.interrupt(number)
    assert run.processes() == []
    assert status == 128 + number
    report = json.loads(out)
    assert report["interrupted"] is True
    assert report["passed"] is False
    assert [chapter["failure"]["kind"] for chapter in report["chapters"]] == ["interrupted"]
    copy = nbformat.read(book.copies / "ch01.ipynb", as_version=4)
    assert copy.cells[0].outputs[0].text == "started\n"
    assert [path.name for path in book.copies.iterdir()] == ["ch01.ipynb"]
    assert "Traceback" not in err


def test_signal_while_the_kernel_starts(book: Book, start: Callable[[], Started]) -> None:
    book.chapter("ch01", "x = 1", "import time; time.sleep(300)")
    run = start()
    run.wait_for(lambda: bool(run.processes()))
    status, out, _ = run.interrupt(signal.SIGINT)
    assert status == 130
    assert json.loads(out)["chapters"][0]["failure"]["kind"] == "interrupted"
    assert run.processes() == []


def test_signal_before_anything_has_started(book: Book, start: Callable[[], Started]) -> None:
    book.chapter("ch01", "x = 1", "import time; time.sleep(300)")
    run = start()
    time.sleep(1)
    assert run.interrupt(signal.SIGINT)[0] == 130
    assert run.processes() == []
