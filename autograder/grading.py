"""Grades notebooks: executes each in a box, asks it from outside, and writes the verdicts into its graded cells."""

import copy
import html
import math
import secrets
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from autograder.asker import NO_ANSWER, Asker, BoxAsker, WorkerLost
from autograder.cuda_bench import CudaBoxBench
from autograder.cuda_kernels import CudaKernels
from autograder.exercises import Exercise, ExerciseError, is_judged
from autograder.isolation_check import check_isolation, weakness
from autograder.judge import Verdict, judge
from autograder.kernel_bench import BoxBench
from autograder.kernels import Kernels
from autograder.language_model import LanguageModel
from autograder.stages import Stages

if TYPE_CHECKING:
    from workbook.sandbox.isolation.server import Box, ForkServer

CELL_TIMEOUT = 60  # seconds, of a cell of a submission

MOST_INCIDENTS = 20

NOTEBOOK_TIMEOUT = 300  # seconds, of all of its cells together; they are executed again for each failed criterion


@dataclass(frozen=True)
class Grade:
    """What a submission has earned.

    Attributes:
        exercise: the exercise's name.
        points: earned from the judge; what a person grades comes on top.
        max_points: what the judge could give.
        verdicts: one a criterion.
        seed: of the inputs; with it the same inputs can be drawn again. Students do not see it.
        seconds: how long grading took.
        weak_isolation: layers of the sandbox that did not hold, which was accepted.
        stages: seconds by stage: "fork", "cells", "judge".
        memory: bytes that its largest box had at most; 0 where the machine does not tell.
        incidents: what the sandbox had to stop: deaths of the notebook's processes, and what broke the protocol.
        executed: the criteria that were run; the others' verdicts were known before.
        late_cell: whether a cell was stopped since it took too long.
    """

    exercise: str
    points: float
    max_points: float
    verdicts: list[Verdict]
    seed: str
    seconds: float
    weak_isolation: list[str] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    memory: int = 0
    incidents: list[str] = field(default_factory=list)
    executed: list[str] = field(default_factory=list)
    late_cell: bool = False

    @property
    def passed(self) -> bool:
        """Returns whether every criterion was run and is met."""
        return all(verdict.state == "passed" for verdict in self.verdicts)


