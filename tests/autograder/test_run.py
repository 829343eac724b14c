"""Chapters in real kernels: what must pass, and each way of breaking one."""

import io
import json
import os
import signal
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from rich.console import Console

from autograder.interruption import Interruption
from autograder.parameters import ParameterError
from autograder.progress import RunProgress
from autograder.report import ChapterRun, RunReport, tables
from autograder.run import run_chapters
from tests.autograder.book import Book, load, store

PARAMETERS = '# %% tags=["parameters"]\nSEED = 0\nFAST = False'


def run(book: Book, *chapters: Path, assignments: tuple[str, ...] = (), timeout: int = 60) -> RunReport:
    with Interruption() as interruption, RunProgress(Console(quiet=True)) as progress:
        return run_chapters(
            chapters,
            assignments=assignments,
            timeout=timeout,
            copies=book.copies,
            progress=progress,
            interruption=interruption,
        )


def run_cells(book: Book, *cells: str, timeout: int = 60) -> ChapterRun:
    report = run(book, book.chapter("ch01", *cells), timeout=timeout)
    assert report.passed == report.chapters[0].passed == (report.chapters[0].failure is None)
    return report.chapters[0]


def outputs(result: ChapterRun) -> list[Any]:
    """Each code cell's outputs in the executed copy."""
    assert result.executed_copy is not None
    copy = nbformat.read(result.executed_copy, as_version=4)
    return [cell.outputs for cell in copy.cells if cell.cell_type == "code"]


def running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


# --- what passes


def test_good_chapter(book: Book, capfd: pytest.CaptureFixture[str]) -> None:
    source = book.chapter(
        "ch01",
        "# %% [markdown]\n# # Title",
        PARAMETERS,
        "import os, sys, time\nprint('to stderr', file=sys.stderr)\nos.system('echo from a program')\ntime.sleep(0.3)",
        '# %% tags=["raises-exception"]\n1 / 0',
        "%%capture\nprint('hidden')",
        "",
        "import asyncio\nawait asyncio.sleep(0)\nprint(SEED, FAST, os.path.basename(os.getcwd()))",
    )
    before = sorted(book.chapters.iterdir()), source.with_suffix(".ipynb").read_bytes()
    report = run(book, source, assignments=("SEED=7", "FAST=true"))
    result = report.chapters[0]
    assert result.failure is None
    assert report.passed
    assert not report.interrupted
    assert report.parameters == {"SEED": 7, "FAST": True}
    assert result.code_cells == len(result.cells) == 5
    assert [cell.cell for cell in result.cells] == [1, 2, 3, 4, 5]
    assert all(cell.completed for cell in result.cells)
    assert result.cells[1].first_line == "import os, sys, time"
    assert 0.3 <= result.cells[1].seconds < result.seconds
    assert result.left_behind == []
    assert outputs(result)[-1][0].text == "7 True chapters\n"
    assert "papermill-error" not in json.dumps(nbformat.read(result.executed_copy, as_version=4))
    assert (sorted(book.chapters.iterdir()), source.with_suffix(".ipynb").read_bytes()) == before
    assert capfd.readouterr() == ("", "")  # neither the kernel nor papermill wrote to our terminal


def test_outputs_saved_in_jupyterlab_do_not_matter(book: Book) -> None:
    source = book.chapter("ch01", "print(1)")
    notebook = load(source)
    notebook["cells"][0]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["old"]}]
    notebook["cells"][0]["execution_count"] = 40
    store(source, notebook)
    report = run(book, source)
    assert report.passed
    assert outputs(report.chapters[0])[0][0].text == "1\n"


def test_process_that_outlives_the_kernel_is_ended_and_named(book: Book) -> None:
    result = run_cells(book, "import subprocess\nprint(subprocess.Popen(['sleep', '300'], start_new_session=True).pid)")
    assert result.passed
    pid = int(outputs(result)[0][0].text)
    assert result.left_behind == [f"sleep ({pid})"]
    assert not running(pid)


# --- what fails


@pytest.mark.parametrize(
    ("breaking", "kind", "message"),
    [
        ("1 / 0", "error", "ZeroDivisionError: division by zero"),
        ("x = (", "error", "SyntaxError"),
        ("%%script false\nx", "error", "CalledProcessError"),
        ("try:\n    1 / 0\nexcept ZeroDivisionError:\n    get_ipython().showtraceback()", "error", "ZeroDivisionError"),
        ("import sys; sys.exit(0)", "exit", "raised SystemExit"),
        ("raise SystemExit", "exit", "raised SystemExit"),
        ('# %% tags=["raises-exception"]\nraise SystemExit', "exit", "raised SystemExit"),
        ("quit()", "exit", "asked its kernel to exit"),
        ("get_ipython().ask_exit()", "exit", "asked its kernel to exit"),
        ("import os; os._exit(0)", "kernel", "the kernel died (exit status 0)"),
        ("import os; os.kill(os.getpid(), 9)", "kernel", "the kernel died (SIGKILL; out of memory?)"),
        ('# %% tags=["skip-execution"]\nx = 1', "not executed", "was not executed"),
        ('# %% tags=["raises-exception"]\nx = 1', "no error", "raised nothing"),
        ("get_ipython().execution_count = 0", "not executed", "execution count"),
    ],
)
def test_broken_cell_fails_the_chapter(book: Book, breaking: str, kind: str, message: str) -> None:
    result = run_cells(book, "print('before')", breaking, "print('after')")
    assert not result.passed
    assert result.failure is not None
    assert (result.failure.kind, result.failure.cell) == (kind, 3 if "execution_count" in breaking else 2)
    assert message in result.failure.message
    assert outputs(result)[0][0].text == "before\n"
    assert [cell.cell for cell in result.cells if cell.completed][:1] == [1]


