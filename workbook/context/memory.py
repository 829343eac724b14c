"""The file system as context: what is too large to be read again at each step goes to a file, and a reference stays.

Files are named by their content, so the same observation is stored once, a second run on top of a killed one finds what
the first has written, and a damaged file is seen when it is read. A file appears under its name only when it is
complete: it is written under another name in the same folder, and renamed.
"""

import errno
import hashlib
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from workbook.context.canonical import canonical, utf8

Kind = Literal["text", "json", "bytes"]

NAME_LENGTH = 16
"""Hex digits of SHA-256 in a name: 64 bits. A reference is read at each step, and 64 digits would be 50 tokens more."""

_STALE_S = 3600.0
"""Age from which an unfinished file is a killed run's, and not one that another process is writing now."""


class MemoryFailure(RuntimeError):  # noqa: N818  MemoryError is Python's
    """The memory cannot do what was asked; the message says what to do about it."""


class MissingError(MemoryFailure, KeyError):
    """Nothing is stored under this reference."""

    def __str__(self) -> str:
        return str(self.args[0])


class CorruptedError(MemoryFailure):
    """A file does not hold what its name says."""


class DiskFullError(MemoryFailure, OSError):
    """There is no room for an observation. Nothing that was stored before is touched, and the context is as it was."""


@dataclass(frozen=True)
class Stored:
    """What the memory holds.

    Attributes:
        name: what it is called: the beginning of its SHA-256 in hex.
        kind: "text" (UTF-8), "json" (canonical, each member on a line of its own) or "bytes".
        size: bytes.
        lines: lines, where it is no "bytes".
    """

    name: str
    kind: Kind
    size: int
    lines: int


def encode(value: Any) -> tuple[bytes, Kind]:
    """Returns the bytes under which a value is stored, and what they are.

    Text and bytes are stored as they are. Anything else is written as canonical JSON, each member on a line of its own,
    so that a search by line finds a member; reading it gives an equal value.

    Raises:
        NotCanonicalError: The value is neither text nor bytes, and has no canonical JSON.
    """
    if isinstance(value, bytes):
        return value, "bytes"
    if isinstance(value, str):
        return utf8(value, "the observation").encode(), "text"
    return canonical(value, indent=1).encode(), "json"


class Memory:
    """A folder of observations, each under the beginning of its hash.

    Several processes may use one folder at a time. What is stored stays: to forget, delete the folder.

    Args:
        folder: where the files are; made if it is missing.
        fsync: waits until the disk has what was stored, so that it outlives a power cut and not only a killed process.

    Raises:
        MemoryFailure: The folder cannot be made or is none.
    """

    def __init__(self, folder: Path, *, fsync: bool = False) -> None:
        self.folder = Path(folder)
        self._fsync = fsync
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MemoryFailure(f"the memory's folder {self.folder} cannot be made: {error}") from error
        self._remove_unfinished()

    @staticmethod
    def name_of(data: bytes) -> str:
        """Returns the name under which these bytes are stored."""
        return hashlib.sha256(data).hexdigest()[:NAME_LENGTH]

    def put(self, value: Any) -> Stored:
        """Stores an observation and returns what to call it by. What is stored already is not written again.

        Args:
            value: text, bytes, or anything that has canonical JSON.

        Raises:
            DiskFullError: There is no room. Nothing of it is left behind.
            MemoryFailure: It cannot be written for another reason, or another content has the same name.
            NotCanonicalError: It has no canonical JSON.
        """
        data, kind = encode(value)
        name = self.name_of(data)
        path = self.folder / name
        try:
            present = _read(path)
        except FileNotFoundError:
            self._write(path, data)
        except OSError as error:
            raise MemoryFailure(f"{path} cannot be read: {error}") from error
        else:
            if present != data:
                if self.name_of(present) == name:
                    raise MemoryFailure(f"{path} holds another content with the same name: use another folder for this")
                self._write(path, data)  # damaged: mended, now that its content is at hand
            elif self._fsync:  # who has written it may not have waited
                self._sync(path)
        return Stored(name, kind, len(data), 0 if kind == "bytes" else len(split_lines(data)))

    def read(self, name: str) -> bytes:
        """Returns what was stored, byte for byte.

        Raises:
            MissingError: Nothing has this name, or it is no name.
            CorruptedError: The file does not hold what was stored.
            MemoryFailure: It cannot be read.
        """
        if not _is_name(name):
            raise MissingError(f"{name!r} is no reference: one has {NAME_LENGTH} hex digits")
        path = self.folder / name
        try:
            data = _read(path)
        except FileNotFoundError:
            raise MissingError(f"nothing is stored as {name} in {self.folder}") from None
        except OSError as error:
            raise MemoryFailure(f"{path} cannot be read: {error}") from error
        if self.name_of(data) != name:
            raise CorruptedError(
                f"{path} is damaged: its {len(data):,} bytes have the hash {self.name_of(data)}. "
                "Run the tool again that made it; storing the same content mends the file"
            )
        return data

    def names(self) -> list[str]:
        """Returns the names of all that is stored, sorted."""
        return sorted(path.name for path in self.folder.iterdir() if _is_name(path.name))

    def __contains__(self, name: object) -> bool:
        return _is_name(name) and (self.folder / str(name)).is_file()

    def __repr__(self) -> str:
        return f"<memory of {len(self.names())} observations in {self.folder}>"

    def _write(self, path: Path, data: bytes) -> None:
        unfinished = _Unfinished(path)
        try:
            with unfinished as descriptor:
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
                if self._fsync:
                    os.fsync(descriptor)
            unfinished.path.replace(path)
            if self._fsync:
                _sync_path(self.folder)
        except OSError as error:
            unfinished.path.unlink(missing_ok=True)
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise DiskFullError(
                    f"no room for {len(data):,} bytes in {self.folder}: free some, give the memory another folder, or "
                    "keep this observation in the context (compressible=False)"
                ) from error
            raise MemoryFailure(f"{path} cannot be written: {error}") from error
        except BaseException:
            unfinished.path.unlink(missing_ok=True)
            raise

    def _sync(self, path: Path) -> None:
        try:
            _sync_path(path)
            _sync_path(self.folder)
        except OSError as error:
            raise MemoryFailure(f"{path} cannot be written to the disk: {error}") from error

    def _remove_unfinished(self) -> None:
        for path in self.folder.glob(".*.part"):
            try:
                if time.time() - path.stat().st_mtime > _STALE_S:
                    path.unlink()
            except OSError:  # another process was faster, or it is not ours to remove
                continue


def _is_name(name: object) -> bool:
    return isinstance(name, str) and len(name) == NAME_LENGTH and not set(name) - set("0123456789abcdef")


class _Unfinished:
    """A file with a name that nobody else uses, open for writing while the body runs."""

    def __init__(self, final: Path) -> None:
        self.path = final.with_name(f".{final.name}.{os.getpid()}.{secrets.token_hex(4)}.part")

    def __enter__(self) -> int:
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        return self._descriptor

    def __exit__(self, *exception: object) -> None:
        os.close(self._descriptor)


def _read(path: Path) -> bytes:
    if path.exists() and not path.is_file():  # a pipe would be waited for, and a device has no end
        raise OSError(errno.EINVAL, "it is no file")
    return path.read_bytes()


def _sync_path(path: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def split_lines(data: bytes) -> list[bytes]:
    """Cuts at each newline byte and keeps it, so that the lines joined are the data."""
    lines = data.split(b"\n")
    return [line + b"\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
