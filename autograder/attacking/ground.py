"""Where attacks are submitted: a copy of a course, with things in it and around it that are worth stealing.

Each of these holds a secret of its own, a random word that may turn up in nothing that comes out of a box.
"""

import ast
import copy
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from autograder.attacking.attack import Attack
from autograder.exercises import Exercise, Language, is_answer, languages_of
from autograder.notebooks import read_notebook
from autograder.syntax import ONE_AT_A_TIME, parse

_PRELUDE = Path(__file__).with_name("prelude.py")
_ATTACKER = "attacker"
_NEIGHBOUR = "neighbour"


@dataclass(frozen=True)
class Ground:
    """A course to attack.

    Attributes:
        exercise: In it.
        places: Paths of this machine, by what is there.
        secrets: What must not get out, by where it is kept.
    """

    exercise: Exercise
    places: dict[str, str]
    secrets: dict[str, str]

    def submit(self, attack: Attack, answer: str, marker: str) -> Path:
        """Makes an answer hostile, and hands it in; returns the submission's folder.

        Args:
            attack: What is done to it.
            answer: "reference" or "empty".
            marker: A word by which traces of this attack are found.
        """
        notebook = self.answer(answer)
        if attack.changes:
            self._leave_out_others(notebook, attack.changes)
        known = {
            "NAMES": self._defined[0],
            "KERNELS": self._defined[1],
            "CRITERIA": list(self.exercise.acceptance.criteria),
            "HIDDEN": list(self.exercise.acceptance.hides),
            "PLACES": self.places,
            "MARKER": marker,
        }
        if {"before", "after"} & attack.parts.keys():
            values = "\n".join(f"{name} = {value!r}" for name, value in known.items())
            notebook["cells"].insert(0, _cell(f"{_PRELUDE.read_text(encoding='utf-8')}\n\n{values}\n"))
            if "before" in attack.parts:
                notebook["cells"].insert(1, _cell(attack.parts["before"]))
            if "after" in attack.parts:
                notebook["cells"].append(_cell(attack.parts["after"]))
        if "notebook" in attack.parts:
            edits = {
                "edit_kernels": partial(_edit_kernels, notebook, self._defined[1]),
                "edit_cuda": partial(_edit_cuda, notebook),
                "into_kernels": _into_kernels,
            }
            _execute(attack, "notebook", {**known, **edits, "notebook": notebook})
        folder = self.exercise.root / "submitted" / f"{_ATTACKER}-{marker}" / self.exercise.name
        folder.mkdir(parents=True)
        (folder / f"{self.exercise.name}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
        if "folder" in attack.parts:
            _execute(attack, "folder", {**known, "folder": folder, "name": self.exercise.name})
        return folder

    @cached_property
    def _defined(self) -> tuple[list[str], list[str]]:
        """The names that answers define, and the kernels, which are not among these."""
        return _defined(self.answer("reference"))

    def answer(self, name: str) -> dict[str, Any]:
        """Returns the "reference" or the "empty" answer, as JSON data."""
        path = self.exercise.released / f"{self.exercise.name}.ipynb"
        path = self.exercise.notebook if name == "reference" else path
        return json.loads(json.dumps(read_notebook(path)))  # type: ignore[no-any-return]

    def _leave_out_others(self, notebook: dict[str, Any], language: Language) -> None:
        """Leaves no kernel of another language in an answer, so that what is left of its points is of these."""
        empty = {_id_of(cell): cell["source"] for cell in self.answer("empty")["cells"] if is_answer(cell)}
        for cell in filter(is_answer, notebook["cells"]):
            if (written := languages_of(cell["source"])) and language not in written:
                cell["source"] = empty[_id_of(cell)]

    def state(self) -> str:
        """Returns a digest of the course as it is, but for what attackers have handed in."""
        root, found = self.exercise.root, hashlib.sha256()
        kept = [path for path in root.iterdir() if path.name != "submitted"]
        for path in sorted(
            inside for top in (*kept, root / "submitted" / _NEIGHBOUR) for inside in (top, *top.rglob("*"))
        ):
            found.update(f"{path}\0{path.lstat().st_mode}\0".encode())
            found.update(path.read_bytes() if path.is_file() and not path.is_symlink() else b"")
        return found.hexdigest()

    def traces(self, marker: str) -> list[str]:
        """Returns where a marker has been left outside of the boxes, as the name of a file."""
        places = [
            Path("/tmp"),
            Path("/dev/shm"),
            Path("/var/tmp"),
            Path.home(),
            self.exercise.root,
            *map(Path, sys.path),
        ]
        inside = [entry for place in places if place.is_dir() for entry in os.scandir(place)]
        caches = [Path.home() / name for name in (".triton", ".ipython", ".cache/torch", ".local/lib", ".config")]
        caches += [Path(entry) for entry in inside if entry.name.startswith(("torchinductor", "__pycache__"))]
        deeper = (
            os.path.join(folder, name)  # noqa: PTH118 - thousands of paths for each attack
            for cache in caches
            for folder, folders, files in os.walk(cache)
            for name in (*folders, *files)
            if marker in name
        )
        return [*(entry.path for entry in inside if marker in entry.name), *deeper]


@contextmanager
def ground(exercise: Exercise, folder: Path) -> Iterator[Ground]:
    """Makes a course to attack, in an empty folder; this process then has secrets in its environment, too."""
    words = {name: secrets.token_hex(12) for name in ("solutions", "gradebook", "neighbour", "key", "environment")}
    solutions, released = (folder / name / exercise.name for name in ("solutions", "exercises"))
    shutil.copytree(exercise.folder, solutions, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(exercise.released, released, ignore=shutil.ignore_patterns("__pycache__"))
    (solutions / "wrong" / "secret.py").write_text(f"# {words['solutions']}\n")
    (folder / "gradebook.db").write_text(words["gradebook"])
    (folder / "signing.key").write_text(words["key"])
    copied = Exercise(solutions)
    neighbour = folder / "submitted" / _NEIGHBOUR / exercise.name
    neighbour.mkdir(parents=True)
    answer = copy.deepcopy(read_notebook(copied.notebook))
    answer.cells.append(_cell(f"# {words['neighbour']}"))
    (neighbour / f"{exercise.name}.ipynb").write_text(json.dumps(answer))
    places = {
        "solutions": solutions / "wrong" / "secret.py",
        "reference": copied.notebook,
        "acceptance": solutions / "acceptance.py",
        "gradebook": folder / "gradebook.db",
        "key": folder / "signing.key",
        "neighbour": neighbour / f"{exercise.name}.ipynb",
        "release": released / f"{exercise.name}.ipynb",
        "home": Path.home(),
        "packages": next(Path(path) for path in sys.path if path.endswith("site-packages")),
    }
    variable = f"WORKBOOK_SECRET_{exercise.name.upper()}"
    os.environ[variable] = words["environment"]
    try:
        yield Ground(copied, {name: str(path) for name, path in places.items()}, words)
    finally:
        del os.environ[variable]


def _cell(source: str) -> dict[str, Any]:
    return {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": source}


def _execute(attack: Attack, part: str, names: dict[str, Any]) -> None:
    with ONE_AT_A_TIME:
        exec(compile(attack.parts[part], f"{attack.name}.py, {part}", "exec"), names)  # noqa: S102 - our own code


def _edit_kernels(
    notebook: dict[str, Any], kernels: Collection[str], change: Callable[[ast.FunctionDef], None]
) -> None:
    """Changes each kernel of a notebook."""
    for cell in notebook["cells"]:
        if is_answer(cell) and any(f"def {kernel}(" in cell["source"] for kernel in kernels):
            tree = parse(cell["source"])
            for node in tree.body:
                if isinstance(node, ast.FunctionDef) and node.name in kernels:
                    change(node)
            cell["source"] = ast.unparse(tree)


def _edit_cuda(notebook: dict[str, Any], change: Callable[[str], str]) -> None:
    """Changes each text in CUDA C of a notebook."""
    for cell in filter(is_answer, notebook["cells"]):
        if "cuda" in languages_of(cell["source"]):
            cell["source"] = re.sub(r'(?<=r""").*?(?=""")', lambda found: change(found[0]), cell["source"], flags=re.S)


def _into_kernels(code: str) -> Callable[[str], str]:
    """Returns a function that puts code at the beginning of each kernel in a text."""
    return lambda text: re.sub(r"(__global__[^{;]*\{)", lambda found: f"{found[0]}\n{code}\n", text)


def _id_of(cell: dict[str, Any]) -> str:
    """Returns the `grade_id` of a cell that has one."""
    return str(cell["metadata"]["nbgrader"]["grade_id"])


def _defined(notebook: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Returns the functions and classes that answers define, and apart from these the kernels."""
    names: dict[str, bool] = {}  # each with whether it is a kernel
    for cell in filter(is_answer, notebook["cells"]):
        for node in parse(cell["source"]).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names[node.name] = any("triton.jit" in ast.unparse(one) for one in node.decorator_list)
    return [name for name, is_kernel in names.items() if not is_kernel], [name for name in names if names[name]]
