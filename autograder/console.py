"""Runs chapters and shows it: progress and failures on stderr, tables or JSON on stdout, and the exit status."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from autograder.progress import RunProgress
from autograder.report import ChapterRun, tables

_LONGEST_DETAILS = 40  # lines of a traceback


def run_and_show(
    chapters: Sequence[Path], *, assignments: Sequence[str], timeout: int, copies: Path, as_json: bool
) -> int:
    """Runs chapters (see `autograder.run.run_chapters`), with progress and failures on stderr, the report on stdout.

    Returns:
        The exit status: 0 if all passed, 1 if not, 128 and the signal's number if a signal ended it.

    Raises:
        ParameterError: A chapter does not have such a parameter, or the value is of the wrong type. Nothing has run.
        OSError: A copy cannot be written.
    """
    from autograder.interruption import Interruption
    from autograder.run import run_chapters  # takes seconds: papermill, nbclient

    errors = make_console(stderr=True)
    with Interruption() as interruption, RunProgress(errors) as progress:
        report = run_chapters(
            chapters,
            assignments=assignments,
            timeout=timeout,
            copies=copies,
            progress=progress,
            interruption=interruption,
        )
    for run in report.chapters:
        _show(run, errors)
    if as_json:
        sys.stdout.write(report.to_json() + "\n")
    else:
        output = make_console()
        for table in tables(report):
            output.print()
            output.print(table)
    if interruption.signal is not None:
        return 128 + interruption.signal
    return 0 if report.passed else 1


def make_console(stderr: bool = False) -> Console:
    """Returns a console for stdout or stderr; wide enough for a table where that is no terminal."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=120)


def _show(run: ChapterRun, console: Console) -> None:
    lines = []
    if run.left_behind:
        lines.append(f"{run.chapter} left processes behind, which were ended: {', '.join(run.left_behind)}")
    if run.failure:
        place = f", cell {run.failure.cell} of {run.code_cells}" if run.failure.cell else ""
        lines.append(f"{run.chapter}{place}: {run.failure.message}")
        lines += [f"    {line}" for line in run.failure.details.splitlines()[-_LONGEST_DETAILS:]]
        if run.executed_copy:
            lines.append(f"    outputs up to there: {run.executed_copy}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
