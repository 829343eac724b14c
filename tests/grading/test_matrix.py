"""The matrix finds graders that are too kind, too strict, or unproven."""

import json
from pathlib import Path

import pytest

from autograder.exercises import Exercise, ExerciseError
from autograder.matrix import MatrixReport, Outcome, run_matrix
from autograder.variants import variants
from tests.grading.course import NAME, Course
from tests.system import unavailable
from workbook.sandbox.isolation.server import available

WRONG = {
    "forgets": ("forgets what was", "counts-up", "counter", "class Counter:\n    def __enter__(self): return self\n"
                "    def __exit__(self, *_): pass\n    def up(self, n): return n"),
    "truncates": ("cuts", "rounds", "round", "rounded = int"),
}  # fmt: skip


@pytest.fixture
def toy(course: Course) -> Exercise:
    if reason := available():
        unavailable(reason)
    folder = course.root / "solutions" / NAME
    for name, (mistake, killed_by, cell, code) in WRONG.items():
        add(folder, "wrong", name, f"mistake: {mistake}\nkilled_by: {killed_by}", cell, code)
    return Exercise(folder)


def add(folder: Path, kind: str, name: str, header: str, cell: str, code: str) -> None:
    comments = "\n".join(f"# {line}" for line in header.splitlines())
    (folder / kind / f"{name}.py").write_text(f'{comments}\n\n# %% nbgrader={{"grade_id": "{cell}"}}\n{code}\n')


def run(toy: Exercise) -> tuple[MatrixReport, dict[str, Outcome]]:
    seen: list[tuple[int, int]] = []
    report = run_matrix([toy], seed=None, jobs=2, on_outcome=lambda outcome, done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == list(range(1, len(report.outcomes) + 1))
    return report, {outcome.answer: outcome for outcome in report.outcomes}


def test_it_holds(toy: Exercise) -> None:
    report, outcomes = run(toy)
    assert report.holds, report
    assert list(outcomes) == [
        "reference", "empty", "wrong/first_only", "wrong/forgets", "wrong/truncates", "right/operator_module"
    ]  # fmt: skip
    assert outcomes["reference"].points == outcomes["right/operator_module"].points == 12
    assert outcomes["empty"].points == 0
    assert outcomes["wrong/forgets"].failed == ["counts-up"]
    assert outcomes["wrong/forgets"].max_points == 8, "it goes no further than the criterion that must fail"


BAD = {
    "passes": ("wrong", "mistake: none\nkilled_by: adds-up", "add", "def add(a, b): return b + a", "it passed"),
    "fails elsewhere": (
        "wrong", "mistake: m\nkilled_by: rounds", "add", "def add(a, b): return 0", "adds-up failed before: expected"
    ),
    "dies": ("wrong", "mistake: m\nkilled_by: adds-up", "add", "def add(a, b): return c", "it died of NameError"),
    "never answers": (
        "wrong", "mistake: m\nkilled_by: adds-up\ndies_of: NameError", "add", "def add(a, b): return 0",
        "it died of nothing",
    ),
    "is wrong": ("right", "differs: d", "add", "def add(a, b): return 0", "adds-up failed: expected"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_an_answer_of_which_the_verdicts_are_not_what_they_must_be(toy: Exercise, case: str) -> None:
    kind, header, cell, code, problem = BAD[case]
    add(toy.folder, kind, "bad", header, cell, code)
    report, outcomes = run(toy)
    assert not report.holds
    bad = outcomes[f"{kind}/bad"]
    assert not bad.holds
    assert bad.problem.startswith(problem)
    assert all(outcome.holds for outcome in report.outcomes if outcome is not bad)


def test_an_answer_may_die_of_its_mistake(toy: Exercise) -> None:
    header = "mistake: m\nkilled_by: adds-up\ndies_of: death"
    add(toy.folder, "wrong", "dies", header, "add", "import os\ndef add(a, b): os._exit(1)")
    assert run(toy)[0].holds


def test_a_criterion_that_nothing_is_killed_by(toy: Exercise) -> None:
    (toy.folder / "wrong" / "truncates.py").unlink()
    report, _ = run(toy)
    assert not report.holds
    assert report.unguarded == [f"{NAME}: rounds"]
    assert all(outcome.holds for outcome in report.outcomes)


def test_a_criterion_that_everything_passes(toy: Exercise) -> None:
    path = toy.folder / "acceptance.py"
    path.write_text(path.read_text().replace('equal(work.call("add", a, b), a + b)', 'work.call("add", a, b)'))
    report, outcomes = run(toy)
    assert not report.holds
    assert outcomes["wrong/first_only"].problem == "it passed"


def test_a_criterion_that_nothing_passes(toy: Exercise) -> None:
    path = toy.folder / "acceptance.py"
    path.write_text(path.read_text().replace("a + b)", "a + b + 1)"))
    report, outcomes = run(toy)
    assert not report.holds
    assert outcomes["reference"].problem.startswith("adds-up failed")


HEADERS = [
    ("wrong", "killed_by: adds-up", "add", "must say at its top"),
    ("wrong", "mistake: m", "add", "must say at its top"),
    ("right", "mistake: m", "add", "must say at its top: # differs"),
    ("wrong", "mistake: m\nkilled_by: adds", "add", "there is no such criterion"),
    ("wrong", "mistake: m\nkilled_by: adds-up\ndies_of: boredom", "add", "it may be one of"),
    ("wrong", "mistake: m\nkilled_by: adds-up", "adds-up", "no such solution cell"),
    ("right", "differs: d", "missing", "no such solution cell"),
]


@pytest.mark.parametrize(("kind", "header", "cell", "problem"), HEADERS)
def test_an_answer_that_is_not_as_it_must_be(toy: Exercise, kind: str, header: str, cell: str, problem: str) -> None:
    add(toy.folder, kind, "bad", header, cell, "pass")
    with pytest.raises(ExerciseError, match=problem):
        variants(toy)


def test_an_answer_that_replaces_nothing(toy: Exercise) -> None:
    (toy.folder / "right" / "bad.py").write_text("# differs: d\n\n# %%\npass\n")
    with pytest.raises(ExerciseError, match="replaces no cell"):
        variants(toy)


def test_command(toy: Exercise, course: Course) -> None:
    done = course.autograder("matrix", "ch01_ex9", "--json", "--seed", "s")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["holds"]
    assert report["seed"] == "s"
    assert len(report["outcomes"]) == 6
    assert "6/6" in done.stderr

    add(toy.folder, "right", "bad", "differs: d", "add", "def add(a, b): return 0")
    done = course.autograder("matrix")
    assert done.returncode == 1
    assert "adds-up failed" in done.stdout
    assert "Slowest" in done.stdout
    assert course.autograder("matrix", "ch77").returncode == 2
