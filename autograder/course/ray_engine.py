"""An engine that grades on a Ray cluster. See docs/ray.md.

Each unit is a task: where a node or a process is lost, Ray runs it again elsewhere, for it writes nothing. This process
alone keeps grades, and takes what came of each unit once.
"""

import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autograder.course.engines import Outcome
from autograder.course.record import Environment
from autograder.course.remote import Came, Job, Parcel, Terms, Workplace, grade_alone, vanishing_folder
from autograder.course.unit import Graded, Unit

_AHEAD = 2  # units under way for each processor of the cluster, so that none waits for this process
_MODEL_THREADS = 32  # units that wait in the process with the model; it grades as many at a time as it has cores


class ClusterError(Exception):
    """There is no cluster to grade on, or it has failed; the message says what to do."""


class StrangeNodeError(Exception):
    """A node's environment is not this machine's: what it graded would stand in the records as graded in this one."""


@contextmanager
def cluster(address: str | None) -> Iterator[Any]:
    """Connects to a Ray cluster; leaving disconnects, and ends what was started for it.

    Args:
        address: Of the cluster; None for the one that RAY_ADDRESS names, or else a Ray of its own on this machine.

    Yields:
        The module `ray`.

    Raises:
        ClusterError: Ray is not installed, or nothing answers there.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    options = {"address": address, "log_to_driver": False, "logging_level": logging.ERROR}
    with ExitStack() as stack:
        if address == "local":
            options |= _local_options(stack)
        try:
            import ray
        except ImportError:
            raise ClusterError(
                "--engine ray needs the package ray, which is not installed: `pip install ray`, or `make setup`"
            ) from None
        # Where the report goes, Ray would print whole logs when a node is lost.
        stack.enter_context(contextlib.redirect_stdout(stack.enter_context(Path(os.devnull).open("w"))))
        stack.callback(ray.shutdown)
        try:
            _knock(address)
            # Nodes look for modules in the folder that this is called in: they shall use those that are installed.
            with contextlib.chdir("/"):
                ray.init(**options)
        except (OSError, RuntimeError, ValueError) as error:  # what it lets through, ConnectionError among them
            where = "starting Ray" if address == "local" else f"no Ray cluster at {address}"
            raise ClusterError(f"{where}: {error}") from error
        yield ray


def _knock(address: str) -> None:
    """Raises OSError where nothing listens: Ray would try for a quarter of an hour."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _local_options(stack: ExitStack) -> dict[str, Any]:
    """Returns how Ray is started on this machine: nobody else can reach it, and nothing of it remains."""
    from workbook import hardware

    folder = stack.enter_context(vanishing_folder())
    for name, value in {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # for Linux, too, it means that Ray listens on the loopback alone
        "RAY_AUTH_TOKEN": secrets.token_hex(32),  # else Ray keeps one in the home folder
        "RAY_USAGE_STATS_ENABLED": "0",
    }.items():
        os.environ.setdefault(name, value)
    return {
        "num_cpus": hardware.cores(),
        "include_dashboard": False,
        # Ray makes its folder everybody's, with its sockets in it; the one around it is its owner's.
        "_temp_dir": str(folder / "r"),
        # Else Ray gives way to whatever else runs here, while time limits go on, and kills judges for what boxes take.
        "_system_config": {"worker_niceness": 0, "memory_monitor_refresh_ms": 0},
    }


