"""Writes files so that a reader never meets half of one."""

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, contents: str | bytes) -> None:
    """Replaces `path` by `contents` in one step, making its folder; what was there stays whole if anything fails.

    Raises:
        OSError: The disk is full, the folder cannot be written, and the like.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(contents.encode() if isinstance(contents, str) else contents)
        # mkstemp's files are private; a notebook is for everybody to read.
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
