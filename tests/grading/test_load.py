"""A class hands in, some hostile; the grader is killed and the disk runs full: each grade comes out right, and once."""

import json
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from autograder.attacking.attack import Attack, attacks
from autograder.attacking.ground import Ground
from autograder.course.records import Records
from autograder.course.signing import key_file, load_key
from autograder.course.verify import verify
from autograder.exercises import Exercise, find_exercises
from tests.grading.course import BIN, NAME, Course
from tests.system import unavailable
from workbook.sandbox.isolation.server import available

SUBMISSIONS, HOSTILE, KILLS = 300, 30, 3
ROOM = 96 << 20  # bytes of the disk
LEFT = 400 << 10  # of it, when it is almost full

# What waits for a time limit would make this test take an hour; tests/attacks runs all of them.
SLOW = {"answers_never", "endless_c_call", "uninterruptible_loop", "stops_itself", "memory_bomb", "costly_values"}

HONEST: dict[str, tuple[float, dict[str, str]]] = {
    "right": (12, {}),
    "right in another way": (12, {"add": "import operator\nadd = operator.add"}),
    "forgets the second number": (7, {"add": "def add(a, b):\n    return a"}),
    "forgets the total": (9, {"counter": "class Counter:\n    def up(self, n):\n        return 0"}),
    "rounds down": (10, {"round": "import math\ndef rounded(x):\n    return math.floor(x)"}),
    "not written": (0, dict.fromkeys(("add", "counter", "round"), "raise NotImplementedError")),
    "no Python": (7, {"add": "def add(a, b:"}),
    "ends its process": (0, {"round": "import os\nos._exit(3)"}),
}


@pytest.fixture
def course(released_course: Course, tmp_path: Path) -> Iterator[Course]:
    """A course on a disk of its own."""
    if reason := available():
        unavailable(reason)
    root = tmp_path / "disk"
    root.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", root], capture_output=True, text=True, check=False
    )
    if done.returncode:
        unavailable(f"a disk of bounded size needs the right to mount: {done.stderr.strip()}")
    try:
        shutil.copytree(released_course.root, root, dirs_exist_ok=True)
        yield Course(root)
    finally:
        subprocess.run(["umount", "--lazy", root], check=True)


def hand_in(course: Course) -> dict[str, float]:
    """Hands all in; returns the points that each must get."""
    wanted: dict[str, float] = {}
    kinds = list(HONEST.items())
    for number in range(SUBMISSIONS - HOSTILE):
        points, answers = kinds[number % len(kinds)][1]
        notebook = course.solved(**answers)
        # Each is work of its own, so that all of it must be executed.
        notebook["cells"].append({"cell_type": "markdown", "metadata": {}, "source": f"Mine is number {number}."})
        course.submit(f"s{number:03}", notebook)
        wanted[f"s{number:03}"] = points
    (exercise,) = find_exercises(course.root)
    ground = Ground(exercise, {name: str(path) for name, path in worth_attacking(exercise).items()}, {})
    for number, attack in enumerate(hostile(exercise)):
        folder = ground.submit(attack, "empty", f"{number:02}-{attack.name}")
        wanted[folder.parent.name] = 0
    return wanted


def worth_attacking(exercise: Exercise) -> dict[str, Path]:
    root = exercise.root
    return {
        "solutions": exercise.folder / "wrong" / "first_only.py",
        "reference": exercise.notebook,
        "acceptance": exercise.folder / "acceptance.py",
        "release": exercise.released / f"{NAME}.ipynb",
        "gradebook": root / "gradebook.db",
        "neighbour": root / "submitted" / "s000" / NAME / f"{NAME}.ipynb",
        "key": key_file(),
        "home": Path.home(),
        "packages": Path(pytest.__file__).parents[1],
    }


def hostile(exercise: Exercise) -> list[Attack]:
    fit = [one for one in attacks() if one.fits(exercise) and one.name not in SLOW]
    return random.Random(0).sample(fit, HOSTILE)


def start(course: Course) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [BIN / "autograder", "grade", "--json"],
        cwd=course.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def recorded(course: Course) -> int:
    if not (course.root / "records.db").exists():
        return 0
    with Records(course.root) as records:
        return len(records.latest(NAME))


def kill_midway(course: Course, after: int, wait: float) -> None:
    """Starts grading, and kills it some time after so many more submissions have been recorded."""
    before, end = recorded(course), time.monotonic() + 120
    with start(course) as process:
        while recorded(course) < before + after:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.01)
        time.sleep(wait)
        below = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    _, left = psutil.wait_procs(below, timeout=30)
    assert not left, "its fork server and boxes end with it"


def fill(course: Course) -> Path:
    """Makes the disk almost full."""
    ballast = course.root / "ballast"
    free = psutil.disk_usage(str(course.root)).free
    ballast.write_bytes(bytes(max(0, free - LEFT)))
    return ballast


@pytest.mark.timeout(900)
def test_a_class_is_graded_right_whatever_happens(course: Course) -> None:
    wanted = hand_in(course)
    assert len(wanted) == SUBMISSIONS
    seed = random.randrange(1 << 32)
    print(f"killed at moments of seed {seed}")  # shown where the test fails
    moments = random.Random(seed)
    for number in range(KILLS):
        kill_midway(course, moments.randrange(5, 40), moments.random())
        if number == 0:
            ballast = fill(course)
            with start(course) as process:
                _, errors = process.communicate(timeout=300)
            assert process.returncode == 1
            assert "make room on the disk, and run the same command again" in errors
            assert "Traceback" not in errors
            ballast.unlink()
    with start(course) as process:
        output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    report = json.loads(output)
    assert_right(course, wanted, report)
    again = json.loads(course.autograder("grade", "--json").stdout)
    assert {grade["state"] for grade in again["submissions"]} == {"graded before"}
    assert again["seconds"] < 0.05 * SUBMISSIONS


def assert_right(course: Course, wanted: dict[str, float], report: dict[str, Any]) -> None:
    assert {grade["student"]: grade["points"] for grade in report["submissions"]} == wanted
    assert course.totals() == wanted
    with Records(course.root) as records:
        counts = Counter(len(records.all_of(NAME, student)) for student in wanted)
    assert counts == {1: SUBMISSIONS}, "each is recorded once, however often the grader was killed"
    found = verify(find_exercises(course.root), load_key())
    assert (found.holds, found.grades) == (True, SUBMISSIONS)
    assert not list((course.root / "autograded").rglob(f".{NAME}-*")), "nothing half is left"
