"""The exercises that are attacked are exercises: their graders are proven as all others are, by decoys as well."""

import shutil
from pathlib import Path

import pytest

from autograder.course.release import release
from autograder.exercises import Exercise
from autograder.matrix import MatrixReport, run_matrix

DECOYS = ["zeros", "constant", "input", "nan", "transpose", "dtype"]


def proven(exercise: Exercise) -> MatrixReport:
    return run_matrix([exercise], seed=None, jobs=2, on_outcome=lambda *_: None)


@pytest.mark.parametrize("shape", ["object", "tensor"])  # the kernel's is proven in tests/grading/test_kernels.py
def test_its_grader_is_proven(exercises: dict[str, Exercise], shape: str) -> None:
    report = proven(exercises[shape])
    assert report.holds, report.to_json()
    decoys = [outcome for outcome in report.outcomes if outcome.answer.startswith("decoy/")]
    names = [f"decoy/{criterion}/{name}" for criterion in ("matches-the-oracle", "is-pure") for name in DECOYS]
    assert [outcome.answer for outcome in decoys] == (names if shape == "tensor" else [])
    for outcome in decoys:
        assert outcome.failed == [outcome.answer.split("/")[1]]
        assert outcome.points == 0


def test_a_criterion_that_takes_a_decoy_does_not_hold(exercises: dict[str, Exercise], tmp_path: Path) -> None:
    root = Path(shutil.copytree(exercises["tensor"].root, tmp_path / "course"))
    exercise = Exercise(root / "solutions" / exercises["tensor"].name)
    acceptance = exercise.folder / "acceptance.py"
    text = acceptance.read_text()
    line = '        right(work.call("softmax", x), x)'
    assert line in text
    acceptance.write_text(text.replace(line, '        assert work.call("softmax", x).isfinite().all()'))
    assert release(exercise).problems == []
    report = proven(exercise)
    assert not report.holds
    passed = [outcome.answer for outcome in report.outcomes if outcome.problem == "it passed"]
    assert "decoy/matches-the-oracle/zeros" in passed
    assert "decoy/matches-the-oracle/nan" not in passed
