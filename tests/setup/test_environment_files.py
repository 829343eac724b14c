"""environment.yml, binder/ and apt.txt describe the environment that the lock and set-up make.

Not tested: that conda finds a solution, and that repo2docker's image builds; both need more than a package index.
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from requirements import install, lock
from tests.system import need

ROOT = lock.ROOT
# What stands for a Debian package in conda-forge.
CONDA_NAMES = {
    "make": "make",
    "git": "git",
    "g++": "cxx-compiler",
    "redis-server": "redis-server",
    "python3-venv": "pip",
}
# conda-forge has libseccomp2 for Linux alone, and a prometheus that is a server, which nothing here needs.
NOT_IN_CONDA = {"chromium", "fonts-dejavu-core", "libseccomp2", "prometheus"}


def conda() -> dict[str, Any]:
    loaded = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert isinstance(loaded, dict)
    return loaded


def debian_packages() -> list[str]:
    lines = (ROOT / "apt.txt").read_text().splitlines()
    return [name for name in (line.partition("#")[0].strip() for line in lines) if name]


def test_pip_part_is_the_lock() -> None:
    index, *pins = conda()["dependencies"][-1]["pip"]
    assert index == f"--extra-index-url {install.TORCH_CPU_INDEX}"
    pinned = lock.parse("\n".join(pins))
    assert pinned.items() <= lock.read("cpu").items()
    # The second step, set-up by `make setup VENV=…`, adds these without their dependencies.
    assert lock.read("cpu").keys() - pinned.keys() == lock.WITHOUT_DEPENDENCIES


def test_conda_part() -> None:
    """Each spec is a name, for Python with a version that pyproject admits; each has its Debian counterpart."""
    specs = [spec for spec in conda()["dependencies"] if isinstance(spec, str)]
    assert conda()["channels"] == ["conda-forge"]
    named = {spec.partition("=")[0]: spec.partition("=")[2] for spec in specs}
    assert all(re.fullmatch(r"[a-z0-9_.-]+(=[0-9.]+)?", spec) for spec in specs)
    text = (ROOT / "pyproject.toml").read_text()
    admitted = re.search(r'^requires-python = "(.*)"', text, re.MULTILINE)
    assert admitted
    assert named.pop("python") in SpecifierSet(admitted[1])
    assert set(named.values()) == {""}
    assert set(named) == set(CONDA_NAMES.values())
    assert set(debian_packages()) == set(CONDA_NAMES) | NOT_IN_CONDA


def test_apt_txt_gives_each_package_once_with_its_reason() -> None:
    lines = [line for line in (ROOT / "apt.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9+.-]+ +# \S.*", line) for line in lines)
    assert len(set(debian_packages())) == len(lines)


def test_binder_has_the_same_environment() -> None:
    assert (ROOT / "binder" / "environment.yml").resolve() == ROOT / "environment.yml"


def test_binder_finishes_with_set_up(tmp_path: Path) -> None:
    """The script postBuild hands the environment that is active to set-up, and fails where set-up fails."""
    bash = need("bash", "bash")
    calls = tmp_path / "calls"
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\nif [ "$1" = -c ]; then exec "{sys.executable}" "$@"; fi\n'
        f'printf "%s\\n" "$@" > "{calls}"\nexit ${{STATUS:-0}}\n'
    )
    python.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [bash, "binder/postBuild"]
    assert subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0
    module, *arguments = calls.read_text().split("\n")[1:-1]
    assert module == "requirements.install"
    assert arguments == ["--venv", sys.prefix]
    failed = subprocess.run(command, cwd=ROOT, env={**environment, "STATUS": "3"}, check=False)
    assert failed.returncode == 3
    assert os.access(ROOT / "binder" / "postBuild", os.X_OK)


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_direct_dependencies_are_locked_within_their_bounds(kind: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    locked = lock.read(kind)
    for line in [*project["dependencies"], *extras[kind], *extras["ray"], *extras["dev"]]:
        requirement = Requirement(line)
        assert requirement.specifier.contains(locked[requirement.name], prereleases=True), line
