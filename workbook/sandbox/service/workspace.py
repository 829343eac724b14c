"""Files of a session, beneath its workspace and never above. It runs in the box, as the box's user."""

import ctypes
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

_OPENAT2 = 437  # on every kind of machine
_RESOLVE_NO_MAGICLINKS, _RESOLVE_BENEATH = 0x02, 0x08

MOST_ENTRIES = 10_000  # of a listing

_libc = ctypes.CDLL(None, use_errno=True)


class _How(ctypes.Structure):
    """`struct open_how` of openat2(2)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class Workspace:
    """The files beneath a folder. Paths are relative to it; what leads out of it is an OSError, as EXDEV or ELOOP."""

    def __init__(self, root: str = ".") -> None:
        """Opens the folder."""
        self._root = os.open(root, os.O_PATH | os.O_DIRECTORY)

    def do(self, action: str, arguments: dict[str, Any], blobs: Sequence[bytes]) -> tuple[Any, list[bytes]]:
        """Does what the host asks for; returns a JSON value and blobs.

        Raises:
            OSError: The file system refuses.
        """
        if action == "write":
            return self.write(arguments["path"], blobs[0], append=arguments.get("append", False)), []
        if action == "read":
            data = self.read(arguments["path"], arguments.get("offset", 0), arguments["size"])
            return len(data), [data]
        method = {"stat": self.stat, "list": self.list, "remove": self.remove, "make_folder": self.make_folder}[action]
        return method(arguments["path"]), []

    def open(self, path: str, flags: int, mode: int = 0) -> int:
        """Opens a path beneath the folder: no link and no `..` leads out of it, however often it changes meanwhile."""
        if "\0" in path:
            raise OSError(22, "a path has no NUL")
        how = _How(flags | os.O_CLOEXEC, mode, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
        name = os.fsencode(path.lstrip("/") or ".")
        descriptor = _libc.syscall(_OPENAT2, self._root, name, ctypes.byref(how), ctypes.sizeof(how))
        if descriptor < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
        return int(descriptor)

    def write(self, path: str, data: bytes, *, append: bool = False) -> int:
        """Writes a file, making the folders above it. Without `append` a reader sees the old or the new one whole."""
        parent = PurePosixPath(path.lstrip("/")).parent
        for folder in [*reversed(parent.parents), parent]:
            if folder != PurePosixPath("."):
                with suppress(FileExistsError):
                    self.make_folder(str(folder))
        if append:
            with os.fdopen(
                self.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o644), "wb"
            ) as file:
                _regular(file.fileno())
                return file.write(data)
        folder = self.open(str(parent), os.O_PATH | os.O_DIRECTORY)
        temporary = f".{os.urandom(8).hex()}.part"
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    size = file.write(data)
                os.replace(temporary, PurePosixPath(path).name, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)
                raise
        finally:
            os.close(folder)
        return size

    def read(self, path: str, offset: int, size: int) -> bytes:
        """Reads at most `size` bytes of a regular file."""
        handle = self.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening a pipe must not wait
        with os.fdopen(handle, "rb") as file:
            _regular(handle)
            file.seek(offset)
            return file.read(size)

    def stat(self, path: str) -> dict[str, Any]:
        """Returns what a path is, links not followed at its end."""
        handle = self.open(path, os.O_PATH | os.O_NOFOLLOW)
        try:
            return _entry(PurePosixPath(path).name, os.fstat(handle))
        finally:
            os.close(handle)

    def list(self, path: str) -> list[dict[str, Any]]:
        """Returns what is in a folder, by name."""
        handle = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            found = []
            with os.scandir(handle) as entries:
                for entry in entries:
                    if len(found) >= MOST_ENTRIES:
                        raise OSError(7, f"more than {MOST_ENTRIES} entries")
                    with suppress(FileNotFoundError):  # gone meanwhile
                        found.append(_entry(entry.name, os.stat(entry.name, dir_fd=handle, follow_symlinks=False)))
            return sorted(found, key=lambda one: one["name"])
        finally:
            os.close(handle)

    def remove(self, path: str) -> None:
        """Removes a file, or a folder with all that is in it."""
        pure = PurePosixPath(path.lstrip("/"))
        folder = self.open(str(pure.parent), os.O_RDONLY | os.O_DIRECTORY)
        try:
            _remove(folder, pure.name)
        finally:
            os.close(folder)

    def make_folder(self, path: str) -> None:
        """Makes a folder in one that is there."""
        pure = PurePosixPath(path.lstrip("/"))
        parent = self.open(str(pure.parent), os.O_PATH | os.O_DIRECTORY)
        try:
            os.mkdir(pure.name, 0o755, dir_fd=parent)
        finally:
            os.close(parent)


def _regular(handle: int) -> None:
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        raise OSError(22, "not a regular file")


def _entry(name: str, found: os.stat_result) -> dict[str, Any]:
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
    return {
        "name": name.encode(errors="replace").decode(),
        "kind": kinds.get(stat.S_IFMT(found.st_mode), "other"),
        "size": found.st_size,
        "modified": found.st_mtime,
    }


def _remove(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
        return
    except (IsADirectoryError, PermissionError):
        pass
    handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    try:
        for entry in os.listdir(handle):
            _remove(handle, entry)
    finally:
        os.close(handle)
    os.rmdir(name, dir_fd=folder)
