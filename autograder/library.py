"""What a worker's Python finds besides the installed packages: the workbook without what would be the answer."""

from collections.abc import Sequence
from pathlib import Path

import workbook
from autograder.exercises import ExerciseError

_WORKER = ("__init__.py", "check.py", "values.py", "wire.py", "worker.py")
"""Of the autograder: what a worker needs to execute cells and to answer, and the `check` that does nothing there."""


def worker_library(hides: Sequence[str]) -> dict[str, Path]:
    """Returns the files of a worker's library, by their path in it.

    Args:
        hides: Modules and packages of `workbook` that are left out.

    Raises:
        ExerciseError: There is no such module, so nothing would be hidden.
    """
    package, here = Path(workbook.__file__).parent, Path(__file__).parent
    files = {path.relative_to(package.parent): path for path in sorted(package.rglob("*")) if _belongs(path)}
    for name in hides:
        place = Path(*name.split("."))
        found = [path for path in files if path == place.with_suffix(".py") or place in path.parents]
        if not found:
            raise ExerciseError(f"HIDES names {name}, and there is no such module")
        for path in found:
            del files[path]
    own = {Path("autograder", name): here / name for name in _WORKER}
    return {path.as_posix(): source for path, source in {**files, **own}.items()}


def _belongs(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
