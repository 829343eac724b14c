"""Grading on a Ray cluster: a local one of two nodes."""

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
from traitlets.config import Config
from typer.testing import CliRunner

from autograder.cli import app
from autograder.course.grade_report import GradeReport
from autograder.course.grade_submissions import grade_submissions, submissions_of
from autograder.course.ray_engine import RayEngine
from autograder.course.release import release
from autograder.course.released import read_release
from autograder.course.remote import Job, Parcel, Terms, Workplace, vanishing_folder
from autograder.course.start import ray_engine
from autograder.course.submissions import read_submission
from autograder.exercises import Exercise, find_exercises
from autograder.isolation_check import WeakIsolationError
from tests.grading.course import BIN, NAME, Course, cell_of
from tests.grading.stand_in import SEED, StandIn
from tests.system import unavailable
from workbook.sandbox.isolation.server import available

NOTES = '''
import json
import os
import time
from pathlib import Path

import ray
from filelock import Timeout

from autograder.course.engines import device_lock

notes = Path({notes!r})


def note(**more):
    """Notes that this criterion is running, and waits until it may go on."""
    where = {{"node": ray.get_runtime_context().get_node_id(), "pid": os.getpid(), "began": time.monotonic(), **more}}
    path = notes / f"{{os.getpid()}}-{{time.monotonic_ns()}}.json"
    write(path, where)
    while not (notes / "go").exists():
        time.sleep(0.05)
    time.sleep(0.2)
    write(path, {{**where, "ended": time.monotonic()}})


def write(path, what):
    path.with_suffix(".tmp").write_text(json.dumps(what))
    path.with_suffix(".tmp").rename(path)


def held():
    """Whether somebody holds the lock of this machine's device."""
    try:
        with device_lock().acquire(timeout=0):
            return False
    except Timeout:
        return True
'''


@pytest.fixture(scope="module")
def boxes() -> None:
    """Needs Ray, and boxes."""
    if find_spec("ray") is None:
        unavailable("Ray is not installed: `make setup`")
    if reason := available():
        unavailable(reason)


@pytest.fixture(scope="module")
def cluster(boxes: None) -> Iterator[Any]:
    """Two nodes with a processor each, the second with a device. The first one cannot be removed."""
    from ray.cluster_utils import Cluster

    # A path of pytest's own is too long for sockets.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        cluster.add_node(num_cpus=1, num_gpus=1)
        yield cluster
        cluster.shutdown()
        wait_until(lambda: not [one for one in psutil.Process().children(recursive=True) if "ray" in one.name()])


def wait_until(holds: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)


def grade(course: Course, engine: RayEngine) -> GradeReport:
    return grade_submissions(
        submissions_of(find_exercises(course.root), []),
        engine,
        on_start=lambda exercise, student: None,
        on_grade=lambda one: None,
    )


def with_notes(course: Course, name: str = NAME, *, needs: tuple[str, ...] = (), more: str = "") -> "Notes":
    """Has an exercise's first criterion note where it runs."""
    folder = course.root / "notes"
    folder.mkdir(exist_ok=True)
    path = course.root / "solutions" / name / "acceptance.py"
    begin = '"""`add(a, b)` is the sum."""\n'
    text = path.read_text().replace(begin, f"{begin}    note(name={name!r}{more})\n")
    text = text.replace("\nHIDES =", f"{NOTES.format(notes=str(folder))}\nNEEDS = {needs!r}\nHIDES =")
    path.write_text(text)
    return Notes(folder)


class Notes:
    """What criteria have noted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def all(self, **such: Any) -> list[dict[str, Any]]:
        """Those in which this stands, in the order in which they began."""
        found = [json.loads(path.read_text()) for path in self._folder.glob("*.json")]
        found = [one for one in found if one.items() >= such.items()]
        return sorted(found, key=lambda one: one["began"])

    def go(self) -> None:
        """Lets all go on."""
        (self._folder / "go").touch()


REACHES = """
import socket

def add(a, b):
    came = []
    for family, address in {addresses!r}:
        try:
            with socket.socket(family) as one:
                one.settimeout(2)
                one.connect(address)
            came.append("connected")
        except OSError as error:
            came.append(type(error).__name__)
    return came
