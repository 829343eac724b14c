"""Control groups: what the processes of a box may use together, and whether the kernel killed one for want of memory.

Version 1 has a tree for each controller, version 2 one tree for all; a machine may have either, both, or none that may
be written. Each tree is used where it is: a box without one is bounded by its resource limits and by `watchdog`.
"""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from workbook.sandbox.isolation.limits import Limits

CONTROLLERS = ("memory", "pids", "cpu")

_PREFIX = "workbook-"
_PERIOD = 100_000  # microseconds of the processor time that is shared out


@dataclass(frozen=True)
class Group:
    """The control groups of one box: one for all controllers in version 2, one for each in version 1."""

    folders: Mapping[str, Path]
    version: int

    def open(self) -> list[int]:
        """Descriptors to which a process writes "0" to enter. Version 1's `tasks` takes a thread, and costs no lock."""
        name = "cgroup.procs" if self.version == 2 else "tasks"
        return [os.open(folder / name, os.O_WRONLY) for folder in sorted(set(self.folders.values()))]

    def out_of_memory(self) -> bool:
        """Whether the kernel has killed one of its processes since it used more memory than it may."""
        if "memory" not in self.folders:
            return False
        events = self.folders["memory"] / ("memory.events" if self.version == 2 else "memory.oom_control")
        counts = dict(line.split() for line in events.read_text().splitlines())
        return int(counts.get("oom_kill", 0)) > 0

    def peak_memory(self) -> int:
        """Bytes that its processes have used together at most; 0 where the kernel does not tell."""
        file = "memory.peak" if self.version == 2 else "memory.max_usage_in_bytes"
        with suppress(KeyError, FileNotFoundError):  # version 2 has it since Linux 5.19
            return int((self.folders["memory"] / file).read_text())
        return 0

    def remove(self) -> None:
        """Removes the groups, which no process may be in any more.

        Raises:
            OSError: A process is left in one.
        """
        for folder in set(self.folders.values()):
            with suppress(FileNotFoundError):
                folder.rmdir()


@dataclass(frozen=True)
class Hierarchy:
    """Where groups can be made on this machine.

    Attributes:
        parents: The folder for each controller that can be used.
        version: 1 or 2.
        missing: Why each of the other controllers cannot be used.
    """

    parents: Mapping[str, Path]
    version: int
    missing: Mapping[str, str]

    def make(self, name: str, limits: Limits) -> Group:
        """Makes the groups of a box and sets their limits.

        Raises:
            OSError: The kernel refused.
        """
        group = Group(
            {controller: parent / (_PREFIX + name) for controller, parent in self.parents.items()}, self.version
        )
        try:
            for folder in set(group.folders.values()):
                folder.mkdir()
            for controller, folder in group.folders.items():
                for file, value in _settings(controller, self.version, limits):
                    if (folder / file).exists() or file not in _OPTIONAL:
                        (folder / file).write_text(value)
        except OSError:
            with suppress(OSError):
                group.remove()
            raise
        return group

    def sweep(self) -> None:
        """Removes empty groups whose fork server is gone: it was killed before it could."""
        for parent in set(self.parents.values()):
            for folder in parent.glob(f"{_PREFIX}*-*"):
                server = folder.name.removeprefix(_PREFIX).split("-")[0]
                if not Path("/proc", server).exists():
                    with suppress(OSError):
                        folder.rmdir()


def find(mounts: str | None = None, own: str | None = None) -> Hierarchy:
    """Finds where this process may make groups, by making one.

    Args:
        mounts: What /proc/self/mountinfo says, where it is known.
        own: What /proc/self/cgroup says, where it is known.
    """
    mounts = Path("/proc/self/mountinfo").read_text() if mounts is None else mounts
    own = Path("/proc/self/cgroup").read_text() if own is None else own
    first, second = _parents_v1(mounts, own), _parents_v2(mounts)
    version, parents = (1, first) if len(first) >= len(second) else (2, second)
    usable, missing = {}, dict.fromkeys(CONTROLLERS, "this machine has no such controller mounted")
    for controller in CONTROLLERS:
        if controller not in parents:
            continue
        trial = Hierarchy({controller: parents[controller]}, version, {})
        try:
            trial.make(f"{os.getpid()}-trial-{threading.get_ident()}", Limits()).remove()
        except OSError as error:
            missing[controller] = f"{parents[controller]}: {error.strerror}"
        else:
            usable[controller] = parents[controller]
            del missing[controller]
    return Hierarchy(usable, version, missing)


_OPTIONAL = {"memory.memsw.limit_in_bytes", "memory.swap.max"}  # only where the kernel accounts swap


def _settings(controller: str, version: int, limits: Limits) -> list[tuple[str, str]]:
    memory, quota = str(limits.memory), str(int(limits.cpus * _PERIOD))
    if version == 2:
        return {
            "memory": [("memory.max", memory), ("memory.swap.max", "0")],
            "pids": [("pids.max", str(limits.processes))],
            "cpu": [("cpu.max", f"{quota} {_PERIOD}")],
        }[controller]
    return {
        "memory": [("memory.limit_in_bytes", memory), ("memory.memsw.limit_in_bytes", memory)],
        "pids": [("pids.max", str(limits.processes))],
        "cpu": [("cpu.cfs_period_us", str(_PERIOD)), ("cpu.cfs_quota_us", quota)],
    }[controller]


def _mounts(mounts: str) -> Iterator[tuple[Path, str, list[str]]]:
    """Mount point, type and options of each file system."""
    for line in mounts.splitlines():
        fields = line.split()
        kind, _, options = fields[fields.index("-") + 1 :][:3]
        yield Path(fields[4]), kind, options.split(",")


def _parents_v1(mounts: str, own: str) -> dict[str, Path]:
    """This process's own group for each controller, so that what bounds this process bounds its boxes too."""
    groups = (line.split(":", 2) for line in own.splitlines())
    paths = {name: path for _, names, path in groups for name in names.split(",")}
    parents = {}
    for mount, kind, options in _mounts(mounts):
        for controller in set(CONTROLLERS) & set(options) if kind == "cgroup" else ():
            group = mount / paths.get(controller, "/").lstrip("/")
            parents[controller] = group if group.is_dir() else mount  # in a container the path may be that outside
    return parents


def _parents_v2(mounts: str) -> dict[str, Path]:
    """The root of the tree: a group with processes in it, as this process's own is, cannot bound its children."""
    for mount, kind, _ in _mounts(mounts):
        if kind != "cgroup2":
            continue
        offered = set(CONTROLLERS) & set((mount / "cgroup.controllers").read_text().split())
        for controller in offered:
            with suppress(OSError):  # then making a group fails too, and that says why
                (mount / "cgroup.subtree_control").write_text(f"+{controller}")
        return dict.fromkeys(offered, mount)
    return {}
