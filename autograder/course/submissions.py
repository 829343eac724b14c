"""Reads what a student handed in. It may be anything, so nothing here raises for what it is."""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

LARGEST_NOTEBOOK = 50 * 2**20  # bytes
MOST_CELLS = 5_000
LARGEST_PICTURES = 10 * 2**20  # bytes, all that is pasted into its cells together: each page that shows them holds them
LARGEST_FILES = 48 * 2**20  # bytes, all of a submission's other files together
MOST_FILES = 500
DEEPEST_FOLDER = 10
_TIMESTAMP = "timestamp.txt"  # nbgrader's: when the submission was collected


@dataclass(frozen=True)
class SubmittedCell:
    """What is taken from a submitted cell.

    Attributes:
        kind: "code", "markdown" or "raw".
        source: Its text.
        attachments: Images pasted into a markdown cell, by name and type.
        nbgrader: Its nbgrader metadata, as claimed; never trusted.
    """

    kind: str
    source: str
    attachments: dict[str, dict[str, str]] = field(default_factory=dict)
    nbgrader: dict[str, Any] = field(default_factory=dict)

    @property
    def grade_id(self) -> str | None:
        """Returns the id that it claims, if any."""
        identity = self.nbgrader.get("grade_id")
        return identity if isinstance(identity, str) else None


@dataclass(frozen=True)
class Submission:
    """A submission's contents.

    Attributes:
        cells: Of its notebook; none where the notebook is missing or cannot be read.
        files: The other files, by their path in the submission.
        submitted: When it was collected, in UTC, if the submission says.
        problems: What could not be read, a sentence each.
        digest: Of the notebook, the files and the problems: equal for equal work, whenever it was handed in.
    """

    cells: list[SubmittedCell]
    files: dict[str, bytes]
    submitted: datetime | None
    problems: list[str]
    digest: str


class _UnreadableError(Exception):
    """Says in a sentence why something cannot be read."""


def read_submission(folder: Path, name: str) -> Submission:
    """Reads the submission of exercise `name` in `folder`. Links and special files are never followed."""
    problems: list[str] = []
    text, cells, files, submitted = b"", [], {}, None
    if folder.is_symlink():
        problems.append("The submission's folder is a link; nothing in it was read.")
        return Submission([], {}, None, problems, _digest(b"", {}, problems))
    try:
        text = _read_regular(folder / f"{name}.ipynb", f"{name}.ipynb", LARGEST_NOTEBOOK)
        cells = _cells(text, f"{name}.ipynb", problems)
    except _UnreadableError as error:
        problems.append(str(error))
    files = _other_files(folder, problems)
    try:
        submitted = _timestamp(folder / _TIMESTAMP)
    except _UnreadableError as error:
        problems.append(f"{error} The submission counts as in time.")
    return Submission(cells, files, submitted, problems, _digest(text, files, problems))


def _digest(notebook: bytes, files: dict[str, bytes], problems: list[str]) -> str:
    parts = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    whole = [hashlib.sha256(notebook).hexdigest(), sorted(parts.items()), problems]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()


def _read_regular(path: Path, name: str, largest: int) -> bytes:
    """Reads a regular file; `name` is what messages call it.

    Raises:
        _UnreadableError: It is missing, no regular file, too large, or cannot be read.
    """
    try:
        # NONBLOCK: opening a pipe would wait for somebody to write into it.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise _UnreadableError(f"There is no {name}.") from error
    except OSError as error:
        kind = "is a link" if path.is_symlink() else f"cannot be read: {error.strerror}"
        raise _UnreadableError(f"{name} {kind}.") from error
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise _UnreadableError(f"{name} is not a regular file.")
        with os.fdopen(handle, "rb", closefd=False) as file:
            data = file.read(largest + 1)
    except OSError as error:
        raise _UnreadableError(f"{name} cannot be read: {error.strerror}.") from error
    finally:
        os.close(handle)
    if len(data) > largest:
        raise _UnreadableError(f"{name} is larger than {largest // 2**20} MiB.")
    return data


