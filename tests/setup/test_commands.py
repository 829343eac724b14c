"""The Makefile's targets, and what CI runs."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from requirements.install import ROOT
from tests.system import need


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [need("make", "make"), "--no-print-directory", *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        command, cwd=ROOT, env={**clean, **environment}, check=False, capture_output=True, text=True, timeout=60
    )


def test_help_lists_every_target() -> None:
    done = make()
    assert done.returncode == 0
    listed = re.findall(r"^  make ([a-z-]+) +\S", done.stdout, re.MULTILINE)
    phony = re.search(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    assert listed == phony[1].split()
    assert {"setup", "lab", "test", "lint", "run", "notebooks", "lock", "check-locks", "clean"} < set(listed)
    assert done.stdout == make("help").stdout


def test_commands_that_the_documents_name_exist() -> None:
    phony = re.search(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    for document in ("README.md", "CONTRIBUTING.md", "environment.yml"):
        named = re.findall(r"(?:^|`|&& )make ([a-z-]+)", (ROOT / document).read_text(), re.MULTILINE)
        assert named, document
        assert set(named) <= set(phony[1].split()), document


@pytest.mark.parametrize("target", ["lab", "test", "lint", "run", "notebooks", "lock", "check-locks"])
def test_every_command_sets_up_first(target: str) -> None:
    planned = make("--dry-run", target).stdout.splitlines()
    assert any("requirements.install" in line for line in planned[:2]), planned


def test_no_python() -> None:
    done = make("setup", "PYTHON=no-such-python")
    assert done.returncode != 0
    assert "error: no-such-python is missing: install Python 3.11 or newer" in done.stderr


def test_test_passes_arguments_on() -> None:
    assert re.search(r"pytest .*-k one", make("--dry-run", "test", "PYTEST_ARGS=-k one").stdout)
    assert "autograder notebooks --from ipynb" in make("--dry-run", "notebooks", "FROM=ipynb").stdout
    assert "--lock gpu" in make("--dry-run", "setup", "LOCK=gpu").stdout


class Machine:
    """A machine as `.ci/run` sees it: stand-ins for what it calls, which write down how they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        self.calls.touch()

    def command(self, name: str, body: str) -> None:
        path = self.folder / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> "{self.calls}"\n{body}\n')
        path.chmod(0o755)

    def run_ci(self) -> int:
        environment = {**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}"}
        environment.pop("REQUIRE_ALL", None)
        command = [need("bash", "bash"), ".ci/run"]
        done = subprocess.run(command, cwd=ROOT, env=environment, check=False, stdin=subprocess.DEVNULL, timeout=60)
        return done.returncode


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.command("dpkg-query", "echo installed")
    machine.command("apt-get", "")
    machine.command("sudo", 'shift; exec "$@"')
    machine.command("make", '[ "$REQUIRE_ALL" = 1 ]')
    return machine


def test_ci_with_all_packages_there_runs_the_readme_command_at_once(machine: Machine) -> None:
    assert machine.run_ci() == 0
    calls = machine.calls.read_text()
    assert "apt-get" not in calls
    assert calls.splitlines()[-1] == "make test"
    assert "\nmake test " in (ROOT / "README.md").read_text()


def test_ci_installs_what_is_missing(machine: Machine) -> None:
    machine.command("dpkg-query", 'case "$*" in *chromium*|*g++*) exit 1;; esac; echo installed')
    assert machine.run_ci() == 0
    installs = [line for line in machine.calls.read_text().splitlines() if " install " in line and "apt-get" in line]
    assert installs[-1].endswith(" g++ chromium")
    assert "--yes" in installs[-1]


@pytest.mark.parametrize("broken", ["apt-get", "make"])
def test_ci_fails_where_a_step_fails(machine: Machine, broken: str) -> None:
    machine.command("dpkg-query", "exit 1")
    machine.command(broken, "exit 4")
    assert machine.run_ci() != 0
    if broken == "apt-get":
        assert "make test" not in machine.calls.read_text()