class Grader:
    """Grades submissions of any exercises. A context manager; threads may share it.

    It holds a fork server for each exercise and at most one language model, each started when first needed.
    """

    def __init__(
        self,
        *,
        seed: str | None = None,
        cell_timeout: int = CELL_TIMEOUT,
        accept_weak_isolation: bool = False,
    ) -> None:
        """Prepares to grade.

        Args:
            seed: Of all inputs; None draws one. All submissions that one grader grades get the same inputs.
            cell_timeout: Seconds that a cell of a submission may take.
            accept_weak_isolation: Grade also where a layer of the sandbox does not hold; each grade then says so.

        Raises:
            autograder.isolation_check.WeakIsolationError: One does not hold, or no box can be made.
        """
        from workbook.sandbox.isolation import seccomp

        self.weak_isolation = check_isolation(accept_weak=accept_weak_isolation)
        self._filtered = seccomp.unavailable() is None  # if it is not, that was accepted
        self.seed = seed or secrets.token_hex(16)
        self._cell_timeout = cell_timeout
        self._model = LanguageModel()
        self._bench = BoxBench(filtered=self._filtered)
        self._cuda_bench = CudaBoxBench(filtered=self._filtered)
        self._servers: dict[str, ForkServer] = {}
        self._starting = threading.Lock()
        self._aborted = False

    def grade(
        self,
        notebook: Any,
        exercise: Exercise,
        *,
        files: Mapping[str, bytes] | None = None,
        only: Collection[str] | None = None,
        earlier: Mapping[str, int] = {},
        known: Mapping[str, Verdict] = {},
        seed: str | None = None,
        criterion_timeout: float = math.inf,
    ) -> Grade:
        """Grades a notebook, and writes into it what its cells put out and what the judge says.

        Whatever the notebook does ends in verdicts. Each judged cell gets one result: as plain text the points, which
        nbgrader reads, and as HTML the verdict with its hint. No seed stands in it.

        Args:
            notebook: An nbformat notebook with the exercise's graded cells.
            exercise: What it is a submission of.
            files: What lies beside it, by relative path.
            only: The criteria to run; None for all.
            earlier: By criterion, how many submissions in a row have failed it before: each is shown another hint.
            known: Verdicts by criterion that hold for this work, so that they need not be run.
            seed: Of the inputs, where it is not to be this grader's.
            criterion_timeout: Seconds that a criterion may take, where its own limit is higher.

        Raises:
            ExerciseError: The exercise is not as it must be.
            workbook.sandbox.isolation.server.IsolationError: No box can be made: nothing was executed.
        """
        began, seed, points = time.monotonic(), seed or self.seed, exercise.points
        self.start(exercise)
        wanted = [one for one in exercise.acceptance.criteria.values() if only is None or one.id in only]
        criteria = [
            replace(criterion, seconds=min(criterion.seconds, criterion_timeout))
            for criterion in wanted
            if criterion.id not in known
        ]
        cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
        kernels, cuda_kernels = Kernels(self._bench, cells), CudaKernels(self._cuda_bench, cells)
        server, stages = self._server(exercise), Stages()
        with stages("judge"), _Workers(server, notebook, dict(files or {}), self._cell_timeout, stages) as workers:
            found = {
                verdict.criterion: verdict
                for verdict in judge(
                    criteria,
                    workers.open,
                    seed=f"{seed}/{exercise.name}",
                    llm=self._model.get if "model" in exercise.acceptance.needs else _undeclared,
                    kernels=kernels,
                    cuda_kernels=cuda_kernels,
                    earlier=earlier,
                )
            }
        judged = {**known, **found}
        verdicts = [with_points(judged[one.id], points[one.id]) for one in wanted if one.id in judged]
        write_verdicts(notebook, verdicts)
        if self.weak_isolation:
            _write_weakness(notebook, self.weak_isolation)
        died = [verdict.message for verdict in found.values() if verdict.cut_short and verdict.message != NO_ANSWER]
        return Grade(
            exercise=exercise.name,
            points=sum(verdict.points for verdict in verdicts),
            max_points=sum(verdict.max_points for verdict in verdicts),
            verdicts=verdicts,
            seed=seed,
            seconds=round(time.monotonic() - began, 3),
            weak_isolation=self.weak_isolation,
            stages=stages.rounded(),
            memory=workers.memory,
            incidents=list(dict.fromkeys([*workers.incidents, *died]))[:MOST_INCIDENTS],
            executed=list(found),
            late_cell=workers.late_cell,
        )

    def start(self, exercise: Exercise) -> None:
        """Starts what an exercise's boxes are forked from, where it does not run yet; else the first grade waits.

        Raises:
            ExerciseError: The exercise is not as it must be.
            workbook.sandbox.isolation.server.IsolationError: No box can be made.
        """
        if "triton" in exercise.languages:
            self._bench.start()
        if "cuda" in exercise.languages:
            self._cuda_bench.start()
        self._server(exercise)

    def keep_only(self, names: Collection[str]) -> None:
        """Ends what the boxes of other exercises are forked from, where nobody is grading them: each holds memory."""
        with self._starting:
            for name in [name for name in self._servers if name not in names]:
                self._servers.pop(name).close()

    def _server(self, exercise: Exercise) -> "ForkServer":
        from autograder.check import IN_WORKER
        from autograder.library import worker_library
        from workbook.sandbox.isolation.server import ForkServer, IsolationError

        with self._starting:
            found = self._servers.get(exercise.name)
            if found is not None and not found.alive:  # the kernel may have ended it for want of memory
                self._servers.pop(exercise.name).close()
            if exercise.name not in self._servers and not self._aborted:
                self._servers[exercise.name] = ForkServer(
                    "autograder.worker",
                    library=worker_library(exercise.acceptance.hides),
                    preload=exercise.acceptance.preload,
                    environment={IN_WORKER: "1"},
                    filtered=self._filtered,
                )
            if self._aborted:
                for server in self._servers.values():
                    server.abort()
                raise IsolationError("the grader was ended")
            return self._servers[exercise.name]

    def left_running(self) -> list[str]:
        """Returns the processes in boxes that are there after a moment; none may be while nothing is being graded."""
        deadline = time.monotonic() + 5
        while left := [str(one) for server in self._all_servers() for one in server.processes()]:
            if time.monotonic() > deadline:
                return left
            time.sleep(0.05)
        return []

    def abort(self) -> None:
        """Ends all boxes and the language model at once: grades that are under way in other threads end in errors.

        To be followed by `close`, when they have ended. Nothing can be graded any more.
        """
        self._aborted = True  # a server that is being started is ended when it is there
        for server in self._all_servers():
            server.abort()
        self._model.close()

    def _all_servers(self) -> "list[ForkServer]":
        return [*self._servers.values(), *self._bench.servers(), *self._cuda_bench.servers()]

    def close(self) -> None:
        """Ends the fork servers, those for kernels among them, and the language model."""
        for server in self._servers.values():
            server.close()
        self._servers.clear()
        self._bench.close()
        self._cuda_bench.close()
        self._model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _undeclared() -> LanguageModel:
    raise ExerciseError('criteria that ask the language model need NEEDS = ("model",) in acceptance.py')


