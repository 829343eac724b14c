"""The attacks on the workbook's own exercises. In a file of its own, so that it runs beside the others."""

from pathlib import Path

import pytest

from autograder.attacking.attack import attacks
from autograder.attacking.run import chosen
from autograder.exercises import find_exercises
from tests.attacks.attacking import attacked, held
from tests.system import unavailable
from workbook.sandbox.isolation.server import available

ATTACKS = attacks()
OURS = find_exercises(Path(__file__).parents[2])


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
