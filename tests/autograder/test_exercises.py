"""Exercises in their folders, and what a worker's library holds of the workbook."""

from pathlib import Path

import pytest

from autograder.exercises import (
    Exercise,
    ExerciseError,
    find_exercises,
    languages_of,
    load_acceptance,
    select_exercises,
)
from autograder.library import worker_library
from autograder.names import UnknownNameError

CRITERIA = '''
from autograder.acceptance import criterion

@criterion(hint="")
def second_named_first(work, rng):
    """One."""

@criterion(hint="")
def a(work, rng):
    """Two."""
'''


def write(folder: Path, text: str) -> Path:
    path = folder / "acceptance.py"
    path.write_text(text)
    return path


def test_criteria_come_in_the_order_of_the_file_and_nothing_is_written_beside_it(tmp_path: Path) -> None:
    found = load_acceptance(write(tmp_path, CRITERIA + 'HIDES = ("workbook.bench",)'))
    assert list(found.criteria) == ["second-named-first", "a"]
    assert (found.hides, found.preload) == (("workbook.bench",), ())
    assert [path.name for path in tmp_path.iterdir()] == ["acceptance.py"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has no criteria"),
        ("1 / 0", "does not run: ZeroDivisionError"),
        ("def f(:", "does not run: SyntaxError"),
        (CRITERIA + 'HIDES = "workbook.bench"', "HIDES must be a tuple"),
        (CRITERIA + "PRELOAD = (1,)", "PRELOAD must be a tuple"),
    ],
)
def test_an_acceptance_that_is_none(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ExerciseError, match=problem):
        load_acceptance(write(tmp_path, text))


def test_an_acceptance_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ExerciseError, match=r"acceptance\.py is missing"):
        load_acceptance(tmp_path / "acceptance.py")


def test_exercises_are_folders_with_their_kind_of_name(tmp_path: Path) -> None:
    for name in ("ch02_ex1_cache", "ch01_ex2_files", "ch01_ex1_agent", "notes", ".hidden", "ch1_ex1_short"):
        (tmp_path / "solutions" / name).mkdir(parents=True)
    (tmp_path / "solutions" / "ch01_ex3_file").touch()
    assert [exercise.name for exercise in find_exercises(tmp_path)] == [
        "ch01_ex1_agent",
        "ch01_ex2_files",
        "ch02_ex1_cache",
    ]
    one = Exercise(tmp_path / "solutions" / "ch01_ex1_agent")
    assert select_exercises(["ch01_ex1", "ch01_ex1_agent"], tmp_path) == [one]
    assert len(select_exercises([], tmp_path)) == 3
    assert one.released == tmp_path / "exercises" / "ch01_ex1_agent"
    with pytest.raises(UnknownNameError, match="'ch01' fits several exercises: ch01_ex1_agent, ch01_ex2_files"):
        select_exercises(["ch01"], tmp_path)
    with pytest.raises(UnknownNameError, match="'ch09' is no exercise"):
        select_exercises(["ch09"], tmp_path)
    with pytest.raises(UnknownNameError, match="no exercises in"):
        select_exercises([], tmp_path / "elsewhere")


def test_a_workers_library_has_the_workbook_without_what_is_hidden() -> None:
    whole, less = worker_library(()), worker_library(("workbook.sandbox.kernel", "workbook.serving"))
    gone = whole.keys() - less.keys()
    assert "workbook/sandbox/kernel.py" in gone
    assert "workbook/serving/__init__.py" in gone
    assert all(name == "workbook/sandbox/kernel.py" or name.startswith("workbook/serving/") for name in gone)
    assert all(source.is_file() for source in whole.values())
    assert not [name for name in whole if "__pycache__" in name or name.endswith(".pyc")]


def test_a_workers_library_has_nothing_of_the_judge() -> None:
    own = {name for name in worker_library(()) if name.startswith("autograder/")}
    assert own == {f"autograder/{name}.py" for name in ("__init__", "check", "values", "wire", "worker")}
    assert not [name for name in worker_library(()) if not name.startswith(("autograder/", "workbook/"))]


def test_hiding_what_does_not_exist_is_a_mistake() -> None:
    with pytest.raises(ExerciseError, match=r"workbook\.sandbox\.kernels"):
        worker_library(("workbook.sandbox.kernels",))


@pytest.mark.parametrize(
    ("cell", "languages"),
    [
        ("@triton.jit\ndef add(x): pass", {"triton"}),
        ('ADD = r"""extern "C" __global__ void add() {}"""', {"cuda"}),
        ('ADD: str = """__global__ void add() {}"""', {"cuda"}),
        ('ADD = r"""__global__ void add() {}"""\n@triton.jit\ndef add(x): pass', {"cuda", "triton"}),
        ('def add():\n    """What __global__ means."""', set()),
        ('# __global__\nADD = ""', set()),
        ("total = 3", set()),
    ],
)
def test_what_kernels_in_a_cell_are_written_in(cell: str, languages: set[str]) -> None:
    assert languages_of(cell) == languages
