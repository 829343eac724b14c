"""Control groups: found in version 1 and 2, set up as told, removed. The trees here are folders made for the test.

That the kernel does what they say is tested in test_layers.py, in the version that the machine has.
"""

import os
import threading
from pathlib import Path

import pytest

from workbook.sandbox.isolation import cgroups
from workbook.sandbox.isolation.limits import MIB, Limits

LIMITS = Limits(memory=100 * MIB, processes=7, cpus=1.5)
CONTROLLERS = {"memory", "pids", "cpu"}


def mount(folder: Path, kind: str, options: str) -> str:
    return f"35 31 0:32 / {folder} rw,relatime shared:7 - {kind} {kind} {options}"


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.fixture
def first(tmp_path: Path) -> tuple[str, str]:
    """A machine with version 1: what its mountinfo and this process's cgroup file say. It accounts swap."""
    for name in ("memory/own/group", "pids", "cpu,cpuacct/own"):
        (tmp_path / name).mkdir(parents=True)
    mounts = [
        mount(tmp_path / "memory", "cgroup", "rw,memory"),
        mount(tmp_path / "pids", "cgroup", "rw,pids"),
        mount(tmp_path / "cpu,cpuacct", "cgroup", "rw,cpu,cpuacct"),
        mount(tmp_path, "tmpfs", "rw,mode=755"),
    ]
    own = "9:name=systemd:/\n8:pids:/docker/1234\n4:memory:/own/group\n1:cpu,cpuacct:/own\n0::/"
    return "\n".join(mounts), own


@pytest.fixture
def second(tmp_path: Path) -> tuple[str, str]:
    """A machine with version 2."""
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory hugetlb pids rdma")
    return mount(tmp_path, "cgroup2", "rw,nsdelegate,memory_recursiveprot"), "0::/user.slice/session-1.scope"


@pytest.fixture(autouse=True)
def like_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel removes a group with the files that it shows in it."""
    rmdir = Path.rmdir

    def remove(folder: Path) -> None:
        for file in folder.iterdir():
            file.unlink()
        rmdir(folder)

    monkeypatch.setattr(Path, "rmdir", remove)


def test_version_1_bounds_a_box_within_the_group_of_this_process(first: tuple[str, str], tmp_path: Path) -> None:
    hierarchy = cgroups.find(*first)
    assert hierarchy.version == 1
    assert not hierarchy.missing
    # The path of `pids` is that outside of this container, and does not exist in it.
    parents = {"memory": tmp_path / "memory/own/group", "pids": tmp_path / "pids", "cpu": tmp_path / "cpu,cpuacct/own"}
    assert hierarchy.parents == parents
    group = hierarchy.make("12-3", LIMITS)
    assert contents(parents["memory"] / "workbook-12-3") == {"memory.limit_in_bytes": str(100 * MIB)}
    assert contents(parents["pids"] / "workbook-12-3") == {"pids.max": "7"}
    assert contents(parents["cpu"] / "workbook-12-3") == {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "150000"}
    group.remove()
    assert not any(list(parent.glob("workbook-*")) for parent in parents.values())
    group.remove()


def test_version_1_bounds_swap_where_the_kernel_accounts_it(
    first: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir = Path.mkdir

    def make(folder: Path) -> None:
        mkdir(folder)
        (folder / "memory.memsw.limit_in_bytes").touch()

    hierarchy = cgroups.find(*first)
    monkeypatch.setattr(Path, "mkdir", make)
    hierarchy.make("12-3", LIMITS)
    swap = tmp_path / "memory/own/group/workbook-12-3/memory.memsw.limit_in_bytes"
    assert swap.read_text() == str(100 * MIB)


def test_version_2_has_one_group_a_box(second: tuple[str, str], tmp_path: Path) -> None:
    hierarchy = cgroups.find(*second)
    assert hierarchy.version == 2
    assert set(hierarchy.parents) == CONTROLLERS
    assert (tmp_path / "cgroup.subtree_control").read_text() in {"+memory", "+pids", "+cpu"}
    group = hierarchy.make("12-3", LIMITS)
    folder = tmp_path / "workbook-12-3"
    assert contents(folder) == {"memory.max": str(100 * MIB), "pids.max": "7", "cpu.max": "150000 100000"}
    (folder / "cgroup.procs").touch()
    for descriptor in (opened := group.open()):
        os.write(descriptor, b"0")
        os.close(descriptor)
    assert len(opened) == 1
    assert (folder / "cgroup.procs").read_text() == "0"
    group.remove()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("version", "text", "killed"),
    [
        (1, "oom_kill_disable 0\nunder_oom 0\noom_kill 0", False),
        (1, "oom_kill_disable 0\nunder_oom 0\noom_kill 2", True),
        (1, "oom_kill_disable 0\nunder_oom 0", False),  # kernels before 4.13 do not count
        (2, "low 0\nhigh 0\nmax 31\noom 3\noom_kill 0\noom_group_kill 0", False),
        (2, "low 0\nhigh 0\nmax 31\noom 3\noom_kill 1\noom_group_kill 0", True),
    ],
)
def test_whether_the_kernel_killed_for_want_of_memory(tmp_path: Path, version: int, text: str, killed: bool) -> None:
    (tmp_path / {1: "memory.oom_control", 2: "memory.events"}[version]).write_text(text)
    assert cgroups.Group({"memory": tmp_path}, version).out_of_memory() is killed
    assert cgroups.Group({"pids": tmp_path}, version).out_of_memory() is False


def test_none_is_no_error() -> None:
    hierarchy = cgroups.find("22 1 0:21 / /proc rw - proc proc rw", "0::/")
    assert hierarchy.parents == {}
    assert set(hierarchy.missing) == CONTROLLERS
    group = hierarchy.make("12-3", LIMITS)
    assert group.open() == []
    group.remove()


def test_a_tree_that_cannot_be_written_is_missing_and_says_why(second: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / f"workbook-{os.getpid()}-trial-{threading.get_ident()}").write_text("in the way")
    hierarchy = cgroups.find(*second)
    assert hierarchy.parents == {}
    assert hierarchy.missing == dict.fromkeys(CONTROLLERS, f"{tmp_path}: File exists")


def test_what_a_killed_server_left_is_removed(second: tuple[str, str], tmp_path: Path) -> None:
    hierarchy = cgroups.find(*second)
    for name in ("workbook-4194999-0", f"workbook-{os.getpid()}-0", "workbook-other", "user.slice"):
        (tmp_path / name).mkdir()
    hierarchy.sweep()
    left = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert left == {f"workbook-{os.getpid()}-0", "workbook-other", "user.slice"}
