"""Says that something is loading, and for how long: one line, in a terminal or under a notebook's cell."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from workbook.show import in_notebook


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Shows `what` and the seconds that pass, then how long it took.

    In a notebook one output is updated in place, so a notebook executed by papermill keeps one line. Where nobody
    watches (stderr is not a terminal) nothing is written.
    """
    start = time.perf_counter()
    if in_notebook():
        show: AbstractContextManager[Any] = _in_cell(what, start)
    elif sys.stderr is not None and sys.stderr.isatty():
        show = _in_terminal(what, start)
    else:
        yield
        return
    with show:
        yield


@contextmanager
def _in_cell(what: str, start: float) -> Iterator[None]:
    from IPython.display import display

    def line(text: str) -> dict[str, str]:
        return {"text/plain": text}

    handle = display(line(f"{what} …"), raw=True, display_id=True)
    done = threading.Event()

    def tick() -> None:
        while not done.wait(1):
            handle.update(line(f"{what} … {_elapsed(start)}"), raw=True)

    ticker = threading.Thread(target=tick, name="loading", daemon=True)
    ticker.start()
    outcome = "stopped after"
    try:
        yield
        outcome = "ready in"
    finally:
        done.set()
        ticker.join()
        handle.update(line(f"{what}: {outcome} {_elapsed(start)}"), raw=True)


@contextmanager
def _in_terminal(what: str, start: float) -> Iterator[None]:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    # What loads may silence stderr's file descriptor meanwhile, so the progress has one of its own.
    with os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8") as stream:
        console = Console(file=stream)
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            progress.add_task(what, total=None)
            yield
        console.print(f"{what}: ready in {_elapsed(start)}", markup=False, highlight=False)


def _elapsed(start: float) -> str:
    return f"{time.perf_counter() - start:.0f} s"
