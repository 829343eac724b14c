"""The files of a session as its log tells of them: what they are now, and what they were when a cell began."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass
class Entry:
    """A file, folder or link of the workspace.

    Attributes:
        kind: "file", "folder" or "link".
        mode: Permissions.
        blob: Name of a file's contents.
        target: Of a link.
    """

    kind: str
    mode: int
    blob: str = ""
    target: str = ""


class FileHistory:
    """What changed in a workspace, in order.

    Attributes:
        entries: What is there now, by path, folders before what is in them.
        place: How many changes there were so far.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.place = 0
        self._first: dict[str, Entry] = {}  # what was there before the changes that are kept
        self._changes: list[Mapping[str, Any]] = []
        self._cursor: tuple[int, dict[str, Entry]] = 0, {}

    def note(self, change: Mapping[str, Any]) -> None:
        """Takes a change, as an event has it; one of nothing is none."""
        if change.get("changed") or change.get("removed"):
            self._changes.append(change)
            self.place += 1
            _apply(self.entries, change)

    def at(self, place: int) -> Mapping[str, Entry]:
        """Returns what was there after so many changes; not of a time that was forgotten."""
        done, entries = self._cursor
        forgotten = self.place - len(self._changes)
        if not max(forgotten, 1) <= done <= place:
            done, entries = forgotten, dict(self._first)
        for change in self._changes[done - forgotten : place - forgotten]:
            _apply(entries, change)
        self._cursor = place, entries
        return entries

    def paths(self, first: int, last: int) -> set[str]:
        """Returns what changed between two places."""
        forgotten = self.place - len(self._changes)
        changes = self._changes[max(0, first - forgotten) : max(0, last - forgotten)]
        removed = {path for change in changes for path in change.get("removed", ())}
        return removed | {one["path"] for change in changes for one in change.get("changed", ())}

    def forget(self, place: int) -> None:
        """Forgets the changes before a place: nobody will ask for what was there then."""
        forgotten = self.place - len(self._changes)
        for change in self._changes[: place - forgotten]:
            _apply(self._first, change)
        del self._changes[: place - forgotten]


def _apply(files: dict[str, Entry], change: Mapping[str, Any]) -> None:
    if gone := set(change.get("removed", [])):
        for path in list(files):  # folders before what is in them
            if path in gone or path.rpartition("/")[0] in gone:
                gone.add(path)
                del files[path]
    for one in change.get("changed", []):
        files[one["path"]] = Entry(one["kind"], one["mode"], one.get("blob", ""), one.get("target", ""))
