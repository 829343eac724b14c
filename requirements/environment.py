"""The Python environment that set-up fills: claimed by one set-up at a time, made where it is missing, inspected.

Standard library only, and no syntax beyond Python 3.8: an old interpreter must get far enough to say that it is old.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Iterator  # noqa: UP035 - 3.8 cannot subscript those of collections.abc

from requirements.running import Progress, SetupError, run, say

STAMP = "workbook-setup.json"
CLAIM = "workbook-setup.lock"
LOG = "workbook-setup.log"


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[int]:
    """Claims the folder of an environment, waiting for another set-up of it; yields the claim's descriptor.

    Children inherit the descriptor, so that the claim of a killed set-up lasts until its pip has ended too.

    Raises:
        SetupError: The folder holds something else than an environment.
        OSError: It cannot be written.
    """
    if folder.exists():
        marks = {"pyvenv.cfg", "conda-meta", CLAIM}
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else {folder.name}
        if names and not names & marks:
            raise SetupError(f"{folder} is there and is no Python environment: name another with VENV=…")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / CLAIM).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another set-up of this environment is running; waiting for it to end.")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            say("This file system has no locks: don't run two set-ups at once.")
        yield file.fileno()


class Environment:
    """A virtual or conda environment: its interpreter, what is installed in it, and our note about it.

    Attributes:
        folder: Where it is.
        version: Python's (major, minor), once `ready` has returned.
        stamp: The note: `state` (creating, installing, ready), `made_here`, `folder`, `lock`, `packages`, `key`.
    """

    def __init__(self, folder: Path, claim: int) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        self.version = (0, 0)
        self._site = folder
        self._claim = claim
        try:
            self.stamp: dict[str, Any] = json.loads((folder / STAMP).read_text())
        except (OSError, ValueError):
            self.stamp = {}

    def ready(self, check: Callable[[tuple[int, int], str], None]) -> None:
        """Sees to it that the environment works, making it where it is missing, moved or half-built.

        Args:
            check: Raises SetupError for a Python version that won't do, given what to call the interpreter.

        Raises:
            SetupError: It cannot be made, or is broken and not of our making.
        """
        if self.stamp.get("state") == "creating":
            problem = "was left half-built"
        elif self.stamp.get("folder", str(self.folder)) != str(self.folder):
            problem = "was moved, and its commands name the old place"
        elif not self._probe():
            problem = "has no working Python"
        else:
            check(self.version, f"the Python in {self.folder}")
            if not (self._site / "pip").is_dir():  # as uv makes them
                self._run([self.python, "-I", "-m", "ensurepip"])
            return
        if any(path.name != CLAIM for path in self.folder.iterdir()):
            if not self.stamp.get("made_here"):
                raise SetupError(f"{self.folder} {problem}: repair or remove it, then repeat")
            say(f"The environment {self.folder} {problem}: making it anew")
        check(sys.version_info[:2], sys.executable)
        self._make()

    def _probe(self) -> bool:
        """Asks the interpreter for its version and site-packages; False where it does not run."""
        code = "import sys, sysconfig; print(*sys.version_info[:2], sysconfig.get_path('purelib'))"
        try:
            done = subprocess.run([self.python, "-I", "-c", code], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return False
        major, minor, site = done.stdout.strip().split(" ", 2)
        self.version, self._site = (int(major), int(minor)), Path(site)
        return True

    def _make(self) -> None:
        """Makes a fresh virtual environment with pip."""
        # Set-up may itself run in the environment that is to be replaced.
        python = getattr(sys, "_base_executable", sys.executable)
        self.stamp = {"made_here": True, "folder": str(self.folder)}
        self.write_stamp(state="creating")
        for path in self.folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name not in (CLAIM, STAMP):
                path.unlink()
        say(f"Making a virtual environment in {self.folder} (Python {platform.python_version()})")
        if importlib.util.find_spec("ensurepip"):
            self._run([python, "-m", "venv", self.folder])
        elif importlib.util.find_spec("pip"):  # Debian without python3-venv
            self._run([python, "-m", "venv", "--without-pip", self.folder])
            self._run([python, "-m", "pip", "--python", self.python, "install", "--no-input", "pip"])
        else:
            raise SetupError(f"{python} has neither ensurepip nor pip (Debian, Ubuntu: `apt install python3-venv`)")
        if not self._probe():
            raise SetupError(f"the new interpreter {self.python} does not run")
        self.write_stamp(state="installing")

    def write_stamp(self, **fields: object) -> None:
        """Changes fields of the note about the environment, atomically."""
        self.stamp.update(fields)
        partial = self.folder / f"{STAMP}.partial"
        partial.write_text(json.dumps(self.stamp, indent=1) + "\n")
        partial.replace(self.folder / STAMP)

    def installed(self) -> dict[str, str]:
        """Returns the packages that are wholly installed: normalized name to version."""
        found = {}
        for folder in self._site.glob("*.dist-info"):
            name, _, version = folder.name[: -len(".dist-info")].rpartition("-")
            if (folder / "INSTALLER").exists():  # pip writes it after a package's files
                found[re.sub(r"[-_.]+", "-", name).lower()] = version
        return found

    def clear_debris(self) -> None:
        """Removes what a killed pip leaves: packages set aside, and metadata of packages installed by half."""
        for path in [*self._site.glob("~*"), *self._site.glob("*.dist-info")]:
            if path.is_dir() and (path.name.startswith("~") or not (path / "INSTALLER").exists()):
                shutil.rmtree(path)

    def pip(self, command: str, *arguments: str | Path, progress: Progress | None = None) -> None:
        """Runs a command of the environment's pip; raises CommandError where it fails."""
        self._run([self.python, "-I", "-m", "pip", command, "--no-input", *arguments], progress)

    def _run(self, command: list[str | Path], progress: Progress | None = None) -> None:
        run(command, self.folder / LOG, self._claim, progress)
