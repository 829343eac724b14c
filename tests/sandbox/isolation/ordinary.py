"""Runs Python as an ordinary user, for tests that root runs: python ordinary.py ARGUMENTS OF PYTHON...

The interpreter or the checkout may lie where an ordinary user cannot go, such as /root. In a mount namespace of its own
this process puts an empty folder, which everyone may pass, over each closed one, and what is needed back at its place.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT))

from workbook.sandbox.isolation import linux  # noqa: E402  # found by the line above

FIRST = 1 << 29
"""User IDs from here on are nobody's. Each process is a user of its own: another's keyrings and processes, which the
kernel shows to and counts for all of one user, do not disturb it."""


def main() -> None:
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    open_to_all([Path(sys.base_prefix).resolve(), Path(sys.prefix), ROOT])
    user = FIRST + os.getpid()
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])


def open_to_all(folders: list[Path]) -> None:
    closed = {folder: first_closed(folder) for folder in folders if first_closed(folder)}
    descriptors = {folder: os.open(folder, os.O_PATH) for folder in closed}
    for place in set(closed.values()):
        linux.mount("open", str(place), "tmpfs", 0, "mode=755")
    for folder, descriptor in descriptors.items():
        folder.mkdir(parents=True, exist_ok=True)
        linux.mount(f"/proc/self/fd/{descriptor}", str(folder), None, linux.MS_BIND)


def first_closed(folder: Path) -> Path | None:
    """The outermost folder above this one that others may not pass."""
    return next((parent for parent in reversed(folder.parents) if not parent.stat().st_mode & 0o001), None)


if __name__ == "__main__":
    main()
