"""Files of a session, beneath its workspace and never above. It runs in the box, as the box's user."""

import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

MOST_ENTRIES = 10_000
"""Of a listing, and of what changes are looked for in."""

_OPENAT2 = 437  # on every kind of machine
_RESOLVE_NO_MAGICLINKS, _RESOLVE_BENEATH = 0x02, 0x08
_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}

_libc = ctypes.CDLL(None, use_errno=True)


class _How(ctypes.Structure):
    """`struct open_how` of openat2(2)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class Workspace:
    """The files beneath a folder. Paths are relative to it; what leads out of it is an OSError, as EXDEV or ELOOP."""

    def __init__(self, root: str = ".") -> None:
        """Opens the folder."""
        self._root = os.open(root, os.O_PATH | os.O_DIRECTORY)
        self._seen: dict[str, tuple[Any, ...]] = {}  # at the last look for changes

    def do(self, action: str, arguments: dict[str, Any], blobs: Sequence[bytes]) -> tuple[Any, list[bytes]]:
        """Does what the host asks for; returns a JSON value and blobs.

        Raises:
            OSError: The file system refuses.
        """
        path = arguments.get("path", "")
        if "\0" in path + str(arguments.get("target", "")):
            raise OSError(errno.EINVAL, "a path has no NUL")
        if action == "read":
            data = self.read(path, arguments["offset"], arguments["size"])
            return len(data), [data]
        actions: dict[str, Callable[[], Any]] = {
            "write": lambda: self.write(path, blobs[0], append=arguments.get("append", False)),
            "stat": lambda: self.stat(path),
            "list": lambda: self.entries(path),
            "remove": lambda: self.remove(path),
            "make_folder": lambda: self.make_folder(path),
            "link": lambda: self.link(path, arguments["target"]),
            "set_mode": lambda: self.set_mode(path, arguments["mode"]),
            "changes": self.changes,
        }
        return actions[action](), []

    def open(self, path: str, flags: int, mode: int = 0) -> int:
        """Opens a path beneath the folder: no link and no `..` leads out of it, however often it changes meanwhile."""
        how = _How(flags | os.O_CLOEXEC, mode, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
        name = os.fsencode(path.lstrip("/") or ".")
        descriptor = _libc.syscall(_OPENAT2, self._root, name, ctypes.byref(how), ctypes.sizeof(how))
        if descriptor < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
        return int(descriptor)

    @contextmanager
    def _above(self, path: str) -> Iterator[tuple[int, str]]:
        """Opens the folder that a path is in; gives that and the path's last part."""
        pure = PurePosixPath(path.lstrip("/"))
        if not pure.name or pure.name == "..":
            raise OSError(errno.EINVAL, "the path has no name at its end")
        folder = self.open(str(pure.parent), os.O_PATH | os.O_DIRECTORY)
        try:
            yield folder, pure.name
        finally:
            os.close(folder)

    def write(self, path: str, data: bytes, *, append: bool = False) -> int:
        """Writes a file, making the folders above it. Without `append` a reader sees the old or the new one whole."""
        for folder in reversed(PurePosixPath(path.lstrip("/")).parents):
            if folder.name:
                with suppress(FileExistsError):
                    self.make_folder(str(folder))
        if append:
            handle = self.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o644)
            with os.fdopen(handle, "wb") as file:
                _regular(handle)
                return file.write(data)
        temporary = f".{os.urandom(8).hex()}.part"
        with self._above(path) as (within, name):
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=within)
            try:
                with os.fdopen(handle, "wb") as file:
                    size = file.write(data)
                os.replace(temporary, name, src_dir_fd=within, dst_dir_fd=within)
            except OSError:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=within)
                raise
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

    def entries(self, path: str) -> list[dict[str, Any]]:
        """Returns what is in a folder, by name."""
        handle = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            found: list[dict[str, Any]] = []
            with os.scandir(handle) as there:
                for entry in there:
                    if len(found) >= MOST_ENTRIES:
                        raise OSError(errno.E2BIG, f"more than {MOST_ENTRIES} entries")
                    with suppress(FileNotFoundError):  # gone meanwhile
                        found.append(_entry(entry.name, os.stat(entry.name, dir_fd=handle, follow_symlinks=False)))
            return sorted(found, key=lambda one: str(one["name"]))
        finally:
            os.close(handle)

    def remove(self, path: str) -> None:
        """Removes a file, or a folder with all that is in it."""
        with self._above(path) as (within, name):
            _remove(within, name)

    def make_folder(self, path: str) -> None:
        """Makes a folder in one that is there."""
        with self._above(path) as (within, name):
            os.mkdir(name, 0o755, dir_fd=within)

    def link(self, path: str, target: str) -> None:
        """Makes a symbolic link; where it leads is looked at when it is followed."""
        with self._above(path) as (within, name):
            os.symlink(target, name, dir_fd=within)

    def set_mode(self, path: str, mode: int) -> None:
        """Sets the permissions of a file or folder."""
        handle = self.open(path, os.O_PATH | os.O_NOFOLLOW)  # it may be one that cannot be read
        try:
            Path(f"/proc/self/fd/{handle}").chmod(mode & 0o777)
        finally:
            os.close(handle)

    def changes(self) -> dict[str, Any]:
        """Returns what is new or different since the last call, folders before what is in them, and what is gone.

        A file of the same size, time, permissions and inode as before is taken for the same.
        """
        now: dict[str, tuple[Any, ...]] = {}
        for path, entry in self._walk("", self._root):
            if len(now) == MOST_ENTRIES:
                raise OSError(errno.E2BIG, f"more than {MOST_ENTRIES} files")
            now[path] = entry
        changed = [
            {"path": path, "kind": entry[0], "mode": entry[1], "size": entry[2], "target": entry[3]}
            for path, entry in now.items()
            if self._seen.get(path) != entry
        ]
        removed = [path for path in self._seen if path not in now]
        self._seen = now
        return {"changed": changed, "removed": removed}

    def _walk(self, prefix: str, within: int) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """Yields each path with its kind, mode, size, target, and for files what tells that they are the same."""
        handle = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=within)
        try:
            with os.scandir(handle) as there:
                names = sorted(entry.name for entry in there)
            for name in names:
                try:
                    path = os.fsencode(prefix + name).decode()
                    found = os.stat(name, dir_fd=handle, follow_symlinks=False)
                    target = os.readlink(name, dir_fd=handle) if stat.S_ISLNK(found.st_mode) else ""
                except (OSError, UnicodeDecodeError):  # gone meanwhile, or of a name that is no text
                    continue
                kind, mode = _KINDS.get(stat.S_IFMT(found.st_mode)), stat.S_IMODE(found.st_mode)
                if kind == "file":
                    yield path, (kind, mode, found.st_size, "", found.st_mtime_ns, found.st_ino)
                elif kind is not None:
                    yield path, (kind, mode, 0, target)
                if kind == "folder":
                    with suppress(OSError):
                        inner = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
                        try:
                            yield from self._walk(f"{path}/", inner)
                        finally:
                            os.close(inner)
        finally:
            os.close(handle)


def _regular(handle: int) -> None:
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        raise OSError(errno.EINVAL, "not a regular file")


def _entry(name: str, found: os.stat_result) -> dict[str, Any]:
    return {
        "name": name.encode(errors="replace").decode(),
        "kind": _KINDS.get(stat.S_IFMT(found.st_mode), "other"),
        "size": found.st_size,
        "modified": found.st_mtime,
    }


def _remove(folder: int, name: str) -> None:
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISDIR(found.st_mode):
        os.unlink(name, dir_fd=folder)
        return
    handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    try:
        for entry in os.listdir(handle):  # noqa: PTH208 - of a descriptor
            _remove(handle, entry)
    finally:
        os.close(handle)
    os.rmdir(name, dir_fd=folder)
