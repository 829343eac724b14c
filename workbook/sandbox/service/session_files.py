"""The files of a session, as its log has them: what changes is written down, and made again."""

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from workbook.sandbox.service import journal
from workbook.sandbox.service.journal import Entry
from workbook.sandbox.service.live import FileRefused, LiveBox
from workbook.sandbox.service.session_log import Log
from workbook.sandbox.service.store import NewEvent, RefusedError

CHUNK = 8 << 20
"""Bytes of a file that are asked for at once."""

AT_ONCE, AT_ONCE_BYTES = 500, 256 << 10
"""Files whose change is one event, and JSON of them: an event is of limited size, and of a limited number of blobs."""

NO_CHANGE = NewEvent(journal.FILE_CHANGED, {"changed": [], "removed": []})


class SessionFiles:
    """The files in a session's box.

    Attributes:
        entries: The workspace as the log has it, by path, folders before what is in them.
        lock: Held from a change to its event, so that each event has the changes of one cause.
    """

    def __init__(self, log: Log, box: Callable[[], LiveBox]) -> None:
        """Takes the log, and what gives the box."""
        self._log, self._box = log, box
        self.entries: dict[str, Entry] = {}
        self.lock = asyncio.Lock()

    async def record(self) -> None:
        """Writes down what has changed."""
        changes = await self.changes()
        await self._log.record(*changes)
        self.note(changes)

    def note(self, changes: Sequence[NewEvent]) -> None:
        """Remembers changes that are written down."""
        for change in changes:
            journal.apply(self.entries, dict(change.data))

    async def changes(self) -> list[NewEvent]:
        """Returns what has changed in the workspace, and keeps the blobs that hold it; one event at least."""
        box = self._box()
        try:
            found, _ = await box.file("changes")
        except FileRefused:
            return [NewEvent(journal.FILE_CHANGED, {"incomplete": True})]
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
        return changes or [NO_CHANGE]

    async def _read(self, path: str, size: int) -> bytes:
        data = b""
        while len(data) < size:
            _, (part,) = await self._box().file("read", path=path, offset=len(data), size=min(CHUNK, size - len(data)))
            if not part:
                break
            data += part
        return data

    async def restore(self) -> None:
        """Makes the workspace what the log says that it was, whatever the cells have made of it this time."""
        box, wanted = self._box(), self.entries
        found, _ = await box.file("changes")
        kinds = {one["path"]: one["kind"] for one in found["changed"]}
        for path in reversed(kinds):
            there = wanted.get(path)
            if path in kinds and (there is None or there.kind != kinds[path]):
                await _quietly(box.file("remove", path=path))
        for path, entry in wanted.items():
            if entry.kind == "folder":
                await _quietly(box.file("make_folder", path=path))
            elif entry.kind == "link":
                await _quietly(box.file("remove", path=path))
                await box.file("link", path=path, target=entry.target)
            else:
                await box.file("write", [await self._log.blob(entry.blob)], path=path)
                await box.file("set_mode", path=path, mode=entry.mode)
        await box.file("changes")


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