def _cells(data: bytes, name: str, problems: list[str]) -> list[SubmittedCell]:
    try:
        found = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise _UnreadableError(f"{name} is not text in UTF-8.") from error
    except ValueError as error:
        raise _UnreadableError(f"{name} is not JSON.") from error
    except RecursionError as error:
        raise _UnreadableError(f"{name} is nested too deeply.") from error
    if not isinstance(found, dict) or "nbformat" not in found:
        raise _UnreadableError(f"{name} is not a notebook.")
    if type(found["nbformat"]) is not int or found["nbformat"] != 4:
        raise _UnreadableError(f"{name} is not a notebook of format 4: open it in JupyterLab and save it.")
    cells = found.get("cells")
    if not isinstance(cells, list):
        raise _UnreadableError(f"{name} is a notebook without cells.")
    if len(cells) > MOST_CELLS:
        problems.append(f"{name} has {len(cells)} cells; those after the first {MOST_CELLS} were left out.")
    read = [_cell(cell) for cell in cells[:MOST_CELLS]]
    unreadable = [str(number) for number, cell in enumerate(read, 1) if cell is None]
    if unreadable:
        problems.append(f"{name}: cells that are no cells were left out: {_listed(unreadable)}.")
    return _with_pictures([cell for cell in read if cell is not None], name, problems)


def _with_pictures(cells: list[SubmittedCell], name: str, problems: list[str]) -> list[SubmittedCell]:
    """Leaves out the pictures of those cells that come when there is no room left."""
    kept, room, left_out = [], LARGEST_PICTURES, 0
    for cell in cells:
        size = sum(len(data) for bundle in cell.attachments.values() for data in bundle.values())
        left_out += size > room
        kept.append(replace(cell, attachments={}) if size > room else cell)
        room -= size if size <= room else 0
    if left_out:
        problems.append(f"{name} has pictures of more than {LARGEST_PICTURES >> 20} MiB; {left_out} cells lost theirs.")
    return kept


def _cell(cell: Any) -> SubmittedCell | None:
    if not isinstance(cell, dict) or cell.get("cell_type") not in ("code", "markdown", "raw"):
        return None
    source = _text(cell.get("source", ""))
    if source is None:
        return None
    metadata = cell.get("metadata")
    nbgrader = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    return SubmittedCell(
        kind=cell["cell_type"],
        source=source,
        attachments=_attachments(cell.get("attachments")) if cell["cell_type"] == "markdown" else {},
        nbgrader=nbgrader if isinstance(nbgrader, dict) else {},
    )


def _text(value: Any) -> str | None:
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        value = "".join(value)
    if not isinstance(value, str):
        return None
    # JSON can hold halves of surrogate pairs, which no file and no message can.
    return value.encode("utf-8", "replace").decode()


def _attachments(value: Any) -> dict[str, dict[str, str]]:
    kept: dict[str, dict[str, str]] = {}
    for name, bundle in value.items() if isinstance(value, dict) else ():
        texts = {kind: _text(data) for kind, data in bundle.items()} if isinstance(bundle, dict) else {}
        images = {kind: data for kind, data in texts.items() if data is not None and _text(kind) == kind}
        if images and _text(name) == name:
            kept[name] = images
    return kept


def _other_files(folder: Path, problems: list[str]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    left_out, room = [], LARGEST_FILES
    for path in _walk(folder):
        name = path.relative_to(folder).as_posix()
        shown = ascii(name)
        try:
            name.encode()
            if len(files) >= MOST_FILES:
                raise _UnreadableError(f"{shown} is one of more than {MOST_FILES} files.")
            data = _read_regular(path, shown, room)
        except UnicodeEncodeError:
            left_out.append(f"The name {shown} is not text in UTF-8.")
        except _UnreadableError as error:
            left_out.append(str(error))
        else:
            files[name] = data
            room -= len(data)
    if left_out:
        problems.append(f"Files that were left out: {_listed(left_out, ' ')}")
    return files


def _walk(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        here = Path(where)
        links = [name for name in folders if (here / name).is_symlink()]
        deep = len(here.relative_to(folder).parts) >= DEEPEST_FOLDER
        folders[:] = [] if deep else sorted(set(folders) - {*links, ".ipynb_checkpoints"})
        yield from (here / name for name in sorted([*names, *links]) if not _is_nbgraders(here / name, folder))


def _is_nbgraders(path: Path, folder: Path) -> bool:
    return path.suffix == ".ipynb" or path == folder / _TIMESTAMP


def _timestamp(path: Path) -> datetime | None:
    from nbgrader.utils import parse_utc

    if not os.path.lexists(path):
        return None
    data = _read_regular(path, path.name, 1000)
    try:
        parsed = parse_utc(data.decode().strip())
    except (ValueError, OverflowError, TypeError, AttributeError) as error:  # what dateutil and nbgrader let through
        raise _UnreadableError(f"{path.name} holds no time.") from error
    return parsed if isinstance(parsed, datetime) else None


def _listed(items: list[str], separator: str = ", ", most: int = 10) -> str:
    more = f"{separator}and {len(items) - most} more" if len(items) > most else ""
    return separator.join(items[:most]) + more
