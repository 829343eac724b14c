"""Every attack, on one exercise of each shape: none gains, touches or costs anything."""

from pathlib import Path

import pytest

from autograder.attacking.attack import attacks
from autograder.attacking.ground import ground
from autograder.attacking.run import chosen
from autograder.exercises import Exercise, is_answer, languages_of
from autograder.notebooks import read_notebook
from tests.attacks.attacking import attacked, held

ATTACKS = attacks()


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


def test_an_attack_on_kernels_of_one_language_meets_no_others(exercises: dict[str, Exercise], tmp_path: Path) -> None:
    by_name = {attack.name: attack for attack in ATTACKS}
    assert not by_name["cuda_stub"].fits(exercises["object"])
    assert exercises["kernel"].languages == {"cuda", "triton"}
    with ground(exercises["kernel"], tmp_path) as place:
        for name, (kept, left_out) in {"cuda_stub": ("cuda", "triton"), "stub_kernel": ("triton", "cuda")}.items():
            folder = place.submit(by_name[name], "reference", name)
            notebook = read_notebook(folder / f"{folder.name}.ipynb")
            written = [cell.source for cell in notebook.cells if is_answer(cell) and languages_of(cell.source)]
            assert not [text for text in written if kept in languages_of(text) and "NotImplementedError" in text]
            assert [text for text in written if left_out in languages_of(text) and "NotImplementedError" in text]