class RayEngine:
    """Grades on a cluster. A context manager; leaving it ends what it has started there."""

    def __init__(
        self,
        ray: Any,
        environment: Environment,
        *,
        jobs: int | None,
        seed: str | None,
        accept_weak_isolation: bool,
        config: Any = None,
    ) -> None:
        """Takes a connection.

        Args:
            ray: The module, which is connected.
            environment: This machine's: those of the nodes must be equal.
            jobs: How many units are under way at a time; None for twice as many as the cluster has processors.
            seed: Of the inputs; None draws one.
            accept_weak_isolation: Grade also where a layer of the sandbox does not hold.
            config: nbgrader's.
        """
        self.environment, self.seed = environment, seed or secrets.token_hex(16)
        self._ray, self._jobs = ray, jobs
        self._terms = Terms(accept_weak_isolation, _sections(config))
        self._parcels: dict[str, Any] = {}
        # Without limit: it may take as many nodes as the cluster loses.
        self._task = ray.remote(grade_alone).options(num_cpus=1, max_retries=-1, name="grade")
        self._actors: dict[str, Any] = {}
        self._running: dict[Any, Unit] = {}

    def run(self, units: Iterable[Unit], on_start: Callable[[Unit], None]) -> Iterator[Outcome]:
        """See autograder.course.engines.Engine."""
        source = iter(units)
        while True:
            while len(self._running) < self._room() and (unit := next(source, None)) is not None:
                on_start(unit)
                try:
                    self._running[self._send(unit)] = unit
                except Exception as error:  # noqa: BLE001 - the next unit is another matter
                    yield unit, error
            if not self._running:
                return
            (done, *_), _ = self._ray.wait(list(self._running))
            yield self._running.pop(done), self._receive(done)

    def _room(self) -> int:
        return self._jobs or _AHEAD * max(1, int(self._ray.cluster_resources().get("CPU", 0)))

    def _send(self, unit: Unit) -> Any:
        if unit.exercise.name not in self._parcels:
            self._parcels[unit.exercise.name] = self._ray.put(Parcel.of(unit.exercise, unit.release))
        job = Job(unit.submission, dict(unit.earlier), dict(unit.known), unit.seed or self.seed)
        needs = unit.exercise.acceptance.needs
        parcel = self._parcels[unit.exercise.name]
        if needs:
            return self._actor("model" if "model" in needs else "device").grade.remote(parcel, job)
        return self._task.remote(parcel, job, self._terms)

    def _actor(self, need: str) -> Any:
        """Returns the one process of this run that grades what needs the model, or the device; starts it if need be.

        It holds no processor while it waits, so that a cluster with one is enough.
        """
        if need not in self._actors:
            options: dict[str, Any] = {"max_restarts": -1, "max_task_retries": -1}
            if need == "model":
                options["max_concurrency"] = _MODEL_THREADS
            elif self._ray.cluster_resources().get("GPU", 0) >= 1:
                options |= {"num_cpus": 0, "num_gpus": 1}
            jobs = None if need == "model" else 1
            self._actors[need] = self._ray.remote(Workplace).options(**options).remote(self._terms, jobs)
        return self._actors[need]

    def _receive(self, reference: Any) -> Graded | Exception:
        from ray.exceptions import RayError, RayTaskError

        try:
            came: Came = self._ray.get(reference)
        except RayTaskError as error:
            return error.cause if isinstance(error.cause, Exception) else ClusterError(str(error.cause))
        except RayError as error:
            return ClusterError(f"the cluster has lost it: {error}")
        if isinstance(came.graded, Graded) and came.environment.sha256 != self.environment.sha256:
            return StrangeNodeError(
                f"{came.host} is not set up as this machine is ({_difference(came.environment, self.environment)}): "
                "what it has graded is not kept; docs/ray.md says what nodes need"
            )
        return came.graded

    def stop(self) -> None:
        """See autograder.course.engines.Engine."""
        for actor in self._actors.values():
            self._ray.kill(actor)
        for reference, unit in self._running.items():
            if not unit.exercise.acceptance.needs:
                self._ray.cancel(reference, force=True)

    def __enter__(self) -> "RayEngine":
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def _sections(config: Any) -> dict[str, Any]:
    """Returns the sections of nbgrader's configuration that graded notebooks depend on."""
    from nbgrader.preprocessors import CheckCellMetadata, LimitOutput

    names = {name for step in (LimitOutput, CheckCellMetadata) for name in step.section_names()}
    return {name: dict(section) for name, section in (config or {}).items() if name in names}


def _difference(one: Environment, other: Environment) -> str:
    """Says in what two environments differ."""
    ours = asdict(other)
    named = [name for name, value in asdict(one).items() if name not in ("sha256", "machine") and value != ours[name]]
    return ", ".join(f"{name}: {asdict(one)[name]}, not {ours[name]}" for name in named) or "in its packages"
