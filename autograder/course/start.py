"""Starts engines."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from autograder.course.engines import LocalEngine
from autograder.course.fingerprint import environment
from autograder.grading import Grader
from workbook import hardware


@contextmanager
def local_engine(
    *, jobs: int | None, seed: str | None, accept_weak_isolation: bool, config: Any = None
) -> Iterator[LocalEngine]:
    """Starts an engine on this machine, and ends it at the end of the block.

    Args:
        jobs: How many submissions are graded at a time; None for as many as there are cores.
        seed: Of the inputs; None draws one.
        accept_weak_isolation: Grade also where a layer of the sandbox does not hold.
        config: nbgrader's.

    Raises:
        autograder.isolation_check.WeakIsolationError: A layer does not hold.
    """
    with (
        Grader(seed=seed, accept_weak_isolation=accept_weak_isolation) as grader,
        LocalEngine(grader, environment(grader.weak_isolation), jobs=jobs or hardware.cores(), config=config) as engine,
    ):
        yield engine
