"""The files of a session, for the clients of the sandbox's service."""

import posixpath

from workbook.sandbox.client_errors import FileRefused
from workbook.sandbox.client_results import FileEntry, entry_of, typed
from workbook.sandbox.client_runner import Runner
from workbook.sandbox.client_wire import MOST_FILE, Request, Wire, new_key, quoted


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
        """Writes at the end of a file, once; returns how many bytes."""
        return await self._put(path, data, append=True)

    async def _put(self, path: str, data: bytes | str, *, append: bool) -> int:
        content = data.encode() if isinstance(data, str) else bytes(data)
        params = {"append": "true"} if append else None
        key = new_key() if append else ""
        request = Request("PUT", self._file(path), params=params, body=content, key=key, seconds=300.0)
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
        await self._wire.json(Request("POST", f"{self._path}/folders", body={"path": path}, key=new_key()))

    async def remove(self, path: str) -> None:
        """Removes a file, or a folder with all that is in it."""
        await self._wire.json(Request("DELETE", self._file(path), key=new_key()))

    def _file(self, path: str) -> str:
        """Returns a file's address. A path with `..` would become another address on its way."""
        plain = posixpath.normpath(path).lstrip("/")
        if plain.split("/")[0] in ("..", ".", ""):
            raise FileRefused(f"{path[:200]!r} is no file of the workspace", more={"code": "EINVAL"})
        return f"{self._path}/files/{quoted(plain)}"


class Filesystem:
    """The files of a session. Paths are relative to its workspace; what is refused is a FileRefused."""

    def __init__(self, runner: Runner, files: AsyncFilesystem) -> None:
        self._runner, self._files = runner, files

    def write(self, path: str, data: bytes | str) -> int:
        """Writes a file, and makes the folders above it; returns its size."""
        return self._runner.run(self._files.write(path, data))

    def append(self, path: str, data: bytes | str) -> int:
        """Writes at the end of a file; returns how many bytes."""
        return self._runner.run(self._files.append(path, data))

    def read(self, path: str, most: int = MOST_FILE) -> bytes:
        """Returns a file's bytes."""
        return self._runner.run(self._files.read(path, most))

    def read_text(self, path: str) -> str:
        """Returns a file's text."""
        return self._runner.run(self._files.read_text(path))

    def list(self, path: str = "") -> list[FileEntry]:
        """Returns what is in a folder, by name."""
        return self._runner.run(self._files.list(path))

    def stat(self, path: str) -> FileEntry:
        """Tells what a path is."""
        return self._runner.run(self._files.stat(path))

    def make_folder(self, path: str) -> None:
        """Makes a folder in one that is there."""
        self._runner.run(self._files.make_folder(path))

    def remove(self, path: str) -> None:
        """Removes a file, or a folder with all that is in it."""
        self._runner.run(self._files.remove(path))
