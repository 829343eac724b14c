"""What came of attacks: as data, as JSON, and as tables."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class AttackOutcome:
    """How one attack on one answer ended.

    Attributes:
        exercise: the exercise's name.
        shape: what is asked of its answers: "object", "tensor" or "kernel".
        attack: the attack's name.
        answer: what was made hostile: "reference" or "empty".
        kind: "harness" or "judge".
        goal: what it wanted.
        stopped_by: the defence that it must fail at.
        test: the test that fails when that defence alone is switched off.
        holds: no point gained, nothing outside touched or told, limits held, the next submission graded right, and the
            reference's points are as they must be.
        problem: why it does not hold; empty where it does.
        points: that it has.
        max_points: of the criteria that were judged.
        ended: what the first verdict said; empty where all passed.
        seconds: how long grading it took.
    """

    exercise: str
    shape: str
    attack: str
    answer: str
    kind: str
    goal: str
    stopped_by: str
    test: str
    holds: bool
    problem: str
    points: float
    max_points: float
    ended: str
    seconds: float


@dataclass(frozen=True)
class AttackReport:
    """A run of attacks.

    Attributes:
        holds: all of them ended as they must.
        seed: of the inputs; `--seed` draws them again.
        seconds: wall time.
        attacks: how many attacks were run, on one exercise or more.
        outcomes: one an exercise, attack and answer.
        problems: what was wrong after all of them: processes left, a course that has changed.
        weak_isolation: layers of the sandbox that did not hold, which was accepted.
    """

    holds: bool
    seed: str
    seconds: float
    attacks: int
    outcomes: list[AttackOutcome]
    problems: list[str]
    weak_isolation: list[str]

    def to_json(self) -> str:
        """Returns the report as one JSON object."""
        return json.dumps(asdict(self), indent=2)


def table(report: AttackReport) -> "list[Table]":
    """Returns the attacks, and those that took longest."""
    from rich.table import Table
    from rich.text import Text

    plain = {"title_justify": "left", "box": None, "pad_edge": False}
    outcomes = Table("attack", "on", title="Attacks", **plain)  # type: ignore[arg-type]
    outcomes.add_column("what it wants", overflow="fold")
    outcomes.add_column("points", justify="right")
    outcomes.add_column("holds")
    outcomes.add_column("how it ended", overflow="fold")
    for outcome in report.outcomes:
        outcomes.add_row(
            outcome.attack,
            f"{outcome.exercise}, {outcome.answer}",
            Text(outcome.goal),
            f"{outcome.points:g}/{outcome.max_points:g}",
            Text("yes", "green") if outcome.holds else Text("no", "red"),
            Text((outcome.problem or outcome.ended or f"stopped by: {outcome.stopped_by}")[:200]),
        )
    slow = Table("seconds", "attack", title="Slowest", **plain)  # type: ignore[arg-type]
    for outcome in sorted(report.outcomes, key=lambda outcome: -outcome.seconds)[:10]:
        slow.add_row(f"{outcome.seconds:.1f}", f"{outcome.attack} on {outcome.exercise}, {outcome.answer}")
    return [outcomes, slow]
