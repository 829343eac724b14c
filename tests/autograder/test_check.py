"""A student's own check in the notebook."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from autograder.check import IN_WORKER, CheckFailed, check

ACCEPTANCE = '''
from autograder.acceptance import NotRun, criterion, equal

@criterion(hint=("Twice, not squared.", "x + x"))
def doubles(work, rng):
    """`double(x)` is 2 x."""
    equal(work.call("double", 3), 6, "The square?")

@criterion(hint="Ask the other.")
def both(work, rng):
    """`outer` uses `double`."""
    equal(work.call("outer", 3), work.call("double", 3) + 1)

@criterion(hint="")
def needs_more(work, rng):
    """Cannot be run."""
    raise NotRun("no GPU")
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "acceptance.py").write_text(ACCEPTANCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("autograder.check._failed", {})
    return tmp_path


def double(x: int) -> int:
    return 2 * x


def outer(x: int) -> int:
    return double(x) + 1


@pytest.mark.usefixtures("folder")
def test_a_check_prints_or_raises(capsys: pytest.CaptureFixture[str]) -> None:
    check("doubles", double)
    check("both", outer, double)
    check("needs-more", double)
    assert capsys.readouterr().out == "✓ doubles\n✓ both\n– needs-more was not run: no GPU\n"
    with pytest.raises(CheckFailed) as caught:
        check("doubles", lambda x: x * x)
    lines = ["doubles: expected 6, got 9", "  asked: double(3) → 9", "  perhaps: The square?"]
    assert str(caught.value).splitlines() == [*lines, "  hint: Twice, not squared."]


@pytest.mark.usefixtures("folder")
def test_each_check_that_fails_again_shows_the_next_hint() -> None:
    def hint() -> str:
        with pytest.raises(CheckFailed) as caught:
            check("doubles", lambda x: x * x)
        return str(caught.value).splitlines()[-1]

    assert [hint() for _ in range(3)] == ["  hint: Twice, not squared.", "  hint: x + x", "  hint: x + x"]
    check("doubles", double)
    assert hint() == "  hint: Twice, not squared."


@pytest.mark.usefixtures("folder")
def test_one_object_stands_for_whatever_is_asked_for_and_several_have_names() -> None:
    check("doubles", lambda x: 2 * x)
    with pytest.raises(CheckFailed, match="does not define double"):
        check("doubles", outer, len)


@pytest.mark.usefixtures("folder")
def test_a_criterion_that_does_not_exist() -> None:
    with pytest.raises(LookupError, match="it has doubles, both, needs-more"):
        check("double", double)


def test_a_folder_without_criteria(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match=r"acceptance\.py is missing"):
        check("doubles", double)


def test_in_a_worker_a_check_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(IN_WORKER, "1")
    check("no such criterion", None)


def test_in_a_worker_importing_it_brings_nothing_of_the_judge_along() -> None:
    code = "import sys, autograder.check; print([name for name in sys.modules if name.startswith('autograder')])"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, IN_WORKER: "1"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['autograder', 'autograder.check']"
