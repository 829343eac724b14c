"""A class to report on, made up: exercises, and records of what students have handed in."""

import hashlib
import random
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autograder.course.record import Environment, Record
from autograder.course.records import Records, notebook_digest
from autograder.course.signing import load_key
from autograder.exercises import Exercise, find_exercises
from autograder.judge import Verdict

HOSTILE = [
    "../../etc/x",
    "[ab]*",
    "'; drop table record; --",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "ü ñ 漢字",
    "a" * 200,
    ".hidden",
    "-rf",
    "=HYPERLINK(1)",
    "&lt;b&gt; {{ 7*7 }} $x$ `code`",
    "line\nbreak\ttab\x07bell",
    "\u202eturned",
    "Same",
    "same",
]
"""Names of students; all but the first can be names of folders."""

PAYLOAD = (
    "<script>document.title='ran'</script><img src=https://example.org/x onerror=document.title='ran'> ]]> {{ 1/0 }}"
)

EXERCISES: dict[str, Any] = tomllib.loads(Path(__file__).with_name("exercises.toml").read_text())

INCIDENTS = [
    "the process died: out of memory",
    "a connection to 10.0.0.1 was denied",
    f"a file of the name {PAYLOAD} was denied",
]
PROBLEMS = {
    "empty": ["There is no cell `counter`; its answer counts as empty."],
    "hostile": ["Files that were left out: 'link' is a link.", f"{PAYLOAD} is no cell."],
}
WEAK = ["control group: memory"]

_FIRST = [
    "Ada",
    "Ben",
    "Chi",
    "Dara",
    "Eli",
    "Fay",
    "Gus",
    "Hana",
    "Ivo",
    "Jun",
    "Kim",
    "Lena",
    "Max",
    "Nia",
    "Oto",
    "Pia",
]
_LAST = [
    "Abel",
    "Costa",
    "Diaz",
    "Endo",
    "Fuchs",
    "Gallo",
    "Hahn",
    "Ito",
    "Kaya",
    "Lind",
    "Moss",
    "Novak",
    "Okoye",
    "Rossi",
]


def make_course(root: Path, names: Sequence[str] = tuple(EXERCISES)) -> list[Exercise]:
    """Makes a course's folder with exercises of EXERCISES; a name that is none of them gets the criteria of one."""
    (root / "chapters").mkdir(parents=True)
    (root / "pyproject.toml").touch()
    for name in names:
        exercise = exercise_like(name)
        folder = root / "solutions" / name
        folder.mkdir(parents=True)
        (folder / f"{name}.py").write_text(f"# %% [markdown]\n# # {exercise['title']}\n")
        lines = ["from autograder.acceptance import criterion"]
        for one in exercise["criteria"]:
            function = one["id"].replace("-", "_")
            lines += ["@criterion(hint='Look at it.')", f"def {function}(work, rng):", f"    {one['asks']!r}"]
        (folder / "acceptance.py").write_text("\n".join(lines) + "\n")
    return find_exercises(root)


def exercise_like(name: str) -> Any:
    """The title and the criteria of an exercise."""
    known = list(EXERCISES.values())
    return EXERCISES.get(name) or known[sum(name.encode()) % len(known)]


def names_of(count: int) -> list[str]:
    """Made up names of students, each another one."""
    drawn = random.Random(1)
    pairs = [f"{first} {last}" for first in _FIRST for last in _LAST]
    drawn.shuffle(pairs)
    return [pairs[number] if number < len(pairs) else f"student {number:04}" for number in range(count)]