@pytest.mark.parametrize("last", ["quit()", "import sys; sys.exit(0)"])
def test_exit_in_the_last_cell_fails_the_chapter(book: Book, last: str) -> None:
    result = run_cells(book, "x = 1", last)
    assert result.failure is not None
    assert (result.failure.kind, result.failure.cell) == ("exit", 2)


def test_endless_cell_ends_at_the_limit(book: Book) -> None:
    result = run_cells(book, "print('before')", "print('here', flush=True)\nwhile True: pass", "x = 1", timeout=2)
    assert result.failure is not None
    assert (result.failure.kind, result.failure.cell) == ("timeout", 2)
    assert "2 s" in result.failure.message
    assert outputs(result)[1][0].text == "here\n"
    assert [cell.completed for cell in result.cells] == [True, False]
    assert 2 <= result.cells[1].seconds < 20


def test_chapter_after_a_broken_one_still_runs(book: Book) -> None:
    report = run(book, book.chapter("ch01", "1 / 0"), book.chapter("ch02", "x = 1"))
    assert [result.passed for result in report.chapters] == [False, True]
    assert not report.passed


def test_what_the_kernel_said_when_it_did_not_start_is_reported(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(book.root))
    (book.root / "ipykernel_launcher.py").write_text("raise RuntimeError('no kernel today')")
    result = run_cells(book, "x = 1")
    assert result.failure is not None
    assert (result.failure.kind, result.failure.cell) == ("kernel", None)
    assert "no kernel today" in result.failure.details


def test_drifted_or_damaged_notebook_is_not_run(book: Book) -> None:
    drifted, damaged, lone, good = (book.chapter(f"ch0{number}", "x = 1") for number in range(4))
    book.source("ch00", "x = 2")
    damaged.with_suffix(".ipynb").write_text("{")
    lone.unlink()
    report = run(book, drifted, damaged, lone, good)
    failures = [result.failure for result in report.chapters]
    assert [failure.kind if failure else None for failure in failures] == ["notebook", "notebook", "notebook", None]
    assert [failure.message for failure in failures if failure and "make notebooks" in failure.message]
    assert "is not JSON" in str(failures[1])
    assert "does not exist" in str(failures[2])
    assert sorted(path.name for path in book.copies.iterdir()) == ["ch03.ipynb"]
    assert damaged.with_suffix(".ipynb").read_text() == "{"


@pytest.mark.parametrize("assignment", ["SPEED=1", "SEED=one"])
def test_bad_parameter_is_an_error_before_anything_runs(book: Book, assignment: str) -> None:
    chapters = book.chapter("ch01", PARAMETERS, "print(SEED)"), book.chapter("ch02", PARAMETERS)
    with pytest.raises(ParameterError, match="ch01: "):
        run(book, *chapters, assignments=(assignment,))
    assert not book.copies.exists()


def test_parameter_that_one_of_the_chapters_lacks(book: Book) -> None:
    chapters = book.chapter("ch01", PARAMETERS), book.chapter("ch02", "x = 1")
    with pytest.raises(ParameterError, match="ch02: has no parameter 'SEED'; it has: none"):
        run(book, *chapters, assignments=("SEED=1",))
    assert not book.copies.exists()


def test_folder_with_braces_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "{odd}").mkdir()
    book = Book(tmp_path / "{odd}")
    assert run(book, book.chapter("ch01", "x = 1")).passed


# --- signals (Ctrl-C in the midst of a cell: test_cli.py)


class SignalAtBegin(RunProgress):
    """Sends Ctrl-C when a chapter begins: its kernel does not exist yet, so there is nothing to kill."""

    def begin(self, chapter: str, cells: int) -> None:
        super().begin(chapter, cells)
        os.kill(os.getpid(), signal.SIGINT)


def test_signal_before_the_kernel_exists_is_not_forgotten(book: Book) -> None:
    chapters = book.chapter("ch01", "open('../executed', 'w').close()"), book.chapter("ch02", "x = 1")
    with Interruption() as interruption, SignalAtBegin(Console(quiet=True)) as progress:
        report = run_chapters(
            chapters, assignments=(), timeout=60, copies=book.copies, progress=progress, interruption=interruption
        )
    assert [result.failure and result.failure.kind for result in report.chapters] == ["interrupted"]
    assert not (book.root / "executed").exists()


def test_signal_between_chapters(book: Book) -> None:
    chapters = [book.chapter("ch01", "x = 1")]
    with Interruption() as interruption, RunProgress(Console(quiet=True)) as progress:
        os.kill(os.getpid(), signal.SIGTERM)
        report = run_chapters(
            chapters, assignments=(), timeout=60, copies=book.copies, progress=progress, interruption=interruption
        )
    assert (report.passed, report.interrupted, report.chapters) == (False, True, [])


def test_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGHUP)
        assert interruption.signal is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# --- the report


def test_json_and_tables_hold_the_same(book: Book) -> None:
    report = run(book, book.chapter("ch01", "x = 1", "import time; time.sleep(0.2)"), book.chapter("ch02", "[1][2]"))
    found = json.loads(report.to_json())
    assert [chapter["passed"] for chapter in found["chapters"]] == [True, False]
    assert found["chapters"][1]["failure"]["cell"] == 1
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(*tables(report))
    rows = [line.split() for line in console.export_text().splitlines()]
    assert ["ch01", "2/2", f"{report.chapters[0].seconds:.1f}", "passed"] in rows
    assert ["ch02", "0/1", f"{report.chapters[1].seconds:.1f}", "failed:", "error"] in rows
    slowest = rows[rows.index(["Slowest", "cells"]) + 2]
    assert slowest[1:] == ["ch01", "2", "import", "time;", "time.sleep(0.2)"]
