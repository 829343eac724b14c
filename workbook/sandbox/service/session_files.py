"""The files of a session, as its log has them: what changes is written down, and made again."""

import asyncio
import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from workbook.sandbox.service import journal
from workbook.sandbox.service.checks import MAX_BLOB
from workbook.sandbox.service.file_history import Entry, FileHistory
from workbook.sandbox.service.live import LiveBox
from workbook.sandbox.service.live_types import FileRefused
from workbook.sandbox.service.session_calls import KeyConflictError
from workbook.sandbox.service.session_log import Log
from workbook.sandbox.service.store import NewEvent, RefusedError

CHUNK = 8 << 20
"""Bytes of a file that are asked for at once."""

AT_ONCE, AT_ONCE_BYTES = 500, 256 << 10
"""Files whose change is one event, and JSON of them: an event is of limited size, and of a limited number of blobs."""

_OPEN = 0o700  # the permissions of a folder while something is made in it
_WRITTEN = 0o644  # the permissions that a file has which is written by the box

NO_CHANGE = NewEvent(journal.FILE_CHANGED, {"changed": [], "removed": []})


class SessionFiles:
    """The files in a session's box.

    Attributes:
        history: The workspace as the log has it.
        by_key: Changes that were made with a key, by key: a digest of what was asked for, and what it gave.
        lock: Held from a change to its event: nobody is told of a change that stands in no event.
    """

    def __init__(self, log: Log, box: Callable[[], LiveBox]) -> None:
        """Takes the log, and what gives the box."""
        self._log, self._box = log, box
        self.history = FileHistory()
        self._there: dict[str, Entry] = {}  # while it is made again: what the box has, as far as that is known
        self.by_key: dict[str, tuple[str, Any]] = {}
        self.lock = asyncio.Lock()

    async def change(self, action: str, blobs: Sequence[bytes], key: str, arguments: dict[str, Any]) -> Any:
        """Makes a change, with a key once; returns what the box says of it. See `Session.file`."""
        asked = hashlib.sha256(json.dumps([action, arguments], sort_keys=True).encode())
        for blob in blobs:
            asked.update(hashlib.sha256(blob).digest())
        async with self.lock:
            if key in self.by_key:
                was, value = self.by_key[key]
                if was != asked.hexdigest():
                    raise KeyConflictError(f"the key {key!r} was used for another change")
                return value
            value, _ = await self._box().file(action, blobs, **arguments)
            if not key:
                await self.record()
                return value
            await self.record({"key": key, "asked": asked.hexdigest(), "value": value})
            self.by_key[key] = asked.hexdigest(), value
            return value

    async def record(self, of: Mapping[str, Any] | None = None) -> None:
        """Writes down what has changed, and of what."""
        async with self._log.or_give_up():
            *before, change = await self.changes()
            changes = [*before, dataclasses.replace(change, data={**change.data, **(of or {})})]
            await self._log.record(*changes)
        self.note(changes)

    def note(self, changes: Sequence[NewEvent]) -> None:
        """Remembers changes that are written down."""
        for change in changes:
            self.history.note(change.data)

    async def changes(self, *, told: bool = False) -> list[NewEvent]:
        """Returns what has changed in the workspace, and keeps the blobs that hold it; one event at least.

        Args:
            told: Whether a cell has just come to its end, with which the box tells of it: it is not asked then.
        """
        changes: list[NewEvent] = []
        for found in await self._box().changes(told=told):
            if found is None:
                changes.append(NewEvent(journal.FILE_CHANGED, {"incomplete": True}))
            else:
                changes += await self._events_of(found)
        return changes or [NO_CHANGE]

    async def _events_of(self, found: dict[str, Any]) -> list[NewEvent]:
        changes = [
            NewEvent(journal.FILE_CHANGED, {"changed": [], "removed": [str(path) for path in part]})
            for part in _parts(found["removed"])
        ]
        for part in _parts(found["changed"]):
            changed, names = [], []
            for one in part:
                entry = Entry(str(one["kind"]), int(one["mode"]), target=str(one["target"]))
                if entry.kind == "file":
                    try:
                        content = await self._read(one["path"], one["size"])
                        entry.blob = await self._log.put_blob(content)
                    except (FileRefused, RefusedError):  # gone or changed meanwhile, or larger than a blob may be
                        continue
                    names.append(entry.blob)
                changed.append({"path": str(one["path"]), **dataclasses.asdict(entry)})
            what = {"changed": changed, "removed": []}
            changes.append(NewEvent(journal.FILE_CHANGED, what, tuple(dict.fromkeys(names))))
        return changes

    async def _read(self, path: str, size: int) -> bytes:
        if size > MAX_BLOB:  # a file with holes takes no room in the box, and all of its size here
            raise RefusedError(f"a file of {size} bytes is more than is kept")
        data = b""
        while len(data) < size:
            _, (part,) = await self._box().file("read", path=path, offset=len(data), size=min(CHUNK, size - len(data)))
            if not part:
                break
            data += part
        return data

    def begin(self) -> None:
        """Takes note that the box, which is no new one, has what the log says."""
        self._there = dict(self.history.entries)

    async def make(self, place: int | None = None) -> None:
        """Makes the workspace what it was at a place of its history; now, where none is given.

        From the first one to the last nobody else may change it, besides cells that are executed again.
        """
        box, there = self._box(), self._there
        wanted = self.history.entries if place is None else self.history.at(place)
        for found in await box.changes():
            _note_found(there, found or NO_CHANGE.data)
        different = {path for path in (*there, *wanted) if there.get(path) != wanted.get(path)}
        await self._open_folders(different, there)
        for path in sorted(different & set(there), reverse=True):  # first: it has the room of what is wanted
            if not there[path].kind == "folder" == _kind(wanted.get(path)):
                await _quietly(box.file("remove", path=path))
                del there[path]
        for path, entry in wanted.items():
            if path in different:
                await self._make_one(path, entry)
        for path in sorted(_with_folders(different), reverse=True):  # what can be written in is closed at last
            if path in wanted:
                if wanted[path].kind == "folder":
                    await _quietly(box.file("set_mode", path=path, mode=wanted[path].mode))
                there[path] = wanted[path]
        await box.changes()

    async def change_back(self, before: Mapping[str, Entry | None]) -> None:
        """Makes some paths what they were, whatever else goes on in the workspace; that is recorded, as all changes."""
        await self.record()
        box, there = self._box(), self.history.entries
        different = {path for path, entry in before.items() if there.get(path) != entry}
        await self._open_folders(different, dict(there))
        for path in sorted(different, reverse=True):
            if not _kind(there.get(path)) == "folder" == _kind(before[path]):
                await _quietly(box.file("remove", path=path))
        for path in sorted(different):
            if (entry := before[path]) is not None:
                await self._make_one(path, entry)
        for path in sorted(_with_folders(different), reverse=True):
            folder = before.get(path, there.get(path))
            if folder is not None and folder.kind == "folder":
                await _quietly(box.file("set_mode", path=path, mode=folder.mode))
        await self.record()

    async def _open_folders(self, paths: Collection[str], there: Mapping[str, Entry]) -> None:
        """Lets something be changed in the folders of the box that such paths are in, or are."""
        for path in sorted(_with_folders(paths)):
            if _kind(there.get(path)) == "folder":
                await _quietly(self._box().file("set_mode", path=path, mode=_OPEN))

    async def _make_one(self, path: str, entry: Entry) -> None:
        """Makes a file, folder or link, in a folder that is open."""
        box = self._box()
        if entry.kind == "folder":
            await _quietly(box.file("make_folder", path=path))
            await _quietly(box.file("set_mode", path=path, mode=_OPEN))
        elif entry.kind == "link":
            await box.file("link", path=path, target=entry.target)
        else:
            await box.file("write", [await self._log.blob(entry.blob)], path=path)
            if entry.mode != _WRITTEN:
                await box.file("set_mode", path=path, mode=entry.mode)


def _kind(entry: Entry | None) -> str:
    return "" if entry is None else entry.kind


def _with_folders(paths: Collection[str]) -> set[str]:
    """Returns paths, with those of the folders that they are in."""
    return {*paths, *(str(folder) for path in paths for folder in PurePosixPath(path).parents if folder.name)}


def _note_found(there: dict[str, Entry], found: Mapping[str, Any]) -> None:
    """Notes what a box has found changed: of a file only that it is another one now."""
    for path in found["removed"]:
        there.pop(str(path), None)
    for one in found["changed"]:
        there[str(one["path"])] = Entry(str(one["kind"]), int(one["mode"]), target=str(one["target"]))


def _parts(files: Sequence[Any]) -> list[list[Any]]:
    """Divides what is told of files into what events can hold."""
    parts: list[list[Any]] = []
    size = 0
    for one in files:
        size += len(json.dumps(one))
        if not parts or len(parts[-1]) == AT_ONCE or size > AT_ONCE_BYTES:
            parts.append([])
            size = len(json.dumps(one))
        parts[-1].append(one)
    return parts


async def _quietly(action: Awaitable[object]) -> None:
    with contextlib.suppress(FileRefused):
        await action
