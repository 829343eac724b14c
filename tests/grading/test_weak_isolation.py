"""Grading is refused where a layer of the sandbox is missing; where that is accepted, every report says so."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from autograder import isolation_check
from autograder.exercises import Exercise
from autograder.grading import Grader
from autograder.isolation_check import WeakIsolationError, check_isolation
from autograder.matrix import run_matrix
from tests.grading.course import NAME, Course, cell_of
from tests.system import unavailable
from workbook.sandbox.isolation import probes
from workbook.sandbox.isolation.probes import Probe
from workbook.sandbox.isolation.server import available

FILTER = "system call filter"
HOLDS = Probe("keyring", True, "its own")
SPARED = Probe("user ID", False, "shared", "run as root", needed=False)
MISSING = Probe("no capabilities", False, "the box holds some", "take them away")
NO_BOX = Probe(probes.SANDBOX, False, "no namespaces", "start the container with --privileged")


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process has found of this machine is of no account."""
    monkeypatch.setattr(isolation_check, "_all_hold", False)


@pytest.fixture
def boxes() -> None:
    if reason := available():
        unavailable(reason)


@pytest.fixture
def no_libseccomp(boxes: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Programs that are started here do not find the library of the system call filter."""
    (tmp_path / "sitecustomize.py").write_text(
        "import ctypes.util\nfind = ctypes.util.find_library\n"
        "ctypes.util.find_library = lambda name: None if name == 'seccomp' else find(name)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)


def find(monkeypatch: pytest.MonkeyPatch, *found: Probe) -> list[int]:
    """Has the probes find this; the list grows with each time that they are asked."""
    asked: list[int] = []

    def probe() -> list[Probe]:
        asked.append(1)
        return list(found)

    monkeypatch.setattr(probes, "probe", probe)
    return asked


# ---------------------------------------------------------------- the check


def test_where_all_needed_layers_hold_they_are_probed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = find(monkeypatch, HOLDS, SPARED)
    assert check_isolation(accept_weak=False) == []
    assert check_isolation(accept_weak=True) == []
    assert len(asked) == 1


def test_each_layer_that_is_missing_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = find(monkeypatch, HOLDS, SPARED, MISSING, Probe(FILTER, False, "the library is missing: install it"))
    for _ in range(2):  # and again, for somebody may have mended it
        with pytest.raises(WeakIsolationError) as refused:
            check_isolation(accept_weak=False)
    assert len(asked) == 2
    lines = [line.strip() for line in str(refused.value).splitlines()]
    assert "no capabilities: the box holds some (take them away)" in lines
    assert f"{FILTER}: the library is missing: install it" in lines
    assert "--accept-weak-isolation" in str(refused.value)
    assert not any(layer in str(refused.value) for layer in ("keyring", "user ID"))
    for _ in range(2):
        assert check_isolation(accept_weak=True) == ["no capabilities", FILTER]


def test_that_there_is_no_box_cannot_be_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    find(monkeypatch, NO_BOX)
    with pytest.raises(
        WeakIsolationError, match=r"needs a sandbox.*no namespaces \(start the container with"
    ) as refused:
        check_isolation(accept_weak=True)
    assert "--accept" not in str(refused.value)


def test_a_grader_is_not_made_where_a_layer_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    find(monkeypatch, HOLDS, MISSING)
    with pytest.raises(WeakIsolationError):
        Grader()
    with Grader(accept_weak_isolation=True) as grader:
        assert grader.weak_isolation == ["no capabilities"]


def test_the_matrix_is_refused_or_says_so(monkeypatch: pytest.MonkeyPatch, course: Course, boxes: None) -> None:
    find(monkeypatch, HOLDS, MISSING)
    exercises = [Exercise(course.root / "solutions" / NAME)]
    with pytest.raises(WeakIsolationError):
        run_matrix(exercises, seed=None, jobs=2, on_outcome=lambda *_: None)
    report = run_matrix(exercises, seed=None, jobs=2, on_outcome=lambda *_: None, accept_weak_isolation=True)
    assert report.weak_isolation == ["no capabilities"]
    assert json.loads(report.to_json())["weak_isolation"] == ["no capabilities"]


# ---------------------------------------------------------------- commands, without the filter's library


def assert_refused(text: str) -> None:
    assert f"{FILTER}: Unable to find libseccomp: install the Debian package libseccomp2" in " ".join(text.split())
    assert "--accept-weak-isolation" in text


@pytest.mark.usefixtures("no_libseccomp")
def test_grade_is_refused(course: Course) -> None:
    course.submit("alice", course.solved())
    done = course.autograder("grade")
    assert (done.returncode, done.stdout) == (1, "")
    assert_refused(done.stderr)
    assert not (course.root / "autograded").exists()


@pytest.mark.usefixtures("no_libseccomp")
def test_grade_goes_on_where_it_is_accepted_and_says_so(course: Course) -> None:
    course.submit("alice", course.solved())
    done = course.autograder("grade", "--accept-weak-isolation")
    assert done.returncode == 0, done.stderr
    assert f"these layers of the sandbox did not hold: {FILTER}." in done.stdout
    assert course.totals() == {"alice": 12}
    assert_reported(course)
    done = course.autograder("grade", "--accept-weak-isolation", "--json")
    report = json.loads(done.stdout)
    (alice,) = report["submissions"]
    assert (alice["state"], alice["weak_isolation"], report["weak_isolation"]) == ("graded before", [FILTER], [FILTER])


@pytest.mark.usefixtures("no_libseccomp")
def test_the_matrix_is_refused_and_accepted_from_the_command_line(course: Course) -> None:
    done = course.autograder("matrix", NAME)
    assert (done.returncode, done.stdout) == (1, "")
    assert_refused(done.stderr)
    done = course.autograder("matrix", NAME, "--accept-weak-isolation")
    assert f"these layers of the sandbox did not hold: {FILTER}." in done.stdout
    done = course.autograder("matrix", NAME, "--accept-weak-isolation", "--json")
    assert json.loads(done.stdout)["weak_isolation"] == [FILTER]


@pytest.mark.usefixtures("no_libseccomp")
def test_nbgrader_is_refused(course: Course) -> None:
    course.submit("alice", course.solved())
    done = course.nbgrader("autograde", NAME)
    assert done.returncode != 0
    assert_refused(done.stderr)
    assert not (course.root / "autograded").exists()


@pytest.mark.usefixtures("no_libseccomp")
@pytest.mark.parametrize("place", ["option", "configuration"])
def test_nbgrader_goes_on_where_it_is_accepted_and_says_so(course: Course, place: str) -> None:
    course.submit("alice", course.solved())
    options = ["--SandboxedAutograde.accept_weak_isolation=True"] if place == "option" else []
    if place == "configuration":
        with (course.root / "nbgrader_config.py").open("a") as config:
            config.write("\nc.SandboxedAutograde.accept_weak_isolation = True\n")
    done = course.nbgrader("autograde", NAME, *options)
    assert done.returncode == 0, done.stderr
    assert f"these layers of the sandbox did not hold: {FILTER}." in done.stderr
    assert "nrecognized" not in done.stderr
    assert course.totals() == {"alice": 12}
    assert_reported(course)


def assert_reported(course: Course) -> None:
    """In the record, the graded notebook and the feedback."""
    assert course.record("alice")["environment"]["weak_isolation"] == [FILTER]
    first = course.autograded("alice")["cells"][0]
    assert f"did not hold: {FILTER}." in "".join(first["source"])
    assert f"did not hold: {FILTER}." in course.feedback("alice")


@pytest.mark.usefixtures("no_libseccomp")
def test_formgrader_is_refused(course: Course) -> None:
    """As its button calls it, in a process of its own, since the library is found in this one."""
    course.submit("alice", course.solved())
    script = """
from pathlib import Path
from nbgrader.apps import NbGraderAPI
from autograder.course.config import course_directory, load_config
root = Path.cwd()
config = load_config(root)
result = NbGraderAPI(course_directory(root), config=config).autograde("ch01_ex9_toy", "alice")
print(result["success"], result["log"], result["error"])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=course.root, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.startswith("False")
    assert_refused(done.stdout)


def test_where_all_holds_nothing_is_said(course: Course, boxes: None) -> None:
    course.submit("alice", course.solved())
    with Grader() as grader:
        report = course.grade(grader)
    assert (
        report.weak_isolation
        == report.submissions[0].weak_isolation
        == course.record("alice")["environment"]["weak_isolation"]
        == []
    )
    assert "weak isolation" not in json.dumps(course.autograded("alice"))
    assert cell_of(course.autograded("alice"), "adds-up")["outputs"]
