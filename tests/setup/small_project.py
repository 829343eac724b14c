"""A small project with the workbook's own set-up: two tiny packages instead of 251, no network."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "small"
version = "1"
requires-python = ">=3.11,<3.15"
"""
BACKEND = """
from small_project import write_wheel

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    return write_wheel(wheel_directory, "small", "1").name
"""
MODELS = """
import pathlib, sys
if pathlib.Path("no-weights").exists():
    sys.exit("error: no weights")
"""


def write_wheel(folder: str | Path, name: str, version: str) -> Path:
    """Writes a wheel with one module of one line, and returns its path."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        record += f"{path},sha256={digest},{len(text)}\n"
    wheel = Path(folder) / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(path, text)
    return wheel


class Project:
    """The small project in a folder of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.venv = root / ".venv"
        self.wheels = root / "wheels"
        self.site = self.venv / f"lib/python3.{sys.version_info.minor}/site-packages"

    def write(self) -> None:
        """Writes the project's files and wheels."""
        for folder in ("requirements", "workbook", "wheels", "tmp"):
            (self.root / folder).mkdir(parents=True)
        for path in (ROOT / "requirements").glob("*.py"):
            shutil.copy(path, self.root / "requirements")
        (self.root / "pyproject.toml").write_text(PYPROJECT)
        (self.root / "backend.py").write_text(BACKEND)
        shutil.copy(__file__, self.root)
        (self.root / "workbook" / "models.py").write_text(MODELS)
        self.lock("alpha==1.0", "beta-two==2.0")
        for name, version in [("alpha", "1.0"), ("alpha", "1.1"), ("beta_two", "2.0")]:
            write_wheel(self.wheels, name, version)

    def lock(self, *lines: str) -> None:
        """Writes the CPU lock."""
        (self.root / "requirements" / "cpu.txt").write_text("".join(f"{line}\n" for line in lines))

    def start(self, *arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
        """Starts set-up as `make setup` does."""
        return subprocess.Popen(
            [sys.executable, "-m", "requirements.install", *arguments],
            cwd=self.root,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # like a terminal's foreground group: a signal to it spares pytest
        )

    def set_up(self, *arguments: str | Path, **environment: str) -> tuple[int, str]:
        """Runs set-up; returns its exit status and what it printed."""
        process = self.start(*arguments, **environment)
        output, _ = process.communicate(timeout=120)
        return process.returncode, output

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables of a user whose pip knows the project's wheels alone."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        return {
            **kept,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": self.wheels.as_uri(),  # pip splits the variable at spaces
            "TMPDIR": str(self.root / "tmp"),
        }

    def installed(self) -> set[str]:
        """Returns what lies in site-packages, but for pip and setuptools."""
        names = {path.name.removesuffix(".dist-info") for path in self.site.glob("*.dist-info")}
        return {name for name in names if not name.startswith(("pip-", "setuptools-"))}
