"""Every attack, on one exercise of each shape, and on the workbook's own: none gains, touches or costs anything."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from autograder.attacking.attack import Attack, attacks
from autograder.attacking.report import AttackReport
from autograder.attacking.run import chosen, run_attacks
from autograder.exercises import Exercise, find_exercises
from tests.system import unavailable
from workbook.sandbox.isolation.server import available

ROOT = Path(__file__).parents[2]
ATTACKS = attacks()
OURS = find_exercises(ROOT)


def attacked(work: Sequence[tuple[Exercise, Attack]], *, whole: bool = False) -> AttackReport:
    return run_attacks(work, seed=None, jobs=2, on_outcome=lambda *_: None, whole=whole)


def held(report: AttackReport) -> None:
    bad = [
        f"{outcome.attack} on {outcome.exercise}, {outcome.answer}: {outcome.problem}"
        for outcome in report.outcomes
        if not outcome.holds
    ]
    assert (bad, report.problems) == ([], [])
    assert report.holds


def test_there_are_attacks_of_both_kinds_on_each_shape() -> None:
    assert len(ATTACKS) >= 50
    for shape in ("object", "tensor", "kernel"):
        kinds = [attack.kind for attack in ATTACKS if shape in attack.shapes]
        assert min(kinds.count("harness"), kinds.count("judge")) >= 20


@pytest.mark.timeout(900)
@pytest.mark.parametrize("shape", ["object", "tensor", "kernel"])
def test_no_attack_gets_anything(exercises: dict[str, Exercise], shape: str) -> None:
    work = chosen(ATTACKS, [exercises[shape]], whole=False)
    report = attacked(work)
    held(report)
    assert len(report.outcomes) == 2 * len(work) > 150
    names = {outcome.attack for outcome in report.outcomes}
    assert names == {attack.name for attack in ATTACKS if shape in attack.shapes}


@pytest.mark.timeout(900)
def test_the_judge_holds_on_every_exercise_of_the_workbook() -> None:
    if reason := available():
        unavailable(reason)
    held(
        attacked(
            [(exercise, attack) for exercise, attack in chosen(ATTACKS, OURS, whole=True) if attack.kind == "judge"]
        )
    )


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_attack_on_every_exercise_of_the_workbook_by_all_criteria() -> None:
    held(attacked(chosen(ATTACKS, OURS, whole=True), whole=True))


def test_several_exercises_are_attacked_at_once(exercises: dict[str, Exercise]) -> None:
    work = [(exercise, attack) for exercise in exercises.values() for attack in ATTACKS if attack.name == "sys_exit"]
    report = attacked(work)
    held(report)
    assert [outcome.shape for outcome in report.outcomes if outcome.answer == "empty"] == list(exercises)
    assert report.attacks == 1


def test_which_attacks_are_run_on_which_exercises(exercises: dict[str, Exercise]) -> None:
    first, kernel = exercises["object"], exercises["kernel"]
    other = Exercise(first.folder)
    work = chosen(ATTACKS, [first, other, kernel], whole=False)
    assert {attack.kind for exercise, attack in work if exercise is first} == {"harness", "judge"}
    assert {attack.kind for exercise, attack in work if exercise is other} == {"judge"}
    assert {attack.kind for exercise, attack in work if exercise is kernel} == {"harness", "judge"}
    whole = chosen(ATTACKS, [first, other, kernel], whole=True)
    assert {attack.kind for exercise, attack in whole if exercise is other} == {"harness", "judge"}
    assert not [attack for exercise, attack in whole if exercise.shape not in attack.shapes]
