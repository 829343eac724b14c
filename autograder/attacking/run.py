"""Runs attacks, and holds what came of each against what must come."""

import json
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from autograder.attacking.attack import Attack
from autograder.attacking.defences import DEFENCES
from autograder.attacking.ground import Ground, ground
from autograder.attacking.report import AttackOutcome, AttackReport
from autograder.exercises import Exercise
from autograder.grading import Grade, Grader
from workbook.sandbox.isolation.cells import DIED, MALFORMED, TIMED_OUT

CELL_TIMEOUT = 5
"""Seconds of a cell: what never ends is to be seen ending, many times."""

CRITERION_TIMEOUT = 10.0
"""Seconds of a criterion, likewise."""

EMPTY_TIMEOUT = 3.0
"""Seconds of a criterion of the empty answer, which meets all of them, and at which nothing is lost by haste."""

MOST_SECONDS = 120.0
"""Of one submission: what its cells and criteria may take, on a busy machine."""

LARGEST_NOTEBOOK = 32 << 20
"""Bytes of a graded notebook."""

_CUT_OFF = (DIED, TIMED_OUT, MALFORMED, "KeyboardInterrupt")  # how an attack's own code may always end


def chosen(attacks: Sequence[Attack], exercises: Sequence[Exercise], *, whole: bool) -> list[tuple[Exercise, Attack]]:
    """Returns which attacks are run on which exercises.

    Args:
        attacks: All there are.
        exercises: Of one course.
        whole: Every attack on every exercise that has its shape. Otherwise every attack on one exercise of each shape,
            and those of the kind "judge" on all.
    """
    first = {exercise.shape: exercise for exercise in reversed(exercises)}
    return [
        (exercise, attack)
        for exercise in exercises
        for attack in attacks
        if attack.fits(exercise) and (whole or attack.kind == "judge" or first[exercise.shape] is exercise)
    ]


def run_attacks(
    work: Sequence[tuple[Exercise, Attack]],
    *,
    seed: str | None,
    jobs: int,
    on_outcome: Callable[[AttackOutcome, int, int], None],
    whole: bool = False,
    accept_weak_isolation: bool = False,
) -> AttackReport:
    """Runs attacks, each on the empty and on the reference answer.

    Args:
        work: Which, on which exercises.
        seed: Of the inputs; None draws one.
        jobs: How many submissions are graded at a time.
        on_outcome: Called with each outcome, how many there are, and how many there will be.
        whole: Judge the reference by every criterion. Otherwise the first one is enough where the attack goes at what
            is around all of them, and for objects, whose criteria may take minutes.
        accept_weak_isolation: Grade also where a layer of the sandbox does not hold.

    Raises:
        autograder.isolation_check.WeakIsolationError: A layer of the sandbox does not hold. Nothing was graded.
        workbook.sandbox.isolation.server.IsolationError: No box can be made.
    """
    began = time.monotonic()
    outcomes: dict[tuple[str, str, str], AttackOutcome] = {}
    problems: list[str] = []
    with ExitStack() as stack:
        grader = stack.enter_context(
            Grader(seed=seed, cell_timeout=CELL_TIMEOUT, accept_weak_isolation=accept_weak_isolation)
        )
        grounds: dict[str, Ground] = {}
        for exercise in dict.fromkeys(exercise for exercise, _ in work):
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="attacked-")))
            grounds[exercise.name] = stack.enter_context(ground(exercise, folder))
        before = {name: one.state() for name, one in grounds.items()}
        submissions = [(exercise, attack, answer) for exercise, attack in work for answer in ("empty", "reference")]
        pool = stack.enter_context(ThreadPoolExecutor(jobs))
        trial = _Trial(grader, whole)
        futures = [
            pool.submit(trial.run, grounds[exercise.name], attack, answer) for exercise, attack, answer in submissions
        ]
        try:
            for future in as_completed(futures):
                outcome = future.result()
                outcomes[outcome.exercise, outcome.attack, outcome.answer] = outcome
                on_outcome(outcome, len(outcomes), len(submissions))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        problems += [f"{name}: the course has changed" for name, one in grounds.items() if one.state() != before[name]]
        problems += [f"left running: {process}" for process in grader.left_running()]
    ordered = [outcomes[exercise.name, attack.name, answer] for exercise, attack, answer in submissions]
    return AttackReport(
        holds=not problems and all(outcome.holds for outcome in ordered),
        seed=grader.seed,
        seconds=round(time.monotonic() - began, 3),
        attacks=len({attack.name for _, attack in work}),
        outcomes=ordered,
        problems=problems,
        weak_isolation=grader.weak_isolation,
    )


