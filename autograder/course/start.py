"""Starts engines."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from autograder.course.engines import LocalEngine
from autograder.course.fingerprint import environment
from autograder.course.ray_engine import RayEngine, cluster
from autograder.exercises import Exercise
from autograder.grading import Grader
from autograder.isolation_check import check_isolation
from workbook import hardware


@contextmanager
def local_engine(
    *,
    jobs: int | None,
    seed: str | None,
    accept_weak_isolation: bool,
    config: Any = None,
    first: Exercise | None = None,
) -> Iterator[LocalEngine]:
    """Starts an engine on this machine, and ends it at the end of the block.

    Args:
        jobs: How many submissions are graded at a time; None for as many as there are cores.
        seed: Of the inputs; None draws one.
        accept_weak_isolation: Grade also where a layer of the sandbox does not hold.
        config: nbgrader's.
        first: What is sure to be graded first: it is made ready in the background.

    Raises:
        autograder.isolation_check.WeakIsolationError: A layer does not hold.
        autograder.exercises.ExerciseError: `first` is not as it must be.
    """
    with ThreadPoolExecutor(1) as side:
        trying = side.submit(Grader, seed=seed, accept_weak_isolation=accept_weak_isolation)
        if first is not None:
            _ = first.acceptance  # imports what its criteria need, torch for one, while the sandbox is tried
    with (
        trying.result() as grader,
        LocalEngine(grader, environment(grader.weak_isolation), jobs=jobs or hardware.cores(), config=config) as engine,
    ):
        if first is not None:
            engine.warm(first)
        yield engine


@contextmanager
def ray_engine(
    *, jobs: int | None, seed: str | None, accept_weak_isolation: bool, config: Any = None, address: str | None = None
) -> Iterator[RayEngine]:
    """Starts an engine on a Ray cluster, and ends it at the end of the block.

    Args:
        jobs: How many submissions are under way at a time; None for as many as the cluster has room for.
        seed: Of the inputs; None draws one.
        accept_weak_isolation: Grade also where a layer of the sandbox does not hold.
        config: nbgrader's.
        address: Of the cluster; None for the one that RAY_ADDRESS names, or else a Ray of its own on this machine.

    Raises:
        autograder.course.ray_engine.ClusterError: Ray is not installed, or nothing answers there.
        autograder.isolation_check.WeakIsolationError: A layer does not hold on this machine.
    """
    weak_isolation = check_isolation(accept_weak=accept_weak_isolation)
    with (
        cluster(address) as ray,
        RayEngine(
            ray,
            environment(weak_isolation),
            jobs=jobs,
            seed=seed,
            accept_weak_isolation=accept_weak_isolation,
            config=config,
        ) as engine,
    ):
        yield engine
