"""What a box sees as files: a root of its own, read-only but for a few file systems of a bounded size.

The base root holds the system, the Python environment, some devices and the library; it is built once, for the fork
server. A box mounts its own `/proc`, `/tmp`, `/dev/shm`, `/dev/pts` and `/workspace` over it.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from workbook.sandbox.isolation import linux
from workbook.sandbox.isolation.limits import Limits

LIBRARY = "/library"
WORKSPACE = "/workspace"

_SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"),
    *("/etc/ld.so.cache", "/etc/alternatives", "/etc/ssl", "/etc/fonts"),
    "/sys/devices/system/cpu",  # torch and OpenMP count processors there
)
_DEVICES = ("null", "zero", "full", "random", "urandom")
_LINKS = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
_PROC_FLAGS = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC


def build_root(new: Path, library: Mapping[str, str], users: Mapping[str, int]) -> None:
    """Builds the base root and moves into it. For a process in mount and PID namespaces of its own.

    Args:
        new: An empty folder, to mount it on.
        library: A path inside /library, and the file that is copied there.
        users: Names and user IDs of the boxes.
    """
    os.umask(0o022)
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("root", str(new), "tmpfs", linux.MS_NOSUID, "mode=755,size=64m")
    (new / "tmp").mkdir()
    linux.mount("tmp", str(new / "tmp"), "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755,size=16m")
    for name in (*_SYSTEM, *(f"/dev/{device}" for device in _DEVICES)):
        _show(Path(name), new)
    for path in environment():
        _show(path, new, as_link=False)
    for folder in ("proc", "dev/shm", "dev/pts", "etc", WORKSPACE[1:], LIBRARY[1:]):
        (new / folder).mkdir(parents=True, exist_ok=True)
    for name, target in _LINKS.items():
        (new / "dev" / name).symlink_to(target)
    accounts = "".join(f"{name}:x:{uid}:{uid}::{WORKSPACE}:/bin/sh\n" for name, uid in users.items())
    groups = "".join(f"{name}:x:{uid}:\n" for name, uid in users.items())
    (new / "etc/passwd").write_text(f"root:x:0:0::/:/bin/false\n{accounts}")
    (new / "etc/group").write_text(f"root:x:0:\n{groups}")
    (new / "etc/hosts").write_text("127.0.0.1 localhost sandbox\n::1 localhost sandbox\n")
    for inside, source in library.items():
        copy = new / LIBRARY[1:] / inside
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)
    _hide({Path(inside).parts[0].removesuffix(".py") for inside in library}, new)
    for source in library.values():
        if (new / source.lstrip("/")).exists():
            raise OSError(f"{source} lies in a folder of the system or of Python, where boxes can read it: move it")
    os.chdir(new)
    linux.mount("proc", "proc", "proc", _PROC_FLAGS)
    linux.pivot_root()
    linux.set_mount_attributes("/", on=linux.MOUNT_ATTR_RDONLY | linux.MOUNT_ATTR_NOSUID, recursive=True)
    for mount in ("/tmp", "/proc"):
        linux.set_mount_attributes(mount, off=linux.MOUNT_ATTR_RDONLY)


def mount_box(limits: Limits, owner: str) -> None:
    """Mounts what is a box's own. For a process in PID and mount namespaces of its own, below the base root.

    Args:
        limits: Sizes.
        owner: Mount options that give /workspace to the box's user; empty where that is this process's user.
    """
    linux.mount("proc", "/proc", "proc", _PROC_FLAGS)
    linux.mount("/proc/sys", "/proc/sys", None, linux.MS_BIND)
    linux.set_mount_attributes("/proc/sys", on=linux.MOUNT_ATTR_RDONLY)
    linux.mount("pts", "/dev/pts", "devpts", linux.MS_NOSUID | linux.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    for path, size, options in (
        ("/tmp", limits.temporary, "mode=1777"),
        ("/dev/shm", limits.shared_memory, "mode=1777"),
        (WORKSPACE, limits.workspace, f"mode=700{owner}"),
    ):
        inside = [(below, os.open(below, os.O_PATH)) for below in environment() if below.is_relative_to(path)]
        linux.mount("box", path, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, f"size={size},nr_inodes=20000,{options}")
        for below, descriptor in inside:  # an environment under /tmp would vanish under the box's own /tmp
            below.mkdir(parents=True, exist_ok=True)
            linux.mount(f"/proc/self/fd/{descriptor}", str(below), None, linux.MS_BIND | linux.MS_REC)
            os.close(descriptor)


def environment() -> list[Path]:
    """The folders of the Python environment, outer ones first: the virtual environment and what it is made from."""
    paths = {Path(prefix) for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix)}
    return sorted(paths | {path.resolve() for path in paths}, key=lambda path: len(path.parts))


def _show(path: Path, new: Path, *, as_link: bool = True) -> None:
    """Lets a file or folder of this machine, if it exists, be seen at the same place in the new root."""
    target = new / path.relative_to("/")
    if not path.exists() or (target.exists() and path.samefile(target)):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() and as_link:
        target.symlink_to(path.readlink())
        return
    if path.is_dir():
        target.mkdir(exist_ok=True)
    else:
        target.touch()
    linux.mount(str(path), str(target), None, linux.MS_BIND | linux.MS_REC)


def _hide(names: set[str], new: Path) -> None:
    """Covers what the environment holds of the library's packages: a module left out of the library is then nowhere."""
    for folder in filter(None, sys.path):
        for name in names:
            place = new / folder.lstrip("/") / name
            if place.is_dir():
                linux.mount("hidden", str(place), "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755,size=4k")
            if (module := place.with_name(f"{name}.py")).is_file():
                linux.mount("/dev/null", str(module), None, linux.MS_BIND)
