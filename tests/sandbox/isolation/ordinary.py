"""Runs Python as an ordinary user, for tests that root runs: python ordinary.py ARGUMENTS OF PYTHON...

The interpreter may lie where an ordinary user cannot go, such as /root. In a mount namespace of its own this process
puts an empty folder, which everyone may pass, over the first closed one, and the interpreter back at its place.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from workbook.sandbox.isolation import linux

NOBODY = 65534


def main() -> None:
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    open_to_all(Path(sys.base_prefix).resolve())
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])


def open_to_all(folder: Path) -> None:
    closed = next((parent for parent in reversed(folder.parents) if not parent.stat().st_mode & 0o001), None)
    if closed is not None:
        descriptor = os.open(folder, os.O_PATH)
        linux.mount("open", str(closed), "tmpfs", 0, "mode=755")
        folder.mkdir(parents=True)
        linux.mount(f"/proc/self/fd/{descriptor}", str(folder), None, linux.MS_BIND)


if __name__ == "__main__":
    main()