"""

LOOKS = """
import os, resource, signal

def add(a, b):
    signals = sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ()))), str(signal.getsignal(signal.SIGINT))
    return signals, sorted(os.environ), os.getcwd(), os.umask(0), sorted(os.listdir("/proc/self/fd"))

def rounded(x):
    return [resource.getrlimit(number) for number in range(16)]
"""

FORK_BOMB = """
import os, time

try:
    while True:
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
except OSError:
    pass
"""


def test_the_verdicts_are_those_of_the_local_engine(
    course: Course, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = course.root / "solutions" / NAME / "acceptance.py"
    path.write_text(path.read_text().replace('used?")', 'used?", seconds=3)'))
    gcs = cluster.address.rpartition(":")
    addresses = [(socket.AF_INET, (gcs[0], int(gcs[2])))]
    addresses += [(socket.AF_UNIX, node._raylet_socket_name) for node in cluster.list_all_nodes()]
    for family, address in addresses:
        with socket.socket(family) as one:
            one.connect(address)
    (course.root / "workbook").mkdir()
    (course.root / "workbook" / "__init__.py").write_text("raise ImportError('another version lies in the course')")
    course.submit("right", course.solved())
    course.submit("wrong", course.solved(add="def add(a, b): return a"))
    course.submit("empty", course.released())
    course.submit("no-json", "{")
    course.submit("exits", course.solved(add="import os\nos._exit(3)"))
    course.submit("hangs", course.solved(add="def add(a, b):\n    while True: pass"))
    course.submit("forks", course.solved(add=f"{FORK_BOMB}\ndef add(a, b): return a + b"))
    course.submit("looks", course.solved(add=LOOKS, round=""))
    course.submit("reaches", course.solved(add=REACHES.format(addresses=addresses)))
    found = []
    for arguments in ([], ["--force", "--engine", "ray"]):
        done = course.autograder("grade", "--json", "--seed", SEED, *arguments)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        found.append({one["student"]: one for one in report["submissions"]})
        assert len(done.stderr.splitlines()) == 10, done.stderr
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    local, ray = found
    for student, one in local.items():
        for verdict, other in zip(one["verdicts"], ray[student]["verdicts"], strict=True):
            assert {**other, "seconds": 0} == {**verdict, "seconds": 0}, student
    assert [ray[student]["points"] for student in ("right", "wrong", "empty", "hangs", "forks")] == [12, 7, 0, 7, 12]
    assert "connected" not in ray["reaches"]["verdicts"][0]["message"]
    assert all(record["seed"] == SEED for student in ray for record in course.records(student))
    assert {len(course.records(student)) for student in ray} == {2}


@pytest.mark.parametrize("lost", ["process", "node", "model's process"])
def test_what_is_lost_midway_is_graded_elsewhere_and_once(
    course: Course, cluster: Any, lost: str, capfd: pytest.CaptureFixture[str]
) -> None:
    students = [f"s{number}" for number in range(5)]
    for student in students:
        course.submit(student, course.solved(add=f"# {student}\ndef add(a, b): return a + b"))
    notes = with_notes(course, needs=("model",) if "model" in lost else ())
    (node,) = cluster.worker_nodes

    def lose() -> None:
        if lost == "node":
            wait_until(lambda: notes.all(node=node.node_id))
            cluster.remove_node(node, allow_graceful=False)
        else:
            wait_until(notes.all)
            os.kill(notes.all()[0]["pid"], signal.SIGKILL)
        notes.go()

    losing = threading.Thread(target=lose)
    with ray_engine(jobs=None, seed=SEED, accept_weak_isolation=False, address=cluster.address) as engine:
        losing.start()
        report = grade(course, engine)
        losing.join()
    if lost == "node":
        cluster.add_node(num_cpus=1, num_gpus=1)
    assert report.complete
    assert [(one.student, one.state, one.points) for one in report.submissions] == [(s, "graded", 12) for s in students]
    assert course.totals() == dict.fromkeys(students, 12)
    assert {student: len(course.records(student)) for student in students} == dict.fromkeys(students, 1)
    assert len(notes.all()) > len(students)
    said = capfd.readouterr()
    assert said.out == ""
    assert lost == "node" or said.err == ""


def test_what_a_node_cannot_do_is_said_and_nothing_is_kept(course: Course, cluster: Any) -> None:
    course.submit("alice", course.solved(add="print('\\n'.join('abcdefgh'))\ndef add(a, b): return a + b"))
    acceptance = course.root / "solutions" / NAME / "acceptance.py"
    criteria = acceptance.read_text()
    config = Config(LimitOutput={"max_lines": 3}, CourseDirectory={"root": "elsewhere"})

    def refuses(*arguments: Any) -> None:
        raise WeakIsolationError("node7: grading is refused")

    def failure(engine: RayEngine) -> str:
        (one,) = grade(course, engine).submissions
        assert one.state == "not graded"
        return one.failure

    options = {"jobs": 1, "seed": SEED, "accept_weak_isolation": False, "address": cluster.address}
    with ray_engine(**options) as engine:
        acceptance.write_text('import os\n\nif "RAY_RAYLET_PID" in os.environ:\n    1 / 0\n' + criteria)
        assert failure(engine).endswith("acceptance.py does not run: ZeroDivisionError: division by zero")
        engine._task = ray_task(refuses)
        assert failure(engine) == "node7: grading is refused"
    acceptance.write_text(criteria)
    with ray_engine(**options, config=config) as engine:
        here = engine.environment
        engine.environment = replace(here, sha256="0" * 64, python="CPython 3.99")
        assert f"is not set up as this machine is (python: {here.python}, not CPython 3.99)" in failure(engine)
        assert not (course.root / "autograded").exists()
        engine.environment = here
        assert [one.state for one in grade(course, engine).submissions] == ["graded"]
    (output,) = cell_of(course.autograded("alice"), "add")["outputs"]
    assert "".join(output["text"]) == "a\nb\n... Output truncated ..."


def ray_task(function: Callable[..., Any]) -> Any:
    import ray

    return ray.remote(function)


def test_there_is_one_model_and_one_device(course: Course, cluster: Any) -> None:
    second = "ch02_ex1_measures"
    assert release(course.add_exercise(second)).problems == []
    blocked = "len(signal.pthread_sigmask(signal.SIG_BLOCK, ()))"  # which makes the sum wrong
    for name in (NAME, second):
        for student in ("ann", "bob", "eve"):
            text = f"# {student}\nimport signal\n\ndef add(a, b): return a + b + {blocked}"
            course.submit(student, course.solved(name, add=text), name)
    notes = with_notes(course, needs=("model",))
    with_notes(course, second, needs=("device",), more=", held=held()")
    notes.go()
    with ray_engine(jobs=None, seed=SEED, accept_weak_isolation=False, address=cluster.address) as engine:
        report = grade(course, engine)
    assert [one.points for one in report.submissions] == [12] * 6
    asked, measured = notes.all(name=NAME), notes.all(name=second)
    assert (len(asked), len(measured)) == (3, 3)
    assert [len({one["pid"] for one in ones}) for ones in (asked, measured, asked + measured)] == [1, 1, 2]
    assert all(one["held"] for one in measured)
    assert all(one["ended"] <= other["began"] for one, other in pairwise(measured))
    assert {one["node"] for one in measured} == {node.node_id for node in cluster.worker_nodes}


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder for temporary files."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def test_without_an_address_it_has_a_ray_of_its_own_and_ctrl_c_ends_all_of_it(
    course: Course, boxes: None, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("TMPDIR", str(short))
    course.submit("alice", course.solved())
    course.submit("bob", course.solved(add="import time\ntime.sleep(50)"))
    with subprocess.Popen(
        [BIN / "autograder", "grade", "--json", "--engine", "ray"],
        cwd=course.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        wait_until(lambda: course.totals() == {"alice": 12})
        started = psutil.Process(process.pid).children(recursive=True)
        listening = {one.laddr.ip for child in started for one in child.net_connections() if one.status == "LISTEN"}
        (folder,) = (path for path in short.iterdir() if (path / "r").exists())
        mode = folder.stat().st_mode & 0o777
        os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    report = json.loads(output)
    assert (report["interrupted"], [one["student"] for one in report["submissions"]]) == (True, ["alice"])
    assert errors.splitlines() == [f"1/2  {NAME}: alice: graded: 12 of 12"]
    assert (mode, listening) == (0o700, {"127.0.0.1", "::ffff:127.0.0.1"})
    wait_until(lambda: not [child for child in started if child.is_running()])
    wait_until(lambda: not [*short.iterdir()])


def test_without_ray_it_is_one_line(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    course.submit("alice", course.solved())
    monkeypatch.chdir(course.root)
    monkeypatch.setattr("autograder.course.start.check_isolation", lambda accept_weak: [])
    monkeypatch.setitem(sys.modules, "ray", None)
    done = CliRunner().invoke(app, ["grade", "--engine", "ray"])
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        "autograder: --engine ray needs the package ray, which is not installed: `pip install ray`, or `make setup`"
    ]


def test_where_no_cluster_answers_it_says_so(course: Course, boxes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    course.submit("alice", course.solved())
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    done = course.autograder("grade", "--engine", "ray")
    assert done.returncode == 1
    assert "no Ray cluster at 127.0.0.1:9" in done.stderr


def test_the_folder_with_the_exercises_goes_with_the_process_that_is_killed() -> None:
    code = "import time\nfrom autograder.course.remote import vanishing_folder as make\n"
    code += "with make() as folder:\n    print(folder, flush=True)\n    time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        folder = Path(process.stdout.readline().strip())
        (folder / "solutions").mkdir()
        process.kill()
    wait_until(lambda: not folder.exists())
    with vanishing_folder() as folder:
        assert folder.is_dir()
    wait_until(lambda: not folder.exists())


def packed(course: Course, name: str = NAME) -> tuple[Parcel, Job]:
    exercise = Exercise(course.root / "solutions" / name)
    submission = read_submission(course.submit("alice", course.solved(name), name), name)
    return Parcel.of(exercise, read_release(exercise)), Job(submission, {}, {}, SEED)


def test_what_is_being_graded_keeps_its_boxes(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    second = "ch02_ex1_other"
    assert release(course.add_exercise(second)).problems == []
    kept, slow = [], threading.Event()
    grader = StandIn()
    stand_in = grader.grade

    def grades(notebook: Any, exercise: Exercise, **options: Any) -> Any:
        if exercise.name == NAME:
            slow.wait(30)
        return stand_in(notebook, exercise, **options)

    monkeypatch.setattr("autograder.course.remote.Grader", lambda accept_weak_isolation: grader)
    monkeypatch.setattr(grader, "grade", grades)
    monkeypatch.setattr(grader, "keep_only", lambda names: kept.append(set(names)))
    workplace = Workplace(Terms(False, {}), 2)
    first = threading.Thread(target=workplace.grade, args=packed(course))
    first.start()
    wait_until(lambda: workplace._busy[NAME])
    workplace.grade(*packed(course, second))
    slow.set()
    first.join()
    workplace.close()
    assert kept == [{NAME, second}, {NAME}]


def test_an_error_that_cannot_be_sent_is_told_and_no_name_is_sent(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OddError(Exception):
        """Of a class that no other process knows."""

    def raises(*arguments: Any, **options: Any) -> None:
        raise OddError("no room")

    grader = StandIn()
    monkeypatch.setattr("autograder.course.remote.Grader", lambda accept_weak_isolation: grader)
    monkeypatch.setattr(grader, "grade", raises)
    parcel, job = packed(course)
    sent = pickle.dumps((parcel, job, Terms(False, {})))
    assert b"alice" not in sent
    parcel, job, terms = pickle.loads(sent)
    workplace = Workplace(terms, 1)
    came = pickle.loads(pickle.dumps(workplace.grade(parcel, job)))
    workplace.close()
    assert (type(came.graded), str(came.graded)) == (RuntimeError, "OddError: no room")
