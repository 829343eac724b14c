"""The matrix: grades every answer that an exercise keeps, and holds the verdicts against what they must be."""

import copy
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from autograder.asker import DIED, NO_ANSWER
from autograder.exercises import Exercise
from autograder.grading import Grade, Grader
from autograder.judge import Verdict
from autograder.variants import Variant, unguarded, variants

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Outcome:
    """How one answer was graded.

    Attributes:
        exercise: the exercise's name.
        answer: "reference", "empty", "wrong/…", "right/…" or "decoy/…".
        about: what the mistake is, or what is different.
        holds: the verdicts are what they must be: all passed for the reference and the right ones, no point for the
            empty one, and for a wrong one its criterion failed, with those before it passed. Of a decoy the one
            criterion that it is made for is judged, and fails.
        problem: why it does not hold; empty where it does.
        points: earned.
        max_points: of the criteria that were run: for a wrong answer, up to the one that must fail.
        killed_by: the criterion that must fail; empty where none must.
        failed: criteria that failed.
        not_run: criteria that could not be run on this machine: nothing is proven of them, so it does not hold.
        message: what the criterion that must fail said.
        seconds: how long it took.
    """

    exercise: str
    answer: str
    about: str
    holds: bool
    problem: str
    points: float
    max_points: float
    killed_by: str
    failed: list[str]
    not_run: list[str]
    message: str
    seconds: float


@dataclass(frozen=True)
class MatrixReport:
    """The matrix of one or more exercises.

    Attributes:
        holds: all of it holds.
        seed: of the inputs; `--seed` draws them again.
        seconds: wall time.
        outcomes: one an answer.
        unguarded: criteria by which no wrong answer is killed, so that nothing shows that they can fail; must be empty.
        weak_isolation: layers of the sandbox that did not hold, which was accepted.
    """

    holds: bool
    seed: str
    seconds: float
    outcomes: list[Outcome]
    unguarded: list[str]
    weak_isolation: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """Returns the report as one JSON object."""
        return json.dumps(asdict(self), indent=2)


def run_matrix(
    exercises: Sequence[Exercise],
    *,
    seed: str | None,
    jobs: int,
    on_outcome: Callable[[Outcome, int, int], None],
    accept_weak_isolation: bool = False,
) -> MatrixReport:
    """Grades every answer of some exercises.

    Args:
        exercises: Which.
        seed: Of the inputs; None draws one.
        jobs: How many answers are graded at a time.
        on_outcome: Called with each outcome, how many there are, and how many there will be.
        accept_weak_isolation: Grade also where a layer of the sandbox does not hold.

    Raises:
        autograder.exercises.ExerciseError: An exercise or an answer is not as it must be. Nothing was graded.
        workbook.sandbox.isolation.server.IsolationError: No box can be made.
        autograder.isolation_check.WeakIsolationError: A layer of the sandbox does not hold. Nothing was graded.
    """
    import time

    began = time.monotonic()
    work = [(exercise, answer) for exercise in exercises for answer in variants(exercise)]
    outcomes: dict[tuple[str, str], Outcome] = {}
    with (
        Grader(seed=seed, accept_weak_isolation=accept_weak_isolation) as grader,
        ThreadPoolExecutor(jobs) as pool,
    ):
        futures = {pool.submit(_outcome, grader, exercise, answer): (exercise, answer) for exercise, answer in work}
        try:
            for future in as_completed(futures):
                outcome = future.result()
                outcomes[outcome.exercise, outcome.answer] = outcome
                on_outcome(outcome, len(outcomes), len(work))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    ordered = [outcomes[exercise.name, answer.name] for exercise, answer in work]
    bare = [
        f"{exercise.name}: {criterion}"
        for exercise in exercises
        for criterion in unguarded(exercise, [answer for owner, answer in work if owner is exercise])
    ]
    return MatrixReport(
        holds=not bare and all(outcome.holds for outcome in ordered),
        seed=grader.seed,
        seconds=round(time.monotonic() - began, 3),
        outcomes=ordered,
        unguarded=bare,
        weak_isolation=grader.weak_isolation,
    )


def _outcome(grader: Grader, exercise: Exercise, answer: Variant) -> Outcome:
    grade = grader.grade(copy.deepcopy(answer.notebook), exercise, only=answer.judged_by(exercise))
    problem = _problem(answer, grade)
    return Outcome(
        exercise=exercise.name,
        answer=answer.name,
        about=answer.about,
        holds=not problem,
        problem=problem,
        points=grade.points,
        max_points=grade.max_points,
        killed_by=answer.killed_by,
        failed=[verdict.criterion for verdict in grade.verdicts if verdict.state == "failed"],
        not_run=[verdict.criterion for verdict in grade.verdicts if verdict.state == "not run"],
        message=grade.verdicts[-1].message if answer.killed_by else "",
        seconds=grade.seconds,
    )


def _problem(answer: Variant, grade: Grade) -> str:
    """Returns why the verdicts are not what they must be; empty where they are."""
    failed = [verdict for verdict in grade.verdicts if verdict.state == "failed"]
    not_run = [verdict for verdict in grade.verdicts if verdict.state == "not run"]
    if not_run:
        return f"{not_run[0].criterion} was not run: {not_run[0].message}"
    if answer.kind == "empty":
        return f"it earned {grade.points:g} points" if grade.points else ""
    if answer.kind in ("reference", "right"):
        return f"{failed[0].criterion} failed: {failed[0].message}" if failed else ""
    last = grade.verdicts[-1]
    if failed and failed[0] is not last:
        return f"{failed[0].criterion} failed before: {failed[0].message}"
    if last.state == "passed":
        return "it passed"
    if last.broke:
        return last.message
    if _death(last) != answer.dies_of:
        return f"it died of {_death(last) or 'nothing'}: {last.message}"
    return ""


def _death(verdict: Verdict) -> str:
    """Returns what ended a criterion, if it was none of its own expectations; one of `variants.DEATHS`."""
    for name in ("NameError", "SyntaxError"):
        if verdict.message.startswith(f"raised {name}"):
            return name
    if verdict.message == NO_ANSWER:
        return "timeout"
    return "death" if verdict.message.startswith(DIED) else ""


def table(report: MatrixReport, slowest: int = 10) -> "list[Table]":
    """Returns the outcomes, and the slowest ten."""
    from rich.table import Table
    from rich.text import Text

    plain = {"title_justify": "left", "box": None, "pad_edge": False}
    outcomes = Table("answer", title="Matrix", **plain)  # type: ignore[arg-type]
    outcomes.add_column("points", justify="right")
    outcomes.add_column("holds")
    outcomes.add_column("about it", overflow="fold")
    for outcome in report.outcomes:
        about = f"killed by {outcome.killed_by}" if outcome.killed_by else outcome.about
        outcomes.add_row(
            f"{outcome.exercise} {outcome.answer}",
            f"{outcome.points:g}/{outcome.max_points:g}",
            Text("yes", "green") if outcome.holds else Text("no", "red"),
            Text(outcome.problem or about),
        )
    slow = Table("seconds", "answer", title="Slowest", **plain)  # type: ignore[arg-type]
    for outcome in sorted(report.outcomes, key=lambda outcome: -outcome.seconds)[:slowest]:
        slow.add_row(f"{outcome.seconds:.1f}", f"{outcome.exercise} {outcome.answer}")
    return [outcomes, slow]