def verdict_of(criterion: Any, kind: str, drawn: random.Random) -> Verdict:
    """A verdict on a submission that is "right", "wrong", "empty" or "hostile"."""
    identity, points, fails, ways = (criterion[name] for name in ("id", "points", "fails", "ways"))
    if identity == "on-a-gpu":
        return Verdict(identity, "not run", 0.0, 0.0, points, message="there is no compiler for GPUs")
    chance = {"right": 0.0, "wrong": fails, "empty": 1.0, "hostile": 0.8}[kind]
    if drawn.random() >= chance:
        seconds = drawn.uniform(0.1, 2)
        return Verdict(identity, "passed", 1.0, points, points, measured=("hits: 9 < 10 & more",), seconds=seconds)
    mistake, message = drawn.choice(ways)
    if kind == "empty":
        mistake, message = "", "raised NotImplementedError"
    if kind == "hostile":
        mistake, message = "", f"raised {PAYLOAD}"
    message = message.replace("7", str(drawn.randrange(2, 90)))
    evidence = (
        f"Cache(blocks={drawn.randrange(9)}) →",
        "cache.put(17, <tensor 16 × 64>) → None",
        f"cache.get(17) → {message}",
    )
    hint = "Draw it on paper with three requests: which block belongs to whom?"
    attempts = drawn.randrange(1, 4)
    return Verdict(
        identity, "failed", 0.0, 0.0, points, message, mistake, hint, evidence, attempts=attempts, seconds=1.0
    )


def record_of(student: str, exercise: str, kind: str, drawn: random.Random, **changes: Any) -> Record:
    """A record of a submission, signed."""
    verdicts = [verdict_of(criterion, kind, drawn) for criterion in exercise_like(exercise)["criteria"]]
    stages = {"restore": 0.05, "fork": 0.1, "cells": drawn.lognormvariate(0.6, 0.6)}
    stages |= {"judge": sum(one.seconds for one in verdicts), "write": 0.04}
    made = Record(
        student=student,
        exercise=exercise,
        graded=f"2031-05-{drawn.randrange(1, 28):02}T{drawn.randrange(24):02}:15:00+00:00",
        submission_sha256=hashlib.sha256(student.encode()).hexdigest(),
        submitted=f"2031-05-01T{drawn.randrange(24):02}:05:00+00:00",
        release_sha256="0" * 64,
        criteria_sha256={},
        environment=environment(),
        seed=f"the seed of {exercise}",
        points=sum(one.points for one in verdicts),
        max_points=sum(one.max_points for one in verdicts),
        verdicts=verdicts,
        problems=PROBLEMS.get(kind, []),
        incidents=INCIDENTS if kind == "hostile" else [],
        notebook_sha256=notebook_digest("{}"),
        seconds=sum(stages.values()),
        stages=stages,
        memory=int(drawn.gauss(700, 90) * 2**20),
        executed=[one.criterion for one in verdicts],
    )
    return load_key(make=True).sign(replace(made, **changes))


def environment(name: str = "a", **changes: Any) -> Environment:
    """A machine that has graded."""
    packages = {"torch": "2.13.0", "vllm": "0.32.0"}
    made = Environment(name * 64, "3.11.9", packages, "0" * 64, "x86_64 Linux 6.1", "cpu", [])
    return replace(made, **changes)


def add(root: Path, *records: Record) -> None:
    """Puts records into the course's file."""
    with Records(root) as file:
        for number, record in enumerate(records, file.tip()[0] + 1):
            file.add(replace(record, number=number), "{}", "")


def submit(root: Path, student: str, exercise: str) -> None:
    """Makes the folder of a submission."""
    (root / "submitted" / student / exercise).mkdir(parents=True)


def make_class(root: Path, students: Sequence[str], seed: int = 0) -> None:
    """Gives each student a record of most exercises; a few have only submitted, two machines have graded."""
    drawn = random.Random(seed)
    records = []
    for exercise in find_exercises(root):
        for student in students:
            chance = drawn.random()
            if chance < 0.06:
                if "/" not in student and not (root / "submitted" / student / exercise.name).exists():
                    submit(root, student, exercise.name)
                continue
            kinds = ["right", "wrong", "empty", "hostile"]
            kind = "hostile" if student in HOSTILE else drawn.choices(kinds, [0.25, 0.66, 0.06, 0.03])[0]
            other = environment("b", machine="aarch64 Linux 6.6", weak_isolation=WEAK)
            changes = {"environment": other} if drawn.random() < 0.1 else {}
            records.append(record_of(student, exercise.name, kind, drawn, **changes))
    add(root, *records)
