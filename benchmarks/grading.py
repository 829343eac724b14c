"""How fast submissions are graded, against stock nbgrader: `make bench-grading`.

The same submissions of the same exercise, with the same criteria, are graded by both. Stock nbgrader executes each
notebook in a kernel, where its check cells judge it with inputs that students know; ours executes it in a sandbox and
judges it from outside, with secret inputs. They take turns, batch by batch.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Any

from workbook.bench import Comparison, compare
from workbook.show import Table

EXERCISE = "ch97_ex1_softmax"
BATCH = 5
COUNTS = (30, 100, 300)
STAGES = ("restore", "fork", "cells", "judge", "write", "gradebook")
STOCK, OURS = "nbgrader autograde", "autograder grade"

_ROOT = Path(__file__).parents[1]
_ANSWERS = {
    "right, as in the reference": (
        12,
        "e = (x - x.amax(-1, keepdim=True)).exp()\n    return e / e.sum(-1, keepdim=True)",
    ),
    "right, by torch's own": (6, "return torch.softmax(x, -1)"),
    "right, by logarithms": (6, "return (x - x.logsumexp(-1, keepdim=True)).exp()"),
    "wrong, without the maximum": (3, "return x.exp() / x.exp().sum(-1, keepdim=True)"),
    "not written": (3, "raise NotImplementedError"),
}
"""How many of each there are in thirty."""

_STOCK_CONFIG = """c = get_config()
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "exercises"
c.ClearSolutions.code_stub = {"python": "raise NotImplementedError"}
"""


def make_courses(folder: Path, submissions: int) -> tuple[Path, Path]:
    """Makes the same course twice, with submissions in batches; returns stock nbgrader's and ours."""
    from autograder.course.release import release
    from autograder.exercises import Exercise
    from autograder.notebooks import make_notebook
    from tests.grading.course import Course

    stock, ours = folder / "stock", folder / "ours"
    shutil.rmtree(folder, ignore_errors=True)
    source = _ROOT / "tests" / "attacks" / "course" / "solutions" / EXERCISE
    shutil.copytree(source, ours / "solutions" / EXERCISE)
    course = Course(ours)
    make_notebook(ours / "solutions" / EXERCISE / f"{EXERCISE}.py")
    if problems := release(Exercise(ours / "solutions" / EXERCISE)).problems:
        raise ValueError(problems)
    bodies = [body for number, body in _ANSWERS.values() for _ in range(number)]
    for number in range(submissions):
        # A remark makes each another text, so that none is known from an equal one.
        answer = f"def softmax(x):\n    # {number}\n    {bodies[number * 7 % len(bodies)]}"
        course.submit(f"b{number // BATCH:03}-s{number:03}", course.solved(EXERCISE, softmax=answer), EXERCISE)
    shutil.copytree(ours, stock)
    (stock / "nbgrader_config.py").write_text(_STOCK_CONFIG)
    for path in (stock / "exercises", stock / "gradebook.db"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    _run(["nbgrader", "generate_assignment", EXERCISE], stock)
    return stock, ours


def serve(kind: str) -> None:
    """Grades batches in the current folder, one for each line of stdin that names it; what a child process runs.

    Everything is imported and started before the first, so that only grading is timed.
    """
    grades = {"stock": _stock, "ours": _ours}[kind]
    with grades() as grade:
        print("ready", flush=True)
        for line in sys.stdin:
            grade(line.strip())
            print("done", flush=True)


@contextmanager
def _stock() -> Iterator[Callable[[str], None]]:
    from nbgrader.converters import Autograde
    from nbgrader.coursedir import CourseDirectory
    from traitlets.config.loader import PyFileConfigLoader

    def grade(batch: str) -> None:
        config = PyFileConfigLoader("nbgrader_config.py", path=".").load_config()
        config.CourseDirectory.root = str(Path.cwd())
        config.CourseDirectory.assignment_id, config.CourseDirectory.student_id = EXERCISE, f"{batch}-*"
        coursedir = CourseDirectory(config=config)
        Autograde(coursedir=coursedir, config=config).start()

    yield grade


@contextmanager
def _ours() -> Iterator[Callable[[str], None]]:
    from autograder.course.grade_submissions import grade_submissions, submissions_of
    from autograder.course.start import local_engine
    from autograder.exercises import find_exercises

    exercises = find_exercises(Path.cwd())
    with local_engine(jobs=None, seed=None, accept_weak_isolation=False) as engine:
        engine.warm(exercises[0]).result()

        def grade(batch: str) -> None:
            pairs = [pair for pair in submissions_of(exercises, []) if pair[1].startswith(f"{batch}-")]
            report = grade_submissions(pairs, engine, on_start=lambda *_: None, on_grade=lambda _: None)
            if not report.complete:
                raise ValueError(f"not graded: {report}")

        yield grade


class _Server:
    """A child process that grades batches."""

    def __init__(self, kind: str, course: Path) -> None:
        self._log = course / "log"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.grading", "--serve", kind],
            cwd=course,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log.open("w"),
            text=True,
        )
        self._expect("ready")

    def grade(self, batch: str) -> None:
        """Grades one, and returns when that is done."""
        assert self._process.stdin
        self._process.stdin.write(f"{batch}\n")
        self._process.stdin.flush()
        self._expect("done")

    def _expect(self, word: str) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.strip() == word:
                return
        raise RuntimeError(f"grading ended with status {self._process.wait()}; what it logged: {self._log}")

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def compare_grading(stock: Path, ours: Path, submissions: int) -> Comparison:
    """Has both grade the same batches in turns, all else being started before."""
    batches = [f"b{number:03}" for number in range(submissions // BATCH)]
    servers = {STOCK: _Server("stock", stock), OURS: _Server("ours", ours)}
    try:
        functions = {name: _turns(server, batches) for name, server in servers.items()}
        return compare(functions, pairs=len(batches), warmup=0)
    finally:
        for server in servers.values():
            server.close()


def _turns(server: _Server, batches: Sequence[str]) -> Callable[[], None]:
    """Returns a function that grades the next batch each time."""
    left = iter(batches)
    return lambda: server.grade(next(left))


def compare_commands(stock: Path, ours: Path, pairs: int) -> Comparison:
    """Has both commands grade all submissions, from their start to their end."""

    def command(course: Path, *arguments: str) -> Callable[[], None]:
        def run() -> None:
            forget(course)
            _run(arguments, course)

        return run

    functions = {
        STOCK: command(stock, "nbgrader", "autograde", EXERCISE),
        OURS: command(ours, "autograder", "grade", EXERCISE),
    }
    return compare(functions, pairs=pairs, warmup=0)


def forget(course: Path) -> None:
    """Removes all grades of a course; the exercise stays registered."""
    from nbgrader.api import Gradebook

    shutil.rmtree(course / "autograded", ignore_errors=True)
    for path in course.glob("records.db*"):
        path.unlink()
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        for submission in gradebook.assignment_submissions(EXERCISE):
            gradebook.remove_submission(EXERCISE, submission.student.id)


def scores(course: Path) -> dict[str, float]:
    """Returns the points in a course's gradebook, by student."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        return {one.student.id: one.score for one in gradebook.assignment_submissions(EXERCISE)}


def measure_count(course: Path) -> None:
    """Grades all of the course in the current folder, and prints what it cost; what a child process runs."""
    from autograder.course.grade_submissions import grade_submissions, submissions_of
    from autograder.course.records import Records
    from autograder.course.start import local_engine
    from autograder.exercises import find_exercises

    exercises = find_exercises(course)
    began = time.monotonic()
    with local_engine(jobs=None, seed=None, accept_weak_isolation=False) as engine:
        engine.warm(exercises[0]).result()
        started = time.monotonic()
        pairs = submissions_of(exercises, [])
        report = grade_submissions(pairs, engine, on_start=lambda *_: None, on_grade=lambda _: None)
        seconds = time.monotonic() - started
    with Records(course) as records:
        boxes = [record.memory for record in records.latest(EXERCISE).values()]
    stages = {name: mean(grade.stages.get(name, 0.0) for grade in report.submissions) for name in STAGES}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = {
        "submissions": len(pairs),
        "start_seconds": started - began,
        "seconds": seconds,
        "stages": stages,
        "grader_bytes": peak,
        "box_bytes": max(boxes),
    }
    print(json.dumps(found))


def measure_counts(folder: Path) -> list[dict[str, Any]]:
    """Grades courses of growing size, each in a process of its own."""
    found = []
    for count in COUNTS:
        _, ours = make_courses(folder / f"count-{count}", count)
        found.append(json.loads(_run([sys.executable, "-m", "benchmarks.grading", "--count"], ours)))
    return found


def plot(counts: Sequence[dict[str, Any]], machine: str, path: Path) -> None:
    """Draws what a submission costs by stage, and how that and the memory go with the number of submissions."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    names = [str(one["submissions"]) for one in counts]
    below = [0.0] * len(counts)
    for stage in STAGES:
        heights = [one["stages"][stage] * 1000 for one in counts]
        left.bar(names, heights, bottom=below, label=stage)
        below = [low + height for low, height in zip(below, heights, strict=True)]
    left.set(title="where the time of one goes", xlabel="submissions", ylabel="milliseconds, summed over jobs")
    left.legend(fontsize="small")
    middle.plot(names, [one["seconds"] / one["submissions"] * 1000 for one in counts], marker="o")
    middle.set(title="wall time a submission", xlabel="submissions", ylabel="milliseconds", ylim=(0, None))
    right.plot(names, [one["grader_bytes"] / 2**20 for one in counts], marker="o", label="grader")
    right.plot(names, [one["box_bytes"] / 2**20 for one in counts], marker="s", label="largest box")
    right.set(title="peak memory", xlabel="submissions", ylabel="MiB", ylim=(0, None))
    right.legend(fontsize="small")
    figure.suptitle(machine, fontsize="small", color="grey")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--submissions", type=int, default=30, help="how many both grade (default: 30)")
    parser.add_argument("--commands", type=int, default=3, help="how often whole commands are compared (default: 3)")
    parser.add_argument("--serve", choices=["stock", "ours"], help=argparse.SUPPRESS)
    parser.add_argument("--count", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
    elif options.count:
        measure_count(Path.cwd())
    else:
        measure(options.submissions, options.commands)


def measure(submissions: int, pairs: int) -> None:
    """Measures, prints tables, writes build/bench-grading.json and .png, and ends with the ratios."""
    folder = _ROOT / "build" / "bench-grading"
    counts = measure_counts(folder)
    stock, ours = make_courses(folder / "pair", submissions)
    grading = compare_grading(stock, ours, submissions)
    by_stock, by_ours = scores(stock), scores(ours)
    differ = [student for student in by_stock if (by_stock[student] == 10) != (by_ours[student] == 10)]
    commands = compare_commands(stock, ours, pairs)

    plot(counts, grading.machine, folder.with_suffix(".png"))
    found = {"counts": counts, "grading": grading.to_dict(), "commands": commands.to_dict()}
    folder.with_suffix(".json").write_text(json.dumps(found, indent=2) + "\n")
    _show(counts, differ, submissions, grading, commands)


def _show(
    counts: Sequence[dict[str, Any]], differ: list[str], submissions: int, grading: Comparison, commands: Comparison
) -> None:
    milliseconds = [("", *(f"{one['submissions']} submissions" for one in counts))]
    rows = [(stage, *(f"{one['stages'][stage] * 1000:.1f} ms" for one in counts)) for stage in STAGES]
    rows += [
        ("sum", *(f"{sum(one['stages'].values()) * 1000:.1f} ms" for one in counts)),
        ("wall time a submission", *(f"{one['seconds'] / one['submissions'] * 1000:.1f} ms" for one in counts)),
        ("start, once", *(f"{one['start_seconds']:.2f} s" for one in counts)),
        ("peak memory of the grader", *(f"{one['grader_bytes'] / 2**20:.0f} MiB" for one in counts)),
        ("peak memory of a box", *(f"{one['box_bytes'] / 2**20:.0f} MiB" for one in counts)),
    ]
    print(f"What a submission costs, on {grading.machine}\n")
    print(Table(milliseconds[0], rows))
    print("\nfork: the box, with its kernel already in it; judge: also the boxes after a criterion that failed\n")
    kinds = ", ".join(f"{number} {kind}" for kind, (number, _) in _ANSWERS.items())
    print(f"{submissions} submissions of {EXERCISE}, of thirty: {kinds}")
    print(f"full points or not: both agree on {submissions - len(differ)} of {submissions}\n")
    print(f"Grading alone, batches of {BATCH} in turns:\n{grading}\n")
    print(f"Whole commands, start included:\n{commands}\n")
    print(grading.ratio_line(OURS, "submissions a minute"))
    print(commands.ratio_line(OURS, f"submissions a minute, whole commands on {submissions}"))


def _run(arguments: Sequence[str], folder: Path) -> str:
    done = subprocess.run(arguments, cwd=folder, env=_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with status {done.returncode}:\n{done.stderr}")
    return done.stdout


def _environment() -> dict[str, str]:
    key = _ROOT / "build" / "bench-grading" / "grader.pem"
    path = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)))
    return {**os.environ, "PATH": path, "PYTHONPATH": str(_ROOT), "AUTOGRADER_KEY": str(key)}


if __name__ == "__main__":
    main()
