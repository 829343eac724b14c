"""The files and the programs of a session, for the asynchronous client of the sandbox's service."""

import posixpath
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from workbook.sandbox.client_errors import BadAnswer, FileRefused
from workbook.sandbox.client_results import FileEntry, entry_of, typed, unpacked
from workbook.sandbox.client_wire import MOST_FILE, Request, Wire


class AsyncFilesystem:
    """The files of a session. Paths are relative to its workspace."""

    def __init__(self, wire: Wire, path: str) -> None:
        self._wire, self._path = wire, path

    async def write(self, path: str, data: bytes | str) -> int:
        """Writes a file, and makes the folders above it; returns its size.

        Raises:
            FileRefused: The session's file system refuses, here and in all of these.
        """
        return await self._put(path, data, append=False)

    async def append(self, path: str, data: bytes | str) -> int:
        """Writes at the end of a file; returns how many bytes.

        Raises:
            ConnectionLost: The service went away, and nobody knows whether it was done: it is not done twice.
        """
        return await self._put(path, data, append=True)

    async def _put(self, path: str, data: bytes | str, *, append: bool) -> int:
        content = data.encode() if isinstance(data, str) else bytes(data)
        params = {"append": "true"} if append else None
        request = Request("PUT", self._file(path), params=params, body=content, again=not append, seconds=300.0)
        size: int = typed(await self._wire.json(request), "size", int)
        return size

    async def read(self, path: str, most: int = MOST_FILE) -> bytes:
        """Returns a file's bytes; BadAnswer where there are more than `most`."""
        return await self._wire.bytes(Request("GET", self._file(path), seconds=300.0), most)

    async def read_text(self, path: str) -> str:
        """Returns a file's text."""
        return (await self.read(path)).decode(errors="replace")

    async def list(self, path: str = "") -> list[FileEntry]:
        """Returns what is in a folder, by name."""
        answer = await self._wire.json(Request("GET", f"{self._path}/files", params={"path": path}))
        return [entry_of(one) for one in typed(answer, "entries", list)]

    async def stat(self, path: str) -> FileEntry:
        """Tells what a path is."""
        return entry_of(await self._wire.json(Request("GET", f"{self._path}/stat", params={"path": path})))

    async def make_folder(self, path: str) -> None:
        """Makes a folder in one that is there."""
        await self._wire.json(Request("POST", f"{self._path}/folders", body={"path": path}, again=False))

    async def remove(self, path: str) -> None:
        """Removes a file, or a folder with all that is in it."""
        await self._wire.json(Request("DELETE", self._file(path), again=False))

    def _file(self, path: str) -> str:
        """Returns a file's address. A path with `..` would become another address on its way."""
        plain = posixpath.normpath(path).lstrip("/")
        if plain.split("/")[0] in ("..", ".", ""):
            raise FileRefused(f"{path[:200]!r} is no file of the workspace", more={"code": "EINVAL"})
        return f"{self._path}/files/{quoted(plain)}"


@dataclass
class AsyncProgram:
    """A program that was started in a session.

    Attributes:
        name: What the service calls it.
        command: What was started.
        written: Bytes of its output that have been taken.
        status: Its exit status, once that is known.
        lost: Why it never will be.
    """

    _wire: Wire = field(repr=False)
    _session: str = field(repr=False)
    name: str
    command: list[str]
    written: int = 0
    status: int | None = None
    lost: str = ""

    @property
    def _path(self) -> str:
        return f"{self._session}/processes/{quoted(self.name)}"

    async def wait(self, on_output: Callable[[str, bytes], None] | None = None, seconds: float = 3600.0) -> int | None:
        """Takes what it writes until it has ended; returns its exit status, or None where it was lost.

        Args:
            on_output: Is called with `stdout` or `stderr` and what was written there.
            seconds: That it is waited for.

        Raises:
            ConnectionLost: It has not ended in this time.
        """

        def on_event(number: str, kind: str, data: dict[str, Any]) -> bool:
            if kind == "output":
                content, place = unpacked(typed(data, "base64", str)), int(number) if number.isdecimal() else 0
                if place > self.written and on_output is not None:
                    on_output(typed(data, "stream", str), content)
                self.written = max(self.written, place)
            elif kind == "ended":
                status = data.get("status")
                self.status, self.lost = status if isinstance(status, int) else None, str(data.get("lost", ""))
            return kind == "ended"

        params = {"after": str(self.written)}
        await self._wire.stream(Request("GET", f"{self._path}/output", params=params, seconds=seconds), on_event)
        return self.status

    async def output(self) -> tuple[bytes, bytes]:
        """Waits until it has ended; returns what it has written to stdout and to stderr."""
        written: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        size = 0

        def keep(stream: str, data: bytes) -> None:
            nonlocal size
            size += len(data)
            if size > MOST_FILE:
                raise BadAnswer(f"a program has written more than {MOST_FILE:,} bytes: take them with `wait`")
            written.setdefault(stream, []).append(data)

        await self.wait(keep)
        return b"".join(written["stdout"]), b"".join(written["stderr"])

    async def write(self, data: bytes | str, *, end: bool = False) -> None:
        """Gives it something to read; with `end`, that was all."""
        content = data.encode() if isinstance(data, str) else data
        params = {"end": "true"} if end else None
        await self._wire.json(Request("POST", f"{self._path}/input", params=params, body=content, again=False))

    async def signal(self, name: str = "SIGTERM") -> None:
        """Signals it and what it has started."""
        await self._wire.json(Request("POST", f"{self._path}/signal", body={"signal": name}))

    async def kill(self) -> None:
        """Ends it at once."""
        await self.signal("SIGKILL")


def quoted(path: str) -> str:
    """Returns a path as it stands in a URL."""
    return quote(path.encode("utf-8", "replace"), safe="/")
