"""Grades notebooks: executes each in a box, asks it from outside, and writes the verdicts into its graded cells."""

import copy
import html
import math
import secrets
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from autograder.asker import Asker, BoxAsker, WorkerLost
from autograder.exercises import Exercise, is_judged
from autograder.isolation_check import check_isolation, weakness
from autograder.judge import Verdict, judge
from autograder.kernel_bench import BoxBench
from autograder.kernels import Kernels
from autograder.language_model import LanguageModel

if TYPE_CHECKING:
    from workbook.sandbox.isolation.server import Box, ForkServer

CELL_TIMEOUT = 60  # seconds, of a cell of a submission

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
    """

    exercise: str
    points: float
    max_points: float
    verdicts: list[Verdict]
    seed: str
    seconds: float
    weak_isolation: list[str] = field(default_factory=list)

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
        criterion_timeout: float = math.inf,
        accept_weak_isolation: bool = False,
    ) -> None:
        """Prepares to grade.

        Args:
            seed: Of all inputs; None draws one. All submissions that one grader grades get the same inputs.
            cell_timeout: Seconds that a cell of a submission may take.
            criterion_timeout: Seconds that a criterion may take, where its own limit is higher.
            accept_weak_isolation: Grade also where a layer of the sandbox does not hold; each grade then says so.

        Raises:
            autograder.isolation_check.WeakIsolationError: One does not hold, or no box can be made.
        """
        from workbook.sandbox.isolation import seccomp

        self.weak_isolation = check_isolation(accept_weak=accept_weak_isolation)
        self._filtered = seccomp.unavailable() is None  # if it is not, that was accepted
        self.seed = seed or secrets.token_hex(16)
        self._cell_timeout, self._criterion_timeout = cell_timeout, criterion_timeout
        self._model = LanguageModel()
        self._bench = BoxBench(filtered=self._filtered)
        self._servers: dict[str, ForkServer] = {}
        self._starting = threading.Lock()

    def grade(
        self,
        notebook: Any,
        exercise: Exercise,
        *,
        files: Mapping[str, bytes] | None = None,
        only: Collection[str] | None = None,
        earlier: Mapping[str, int] = {},
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

        Raises:
            ExerciseError: The exercise is not as it must be.
            workbook.sandbox.isolation.server.IsolationError: No box can be made: nothing was executed.
        """
        began = time.monotonic()
        if exercise.shape == "kernel":
            self._bench.start()
        found = exercise.acceptance.criteria
        criteria = [
            replace(criterion, seconds=min(criterion.seconds, self._criterion_timeout))
            for criterion in found.values()
            if only is None or criterion.id in only
        ]
        points = exercise.points
        seed = f"{self.seed}/{exercise.name}"
        kernels = Kernels(self._bench, [cell.source for cell in notebook.cells if cell.cell_type == "code"])
        with _Workers(self._server(exercise), notebook, dict(files or {}), self._cell_timeout) as workers:
            verdicts = [
                replace(
                    verdict,
                    points=round(points[verdict.criterion] * verdict.fraction, 6),
                    max_points=points[verdict.criterion],
                )
                for verdict in judge(
                    criteria, workers.open, seed=seed, llm=self._model.get, kernels=kernels, earlier=earlier
                )
            ]
        _write(notebook, verdicts, self.weak_isolation)
        return Grade(
            exercise=exercise.name,
            points=sum(verdict.points for verdict in verdicts),
            max_points=sum(verdict.max_points for verdict in verdicts),
            verdicts=verdicts,
            seed=self.seed,
            seconds=round(time.monotonic() - began, 3),
            weak_isolation=self.weak_isolation,
        )

    def _server(self, exercise: Exercise) -> "ForkServer":
        from autograder.check import IN_WORKER
        from autograder.library import worker_library
        from workbook.sandbox.isolation.server import ForkServer

        with self._starting:
            if exercise.name not in self._servers:
                self._servers[exercise.name] = ForkServer(
                    "autograder.worker",
                    library=worker_library(exercise.acceptance.hides),
                    preload=exercise.acceptance.preload,
                    environment={IN_WORKER: "1"},
                    filtered=self._filtered,
                )
            return self._servers[exercise.name]

    def left_running(self) -> list[str]:
        """Returns the processes in boxes that are there after a moment; none may be while nothing is being graded."""
        deadline = time.monotonic() + 5
        while left := [str(one) for server in self._all_servers() for one in server.processes()]:
            if time.monotonic() > deadline:
                return left
            time.sleep(0.05)
        return []

    def _all_servers(self) -> "list[ForkServer]":
        return [*self._servers.values(), *self._bench.servers()]

    def close(self) -> None:
        """Ends the fork servers, those for kernels among them, and the language model."""
        for server in self._servers.values():
            server.close()
        self._servers.clear()
        self._bench.close()
        self._model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class _Workers:
    """Boxes that have executed a notebook; the first one's outputs stay in it."""

    def __init__(self, server: "ForkServer", notebook: Any, files: dict[str, bytes], cell_timeout: int) -> None:
        self._server, self._notebook, self._files = server, notebook, files
        self._cell_timeout = cell_timeout
        self._died = ""
        self._first: Box | None = None

    def __enter__(self) -> Self:
        self._first = self._box(self._notebook)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._first is not None:
            self._first.close()

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
            box.close()

    def _box(self, notebook: Any) -> "Box":
        from autograder.sandboxed import Execution, execute_notebook

        box = self._server.box(files=self._files)
        execution = Execution(box, skip=is_judged, cell_timeout=self._cell_timeout, timeout=NOTEBOOK_TIMEOUT)
        try:
            execute_notebook(notebook, execution)
        except BaseException:
            box.close()
            raise
        if execution.died:
            self._died = f"the process that ran the notebook died: {execution.died}"
        return box


def _write(notebook: Any, verdicts: list[Verdict], weak_isolation: list[str]) -> None:
    from nbformat.v4 import new_markdown_cell, new_output

    by_id = {verdict.criterion: verdict for verdict in verdicts}
    for cell in filter(is_judged, notebook.cells):
        verdict = by_id.get(cell.metadata["nbgrader"]["grade_id"])
        if verdict is None:
            shown = {"text/plain": "0", "text/html": "<p>not judged</p>"}
        else:
            shown = {"text/plain": f"{verdict.points:.12g}", "text/html": verdict_html(verdict)}
        cell.execution_count = None
        cell.outputs = [new_output("execute_result", data=shown, execution_count=None)]
    if weak_isolation:
        notebook.cells.insert(0, new_markdown_cell(weakness(weak_isolation), id="weak-isolation"))


def verdict_html(verdict: Verdict) -> str:
    """Returns what a student reads: the verdict, what was asked and came, and the hint. No seed."""
    mark = {"passed": "✓", "failed": "✗", "not run": "–"}[verdict.state]
    head = f"<b>{mark} {html.escape(verdict.criterion)}: {verdict.points:g} of {verdict.max_points:g}</b>"
    parts = [f"<p>{head} ({verdict.state})</p>"]
    if verdict.message:
        parts.append(f"<p>{html.escape(verdict.message)}</p>")
    if verdict.evidence:
        lines = "\n".join(html.escape(line) for line in verdict.evidence)
        parts.append(f"<pre>{lines}</pre>")
    if verdict.mistake:
        parts.append(f"<p>Perhaps: {html.escape(verdict.mistake)}</p>")
    if verdict.hint:
        parts.append(f"<p><i>Hint: {html.escape(verdict.hint)}</i></p>")
    return "\n".join(parts)
