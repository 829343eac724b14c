"""Digests of all that a grade depends on: equal digests, equal grade."""

import ast
import hashlib
import json
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autograder.course.record import Environment, Record
from autograder.exercises import Exercise

_JUDGING = ("restoration.py", "submissions.py", "presentation.py", "unit.py")
"""Of this package: what has a say in a graded notebook. Of `autograder` all modules may, but none of other packages."""


@dataclass(frozen=True)
class Fingerprint:
    """What an exercise is graded by.

    Attributes:
        exercise: Its name.
        release: Digest of the released notebook.
        criteria: Digest of each criterion, by its id: of its code, and of what stands in `acceptance.py` beside all of
            them.
    """

    exercise: str
    release: str
    criteria: dict[str, str]

    def key(self, submission: str, environment: Environment) -> str:
        """Returns the key of a result: equal for equal work under equal criteria in an equal environment."""
        return _digest(self.exercise, self.release, self.criteria, submission, environment.sha256)

    def fits(self, record: Record) -> bool:
        """Returns whether a record was made by just this."""
        found = (record.exercise, record.release_sha256, record.criteria_sha256)
        return found == (self.exercise, self.release, self.criteria)


def fingerprint(exercise: Exercise, release: Any, config: Any = None) -> Fingerprint:
    """Returns what an exercise is graded by.

    Args:
        exercise: The exercise.
        release: Its released notebook.
        config: nbgrader's, of which LimitOutput has a say in graded notebooks.
    """
    import nbformat

    shown = dict((config or {}).get("LimitOutput", {}))
    acceptance = exercise.acceptance
    criteria = criteria_digests(acceptance.source, acceptance.criteria, _digest(_beside(exercise)))
    return Fingerprint(exercise.name, _digest(nbformat.writes(release), exercise.points, repr(shown)), criteria)


def _beside(exercise: Exercise) -> dict[str, str]:
    """Returns digests of what criteria may read or import: files of the exercise, and modules of the course."""
    left_out = {"__pycache__", ".ipynb_checkpoints", "wrong", "right"}
    own = {f"{exercise.name}.ipynb", f"{exercise.name}.py", "acceptance.py"}
    inside = [path for folder in (exercise.folder, exercise.released) for path in folder.rglob("*")]
    inside = [path for path in inside if path.name not in own and not left_out & set(path.parts)]
    return {
        path.relative_to(exercise.root).as_posix(): _digest(path.read_bytes())
        for path in sorted([*inside, *exercise.folder.parent.glob("*.py")])
        if path.is_file()
    }


def criteria_digests(acceptance: str, criteria: Iterable[str], beside: str = "") -> dict[str, str]:
    """Returns a digest of each criterion: another text that means the same has the same digest.

    A function with `@criterion` belongs to the criterion of its name, and to those whose functions name it; all else in
    the file belongs to each of them.

    Args:
        acceptance: The text of an `acceptance.py`.
        criteria: Their ids.
        beside: What else belongs to each of them.
    """
    from autograder.syntax import parse

    tree = parse(acceptance)
    own = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef) and _is_criterion(node)}
    shared = [node for node in tree.body if node not in own.values()]
    names = {name: _named_by([node], own) for name, node in own.items()}
    everywhere = _closed(_named_by(shared, own), names)
    digests = {}
    for identity in criteria:
        name = identity.replace("-", "_")
        parts = everywhere | _closed({name} & own.keys(), names)
        nodes = [*shared, *(own[one] for one in sorted(parts))]
        digests[identity] = _digest(beside, *map(ast.dump, nodes))
    return digests


def _is_criterion(node: ast.FunctionDef) -> bool:
    calls = (one.func if isinstance(one, ast.Call) else one for one in node.decorator_list)
    return any(isinstance(one, ast.Name) and one.id == "criterion" for one in calls)


def _named_by(nodes: Sequence[ast.AST], names: Iterable[str]) -> set[str]:
    found = {one.id for node in nodes for one in ast.walk(node) if isinstance(one, ast.Name)}
    return found & set(names)


def _closed(names: set[str], named_by: dict[str, set[str]]) -> set[str]:
    """Returns names with all that they name, and what those name."""
    found: set[str] = set()
    while names:
        found |= names
        names = {further for name in names for further in named_by[name]} - found
    return found


class StaleProcessError(Exception):
    """This process holds other code than the disk does. It must be started anew."""


def environment(weak_isolation: Sequence[str]) -> Environment:
    """Returns what a grade depends on here, besides the submission and the exercise.

    Raises:
        StaleProcessError: Code or packages were changed since this process has imported them.
    """
    from workbook import device

    machine = device.detect()
    if (now := (_code(), _installed())) != _AT_IMPORT:
        what = "packages have" if now[0] == _AT_IMPORT[0] else "the autograder or the workbook has"
        raise StaleProcessError(f"{what} changed since this process began: start it anew (JupyterLab, if that is it)")
    files, packages = now
    code = _digest(*files)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    name = machine.gpus[0].name if machine.gpus else "cpu"
    platform_name = f"{platform.system()} {platform.machine()}"
    whole = _digest(python, packages, code, platform_name, name, list(weak_isolation))
    return Environment(
        sha256=whole,
        python=python,
        packages=machine.software,
        code_sha256=code,
        machine=f"{machine.cpu}, {platform_name}",
        device=name,
        weak_isolation=list(weak_isolation),
    )


def _installed() -> list[str]:
    """Returns the installed distributions with their versions, as their folders are called: quick to find."""
    folders = {Path(entry) for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))}
    found = {path.name for folder in folders if folder.is_dir() for path in folder.glob("*.dist-info")}
    return sorted(found)


def _code() -> list[str]:
    from autograder.library import worker_library

    here = Path(__file__).parent
    files = {**worker_library(()), **{path.name: path for path in sorted(here.parent.glob("*.py"))}}
    files |= {f"course/{name}": here / name for name in _JUDGING}
    return [f"{name} {_digest(path.read_bytes())}" for name, path in sorted(files.items())]


def _digest(*parts: Any) -> str:
    data = (part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode() for part in parts)
    return hashlib.sha256(b"".join(hashlib.sha256(one).digest() for one in data)).hexdigest()


_AT_IMPORT = (_code(), _installed())
"""What this process has imported, or will: a server that lives on must not say of its old code that it is the new."""
