"""What a notebook's process has running and lying about, seen from outside of it."""

import os
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from autograder.asker import Footprint

MAX_FILES = 20_000
"""Files that are looked at in a folder; a box can hold no more."""


def box_footprint(box: Any) -> Footprint:
    """Returns that of a worker in a `workbook.sandbox.isolation.server.Box`; it is asked nothing."""
    processes = {process.pid: _name(process) for process in box.processes() if process.pid != box.pid}
    folders = [box.root / folder for folder in ("tmp", "workspace", "dev/shm")]
    return Footprint(_living(processes), _threads(box.pid), frozenset(_sockets(folders)))


def own_footprint() -> Footprint:
    """Returns that of this process."""
    from jupyter_core.paths import jupyter_runtime_dir

    children = psutil.Process().children(recursive=True)
    folders = {Path(tempfile.gettempdir()), Path(jupyter_runtime_dir()), Path.cwd()}
    processes = {process.pid: _name(process) for process in children}
    return Footprint(_living(processes), _threads(os.getpid()), frozenset(_sockets(folders)))


def _name(process: psutil.Process) -> str:
    try:
        return "" if process.status() == psutil.STATUS_ZOMBIE else process.name()
    except psutil.Error:
        return ""


def _living(processes: dict[int, str]) -> dict[int, str]:
    return {pid: name for pid, name in processes.items() if name}


def _threads(pid: int) -> int:
    try:
        return psutil.Process(pid).num_threads()
    except psutil.Error:
        return 0


def _sockets(folders: Iterable[Path]) -> Iterable[str]:
    looked_at = 0
    for folder in folders:
        for place, _, names in os.walk(folder):  # follows no links
            for name in names:
                looked_at += 1
                if looked_at > MAX_FILES:
                    return
                path = Path(place, name)
                try:
                    if stat.S_ISSOCK(path.lstat().st_mode):
                        yield str(path)
                except OSError:
                    continue
