"""Each defence is what it is taken for: without it an attack gets through, and is seen to."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from autograder.attacking import run
from autograder.attacking.attack import ATTACKS, attacks
from autograder.attacking.defences import DEFENCES
from autograder.attacking.report import AttackOutcome
from autograder.attacking.run import run_attacks
from autograder.exercises import Exercise
from workbook.sandbox.isolation import server
from workbook.sandbox.isolation.server import ForkServer

ROOT = Path(__file__).parents[2]
SEED = "known to the tests"
Patch = pytest.MonkeyPatch


def attacked(exercise: Exercise, name: str) -> list[AttackOutcome]:
    work = [(exercise, attack) for attack in attacks() if attack.name == name]
    return run_attacks(work, seed=SEED, jobs=1, on_outcome=lambda *_: None).outcomes


# ---------------------------------------------------------------- what lies around the box, and in the judge


def links_are_followed(patch: Patch, tmp_path: Path) -> None:
    patch.setattr("os.O_NOFOLLOW", 0)


def pictures_are_not_counted(patch: Patch, tmp_path: Path) -> None:
    patch.setattr("autograder.course.submissions.LARGEST_PICTURES", 1 << 40)


def the_submission_is_graded_as_it_is(patch: Patch, tmp_path: Path) -> None:
    from nbformat.v4 import new_code_cell, new_notebook

    def taken(release: Any, submission: Any) -> Any:
        cells = [cell for cell in submission.cells if cell.kind == "code"]
        made = [new_code_cell(cell.source, metadata={"nbgrader": cell.nbgrader}) for cell in cells]
        return new_notebook(cells=made), []

    patch.setattr("autograder.course.unit.restored", taken)


def graded_cells_are_executed(patch: Patch, tmp_path: Path) -> None:
    patch.setattr("autograder.grading.is_judged", lambda cell: False)


def cells_take_their_time(patch: Patch, tmp_path: Path) -> None:
    patch.setattr(run, "MOST_SECONDS", 3.0)
    patch.setattr(run, "CELL_TIMEOUT", 6)


def outputs_are_unbounded(patch: Patch, tmp_path: Path) -> None:
    patch.setattr(run, "LARGEST_NOTEBOOK", 1 << 21)
    patch.setattr("autograder.outputs.MAX_OUTPUT", 1 << 40)


def the_seed_is_in_the_box(patch: Patch, tmp_path: Path) -> None:
    def start(entry: str, *, environment: Mapping[str, str], **options: Any) -> ForkServer:
        return ForkServer(entry, environment={**environment, "SEED": SEED}, **options)

    patch.setattr(server, "ForkServer", start)


def the_environment_is_inherited(patch: Patch, tmp_path: Path) -> None:
    import os

    def start(entry: str, *, environment: Mapping[str, str], **options: Any) -> ForkServer:
        ours = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # it would find no module
        return ForkServer(entry, environment={**ours, **environment}, **options)

    patch.setattr(server, "ForkServer", start)


def criteria_take_their_time(patch: Patch, tmp_path: Path) -> None:
    patch.setattr(run, "MOST_SECONDS", 3.0)
    patch.setattr(run, "CRITERION_TIMEOUT", 4.0)


def calls_are_made_once(patch: Patch, tmp_path: Path) -> None:
    def once(work: Any, name: str, cases: Any, check: Callable[..., None]) -> None:
        for case in cases:
            check(work.call(name, *case), *case)

    patch.setattr("autograder.numeric.pure", once)


def nothing_is_hidden(patch: Patch, tmp_path: Path) -> None:
    from autograder.library import worker_library

    patch.setattr("autograder.library.worker_library", lambda hides: worker_library(()))


def any_kernel_is_lifted(patch: Patch, tmp_path: Path) -> None:
    from autograder.kernel_language import Uses

    patch.setattr("autograder.lifting.check_function", lambda function: Uses({}, set()))


# ---------------------------------------------------------------- the box


def without(file: str, *changes: tuple[str, str]) -> Callable[[Patch, Path], None]:
    """Boxes are made by code in which something is replaced."""

    def off(patch: Patch, tmp_path: Path) -> None:
        text = (ROOT / f"workbook/sandbox/isolation/{file}.py").read_text()
        for line, instead in changes:
            assert line in text
            text = text.replace(line, instead)
        (tmp_path / "broken.py").write_text(text)
        broken = {f"workbook/sandbox/isolation/{file}.py": tmp_path / "broken.py"}

        def start(entry: str, *, library: Mapping[str, Path], **options: Any) -> ForkServer:
            return ForkServer(entry, library={**library, **broken}, **options)

        patch.setattr(server, "ForkServer", start)

    return off


NOTHING = "pass  # "

# What is switched off; the attack, the shape of the exercise, and what is then seen, with either answer.
OFF: dict[str, tuple[Callable[[Patch, Path], None], str, str, str]] = {
    "regular files alone": (links_are_followed, "symbolic_links", "object", "what is secret of: solutions"),
    "bounded reading": (pictures_are_not_counted, "attachments_bomb", "object", "its graded notebook has 36 MiB"),
    "restoration": (the_submission_is_graded_as_it_is, "deleted_cells", "object", "the graded cells hold 0"),
    "judged from outside": (graded_cells_are_executed, "replaced_check", "object", "the judge gives 0 points"),
    "cells end": (cells_take_their_time, "stops_itself", "object", "it took "),
    "bounded outputs": (outputs_are_unbounded, "display_bomb", "object", "its graded notebook has "),
    "nothing to find": (the_seed_is_in_the_box, "reads_environment", "object", "what is secret of: seed"),
    "clean environment": (the_environment_is_inherited, "reads_environment", "object", "secret of: environment"),
    "criteria end": (criteria_take_their_time, "answers_never", "tensor", "it took "),
    "purity": (calls_are_made_once, "one_buffer", "tensor", "the reference has 10 of 10 points, it loses"),
    "hidden modules": (nothing_is_hidden, "imports_the_answer", "object", "it has reached its goal"),
    "allowed kernels": (any_kernel_is_lifted, "pruned_branch", "kernel", "has 9 of 11 points, it nothing"),
    "system call filter": (
        without("confinement", ("linux.load_seccomp", NOTHING)), "ptrace", "object", "it has reached its goal"
    ),
    "network namespace": (
        without("confinement", ("linux.CLONE_NEWNET | ", ""), ("linux.bring_up_loopback()", NOTHING)),
        "network", "object", "it has reached its goal",
    ),
    "IPC namespace": (
        without("confinement", ("linux.CLONE_NEWIPC | ", "")), "shared_memory", "object", "it has reached its goal"
    ),
    "no capabilities": (
        without(
            "confinement",
            *((f"            {line}", f"            {NOTHING}") for line in ("os.setresgid", "os.setresuid")),
            ("linux.drop_capabilities()", NOTHING),
            (",uid={uid},gid={uid}", ""),
        ),
        "becomes_root", "object", "it has reached its goal",
    ),
}  # fmt: skip


@pytest.mark.parametrize("defence", OFF)
def test_without_a_defence_an_attack_gets_through(
    exercises: dict[str, Exercise], monkeypatch: Patch, tmp_path: Path, defence: str
) -> None:
    off, name, shape, seen = OFF[defence]
    monkeypatch.setattr(run, "CRITERION_TIMEOUT", 3.0)
    assert [outcome.problem for outcome in attacked(exercises[shape], name)] == ["", ""]
    off(monkeypatch, tmp_path)
    problems = [outcome.problem for outcome in attacked(_anew(exercises[shape]), name)]
    assert any(seen in problem for problem in problems), problems


def _anew(exercise: Exercise) -> Exercise:
    """The same exercise, of which nothing is loaded yet."""
    return Exercise(exercise.folder)


def test_every_attack_is_stopped_by_a_defence_and_every_defence_stops_one() -> None:
    assert {attack.stopped_by for attack in attacks()} == set(DEFENCES)


def test_the_tests_of_defences_exist() -> None:
    wanted = {defence.test for defence in DEFENCES.values()}
    files = sorted({test.split("::")[0] for test in wanted})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = set(done.stdout.splitlines())
    found |= {re.sub(r"\[.*", "", line) for line in found}
    assert wanted <= found, wanted - found
    assert {name for name, defence in DEFENCES.items() if "test_without_a_defence" in defence.test} == set(OFF)


def test_an_attack_that_is_not_as_it_must_be(tmp_path: Path) -> None:
    from autograder.attacking.attack import AttackError, read_attack

    good = (ATTACKS / "sys_exit.py").read_text()
    cases = {
        "must say at its top": good.replace("# goal:", "# aim:"),
        "which is no": good.replace("# goal:", "# goal"),
        "is stopped by luck": re.sub("# stopped by: .*", "# stopped by: luck", good),
        "says opencl": good.replace("# reference:", "# changes: opencl\n# reference:"),
        "says wins": good.replace("# reference: keeps", "# reference: wins"),
        "has the parts": good.replace("# %% after", "# %% sometime"),
        "each may be there once": good + good[good.index("# %%") :],
    }
    for message, text in cases.items():
        (tmp_path / "bad.py").write_text(text)
        with pytest.raises(AttackError, match=message):
            read_attack(tmp_path / "bad.py")
    shutil.copy(ATTACKS / "sys_exit.py", tmp_path / "bad.py")
    assert read_attack(tmp_path / "bad.py").raises == "SystemExit"
