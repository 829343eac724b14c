"""Data that a session begins with, by name: where it comes from, and how large it may be, the operator has said.

A mount is read when a session wants it, and the session gets a copy: what it does to that changes nothing here.
"""

import asyncio
import hashlib
import os
import stat
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from workbook.sandbox.service.archives import ArchiveError, plain_path, unpack
from workbook.sandbox.service.egress import EgressPolicy, FetchError
from workbook.sandbox.service.fetch import http_fetch
from workbook.sandbox.service.world import World

_MAX_DEPTH = 32  # folders within each other
_NO_EGRESS = EgressPolicy()
_WORLD = World()


class MountError(Exception):
    """A mount cannot be had.

    Attributes:
        mount: Its name.
        reason: Why, and what to do.
    """

    def __init__(self, mount: str, reason: str) -> None:
        super().__init__(f"the mount {mount!r} cannot be had: {reason}")
        self.mount, self.reason = mount, reason


@dataclass(frozen=True)
class Source:
    """Where a mount's files come from.

    Attributes:
        place: A folder of this machine, or the URL of a zip, tar or gzipped tar archive.
        sha256: The archive's digest; without one whatever is there is taken.
        max_files: How many files it may have.
        max_bytes: Bytes of all of them together.
        timeout: Seconds in which the archive must have come.
    """

    place: Path | str
    sha256: str | None = None
    max_files: int = 2000
    max_bytes: int = 32 << 20
    timeout: float = 60.0


class Mounts:
    """The mounts that there are."""

    def __init__(
        self, sources: Mapping[str, Source], *, policy: EgressPolicy = _NO_EGRESS, world: World = _WORLD
    ) -> None:
        """Takes what the operator has configured; nothing is read yet.

        Args:
            sources: Each mount's name and source.
            policy: What may be fetched, for archives. It bounds how large one may be as it is sent.
            world: What a fetch touches.
        """
        self._sources, self._policy, self._world = dict(sources), policy, world

    def names(self) -> list[str]:
        """All names."""
        return sorted(self._sources)

    async def materialise(self, mount: str) -> dict[str, bytes]:
        """Reads a mount: the paths of its files, relative and without links among them, and what is in them.

        Raises:
            MountError: There is no such mount, or it cannot be had.
        """
        if (source := self._sources.get(mount)) is None:
            raise MountError(mount, f"there is none of that name; there are: {', '.join(self.names()) or 'none'}")
        try:
            if isinstance(source.place, Path):
                return await asyncio.to_thread(_read_folder, source.place, source)
            return await self._fetch(source.place, source)
        except (ArchiveError, FetchError) as error:
            raise MountError(mount, str(error)) from error
        except OSError as error:
            raise MountError(mount, f"{error.filename or source.place}: {error.strerror or error}") from error

    async def _fetch(self, url: str, source: Source) -> dict[str, bytes]:
        fetched = await http_fetch(
            url, timeout=source.timeout, on_error="retry_with_backoff", policy=self._policy, world=self._world
        )
        if source.sha256 and hashlib.sha256(fetched.body).hexdigest() != source.sha256.lower():
            raise ArchiveError(f"{fetched.url} is not what it was: its SHA-256 is not the one configured")
        return await asyncio.to_thread(unpack, fetched.body, max_files=source.max_files, max_bytes=source.max_bytes)


def _read_folder(folder: Path, source: Source) -> dict[str, bytes]:
    """Reads a folder, whoever may change it meanwhile.

    Each name is opened below its open folder, and never through a link: nothing outside can be reached, which is what
    openat2's RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS promise.

    Raises:
        ArchiveError: It holds something else than files and folders, or too much.
        OSError: It cannot be read.
    """
    files: dict[str, bytes] = {}
    left = source.max_bytes
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with closing(_walk(root, "")) as found:
        for path, descriptor in found:
            with os.fdopen(descriptor, "rb") as file:
                content = file.read(left + 1)
            left -= len(content)
            if left < 0 or len(files) == source.max_files:
                raise ArchiveError(f"it is larger than {source.max_files:,} files or {source.max_bytes:,} bytes")
            files[path] = content
    return files


def _walk(folder: int, prefix: str) -> Generator[tuple[str, int], None, None]:
    """Opens all files below an open folder, in order, and closes the folder. Who asks closes what is opened."""
    if prefix.count("/") > _MAX_DEPTH:
        os.close(folder)
        raise ArchiveError(f"it has more than {_MAX_DEPTH} folders within each other")
    try:
        for name in sorted(os.listdir(folder)):
            path = plain_path(prefix + name)
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe must not be waited for
            try:
                descriptor = os.open(name, flags, dir_fd=folder)
            except OSError as error:
                raise ArchiveError(f"{path!r} is a link, or cannot be read ({error.strerror})") from error
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISDIR(mode):
                yield from _walk(descriptor, f"{path}/")
            elif stat.S_ISREG(mode):
                yield path, descriptor
            else:
                os.close(descriptor)
                raise ArchiveError(f"{path!r} is neither a file nor a folder")
    finally:
        os.close(folder)
