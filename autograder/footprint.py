"""What a notebook's process has running and lying about, seen from outside of it."""

import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from autograder.asker import Footprint

MAX_FILES = 20_000
"""Files that are looked at in a folder; a box can hold no more."""


def box_footprint(box: Any) -> Footprint:
    """Returns that of a worker in a `workbook.sandbox.isolation.server.Box`; it is asked nothing."""
    seen = box.processes()
    living, counted = _living(seen), _tasks(box)
    # What is still dead now was dead when it was counted, too; what has come and gone since then is none of these.
    unseen = counted - sum(map(_threads, living)) - sum(map(_is_dead, seen))
    folders = [box.root / folder for folder in ("tmp", "workspace", "dev/shm")]
    sockets = {path.relative_to(box.root) for path in _sockets(folders)}
    threads = _threads(box.pid)
    living.pop(box.pid, None)
    return Footprint(living, threads, frozenset(f"/{path}" for path in sockets), unseen)


def _tasks(box: Any) -> int:
    """Returns how many processes and threads the kernel counts in a box; 0 where it counts none for us.

    A list of processes is not made in one instant: one that forks and ends all the time may be in none of them.
    """
    folder = box.group.folders.get("pids")
    return int((folder / "pids.current").read_text()) if folder else 0


def own_footprint() -> Footprint:
    """Returns that of this process."""
    from jupyter_core.paths import jupyter_runtime_dir

    processes = psutil.Process().children(recursive=True)
    folders = {Path(tempfile.gettempdir()), Path(jupyter_runtime_dir()), Path.cwd()}
    return Footprint(_living(processes), _threads(os.getpid()), frozenset(map(str, _sockets(folders))))


def _living(processes: Iterable[psutil.Process]) -> dict[int, str]:
    living = {}
    for process in processes:
        with suppress(psutil.Error):  # gone meanwhile
            if not _is_dead(process):
                living[process.pid] = process.name() or "without a name"  # a process may choose its name
    return living


def _is_dead(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _threads(pid: int) -> int:
    try:
        return psutil.Process(pid).num_threads()
    except psutil.Error:
        return 0


def _sockets(folders: Iterable[Path]) -> Iterator[Path]:
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
                        yield path
                except OSError:
                    continue