class _Workers:
    """Boxes that have executed a notebook; the first one's outputs stay in it.

    Attributes:
        memory: Bytes that the largest of them had, as far as they are closed.
        incidents: How executions of the notebook ended that did not come to their end.
        late_cell: Whether a cell was stopped since it took too long.
    """

    def __init__(
        self, server: "ForkServer", notebook: Any, files: dict[str, bytes], cell_timeout: int, stages: Stages
    ) -> None:
        self.memory, self.late_cell = 0, False
        self.incidents: list[str] = []
        self._server, self._notebook, self._files = server, notebook, files
        self._cell_timeout, self._stages = cell_timeout, stages
        self._died = ""
        self._first: Box | None = None

    def __enter__(self) -> Self:
        self._first = self._box(self._notebook)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._first is not None:
            self._close(self._first)

    @contextmanager
    def open(self) -> Iterator[Asker]:
        """Gives a process that has executed the notebook.

        Raises:
            WorkerLost: The notebook ends it.
        """
        if self._died:
            raise WorkerLost(self._died)
        box, self._first = self._first or self._box(copy.deepcopy(self._notebook)), None
        try:
            if self._died:
                raise WorkerLost(self._died)
            yield BoxAsker(box)
        finally:
            self._close(box)

    def _close(self, box: "Box") -> None:
        with self._stages("fork"):
            box.close()
        self.memory = max(self.memory, box.peak_memory)

    def _box(self, notebook: Any) -> "Box":
        from autograder.sandboxed import Execution, execute_notebook
        from workbook.sandbox.isolation.cells import MALFORMED, TIMED_OUT

        with self._stages("fork"):
            box = self._server.box(files=self._files)
        execution = Execution(box, skip=is_judged, cell_timeout=self._cell_timeout, timeout=NOTEBOOK_TIMEOUT)
        try:
            with self._stages("cells"):
                execute_notebook(notebook, execution)
        except BaseException:
            box.close()
            raise
        if execution.died:
            self._died = f"the process that ran the notebook died: {execution.died}"
            self.incidents.append(self._died)
        broken = [run for run in execution.cells if run.error == MALFORMED and run.reason]  # others name theirs so, too
        self.incidents += [f"cell {run.index + 1}: {run.reason}" for run in broken]
        self.late_cell = self.late_cell or any(run.error == TIMED_OUT for run in execution.cells)
        return box


def with_points(verdict: Verdict, worth: float) -> Verdict:
    """Returns a verdict with what it earns where its criterion is worth so many points."""
    return replace(verdict, points=round(worth * verdict.fraction, 6), max_points=worth)


def write_verdicts(notebook: Any, verdicts: list[Verdict]) -> None:
    """Writes verdicts into a notebook's judged cells: of each the points, which nbgrader reads, and what is shown."""
    from nbformat.v4 import new_output

    by_id = {verdict.criterion: verdict for verdict in verdicts}
    for cell in filter(is_judged, notebook.cells):
        verdict = by_id.get(cell.metadata["nbgrader"]["grade_id"])
        if verdict is None:
            shown = {"text/plain": "0", "text/html": "<p>not judged</p>"}
        else:
            shown = {"text/plain": f"{verdict.points:.12g}", "text/html": verdict_html(verdict)}
        cell.execution_count = None
        cell.outputs = [new_output("execute_result", data=shown, execution_count=None)]


def _write_weakness(notebook: Any, weak_isolation: list[str]) -> None:
    from nbformat.v4 import new_markdown_cell

    notebook.cells.insert(0, new_markdown_cell(weakness(weak_isolation), id="weak-isolation"))


def verdict_html(verdict: Verdict) -> str:
    """Returns what a student reads: the verdict, what was asked and came, and the hint. No seed."""
    mark = {"passed": "✓", "failed": "✗", "not run": "–"}[verdict.state]
    head = f"<b>{mark} {html.escape(verdict.criterion)}: {verdict.points:g} of {verdict.max_points:g}</b>"
    parts = [f"<p>{head} ({verdict.state})</p>"]
    if verdict.message:
        parts.append(f"<p>{html.escape(verdict.message)}</p>")
    if verdict.measured:
        parts.append(_preformatted(verdict.measured))
    if verdict.evidence:
        parts.append(_preformatted(verdict.evidence))
    if verdict.mistake:
        parts.append(f"<p>Perhaps: {html.escape(verdict.mistake)}</p>")
    if verdict.hint:
        parts.append(f"<p><i>Hint: {html.escape(verdict.hint)}</i></p>")
    return "\n".join(parts)


def _preformatted(lines: Iterable[str]) -> str:
    return "<pre>" + "\n".join(map(html.escape, lines)) + "</pre>"
