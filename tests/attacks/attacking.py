"""What tests of attacks share."""

from collections.abc import Sequence

from autograder.attacking.attack import Attack
from autograder.attacking.report import AttackReport
from autograder.attacking.run import run_attacks
from autograder.exercises import Exercise


def attacked(work: Sequence[tuple[Exercise, Attack]], *, jobs: int = 4, whole: bool = False) -> AttackReport:
    """Attacks the small exercises: half of that time is waiting, so more at a time than there are cores."""
    return run_attacks(work, seed=None, jobs=jobs, on_outcome=lambda *_: None, whole=whole)


def held(report: AttackReport) -> None:
    bad = [
        f"{outcome.attack} on {outcome.exercise}, {outcome.answer}: {outcome.problem}"
        for outcome in report.outcomes
        if not outcome.holds
    ]
    assert (bad, report.problems) == ([], [])
    assert report.holds