class _Trial:
    """Grades one hostile submission after the other, and looks at what came of it."""

    def __init__(self, grader: Grader, whole: bool) -> None:
        self._grader, self._whole = grader, whole
        self._count, self._counting = 0, threading.Lock()

    def run(self, place: Ground, attack: Attack, answer: str) -> AttackOutcome:
        """Submits, grades, and looks."""
        with self._counting:
            self._count += 1
            marker = f"m{secrets.token_hex(4)}x{self._count}"
        folder = place.submit(attack, answer, marker)
        before = place.state()
        began = time.monotonic()
        grade: Grade | None = None
        try:
            criteria = self._criteria(place.exercise, attack, answer)
            timeout = EMPTY_TIMEOUT if answer == "empty" else CRITERION_TIMEOUT
            notebook, grade = self._grade(folder, place, criteria, timeout)
            problem = self._problem(attack, answer, grade, notebook, place, marker)
        except Exception as error:  # noqa: BLE001 - whatever a submission brings about here, it has got through
            problem = f"grading ended with {type(error).__name__}: {error}"
        if not problem and place.state() != before:
            problem = "the course has changed"
        if not problem and answer == "reference":
            problem = self._next(place)
        _remove(folder)
        failed = [verdict.message for verdict in grade.verdicts if verdict.state == "failed"] if grade else []
        return AttackOutcome(
            exercise=place.exercise.name,
            shape=place.exercise.shape,
            attack=attack.name,
            answer=answer,
            kind=attack.kind,
            goal=attack.goal,
            stopped_by=attack.stopped_by,
            test=DEFENCES[attack.stopped_by].test,
            holds=not problem,
            problem=problem,
            points=grade.points if grade else 0.0,
            max_points=grade.max_points if grade else 0.0,
            ended=failed[0] if failed else "",
            seconds=round(time.monotonic() - began, 3),
        )

    def _criteria(self, exercise: Exercise, attack: Attack, answer: str) -> list[str]:
        """Returns what decides on an answer."""
        criteria = list(exercise.acceptance.criteria)
        if answer == "empty" or self._whole:
            return criteria
        if attack.kind == "harness":  # it goes at what is around all of them
            return criteria[:1]
        return criteria[:2] if exercise.shape == "object" else criteria  # those of objects may take minutes

    def _grade(self, folder: Path, place: Ground, criteria: list[str], timeout: float) -> tuple[Any, Grade]:
        import nbformat

        from autograder.course.released import read_release
        from autograder.course.submissions import read_submission
        from autograder.course.unit import Unit, grade_unit

        submission = read_submission(folder, place.exercise.name)
        unit = Unit(place.exercise, read_release(place.exercise), folder.parent.name, submission)
        graded = grade_unit(self._grader, unit, only=criteria, criterion_timeout=timeout)
        return nbformat.reads(graded.notebook, as_version=4), graded.grade

    def _problem(self, attack: Attack, answer: str, grade: Grade, notebook: Any, place: Ground, marker: str) -> str:
        """Returns what the attack has got; empty for nothing."""
        written = json.dumps(notebook)
        seen = written + json.dumps([asdict(verdict) for verdict in grade.verdicts])
        in_cells = _points(notebook)
        if in_cells != grade.points:
            return f"the judge gives {grade.points:g} points, the graded cells hold {in_cells:g}"
        told = [name for name, secret in {**place.secrets, "seed": self._grader.seed}.items() if secret in seen]
        if told:
            return f"it got out what is secret of: {', '.join(told)}"
        if f"got {marker}" in seen:
            return "it says that it has reached its goal"
        if _has_script(notebook):
            return "a script is left in its outputs"
        if traces := place.traces(marker):
            return f"it left traces outside of its box: {', '.join(traces)}"
        if grade.seconds > MOST_SECONDS:
            return f"it took {grade.seconds:.0f} s"
        if len(written) > LARGEST_NOTEBOOK:
            return f"its graded notebook has {len(written) >> 20} MiB"
        if broken := [verdict for verdict in grade.verdicts if verdict.broke]:
            return f"{broken[0].criterion}: {broken[0].message}"
        if not_run := [verdict for verdict in grade.verdicts if verdict.state == "not run"]:
            return f"{not_run[0].criterion} was not run: {not_run[0].message}"
        ended = _ended(notebook, attack) - {attack.raises, *_CUT_OFF}
        if ended:
            return f"the attack itself ended with {', '.join(ended)}"
        if answer == "empty":
            return f"the empty answer has {grade.points:g} points" if grade.points else ""
        fits = {
            "keeps": grade.points == grade.max_points,
            "loses": grade.points < grade.max_points,
            "nothing": grade.points == 0,
            "any": True,
        }
        if not fits[attack.reference]:
            first = next((f": {verdict.message}" for verdict in grade.verdicts if verdict.state == "failed"), "")
            return f"the reference has {grade.points:g} of {grade.max_points:g} points, it {attack.reference}{first}"
        return "" if attack.says in seen else f"nothing says {attack.says!r}"

    def _next(self, place: Ground) -> str:
        """Grades the neighbour's right answer, on the first criterion; returns what is wrong with its grade."""
        folder = Path(place.places["neighbour"]).parent
        _, grade = self._grade(folder, place, list(place.exercise.acceptance.criteria)[:1], CRITERION_TIMEOUT)
        verdict = grade.verdicts[0]
        return "" if grade.passed else f"the next submission failed {verdict.criterion}: {verdict.message}"


def _remove(folder: Path) -> None:
    """Removes a submission, whatever it is."""
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder)


def _ended(notebook: Any, attack: Attack) -> set[str]:
    """Returns the names of the errors that ended the attack's own cells."""
    own = {code.strip() for code in attack.parts.values()}
    cells = [cell for cell in notebook.cells if cell.source.strip() in own]
    return {output["ename"] for cell in cells for output in cell.get("outputs", []) if "ename" in output}


def _has_script(notebook: Any) -> bool:
    """Whether the HTML in outputs holds a script, as feedback and formgrader show it."""
    from autograder.course.safe_html import clean

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    texts = [clean(output.get("data", {}).get("text/html", "")) for output in outputs]
    return any(re.search(r"<script|<[^>]*(\son\w+\s*=|javascript:)", text, re.IGNORECASE) for text in texts)


def _points(notebook: Any) -> float:
    """Returns the points that a graded notebook says, as nbgrader reads them."""
    from autograder.exercises import is_judged

    cells = filter(is_judged, notebook.cells)
    return sum(float(output["data"]["text/plain"]) for cell in cells for output in cell["outputs"])
