"""The records of a course, in one file, `records.db`: each grade that was ever given, and the notebooks that show them.

No record is ever changed or removed; each is marked when it is in the gradebook. It is the cache of results too: equal
work, graded by equal criteria in an equal environment, needs no second execution. What stands beside records serves to
find them, and is believed in nothing: who reads one holds its signature, and what it says, against what is wanted.
"""

import hashlib
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from autograder.course.record import Record, RecordError

FILE = "records.db"
"""In the course's folder. It holds seeds: nothing copies it anywhere."""

MAKE_ROOM = "make room on the disk, and run the same command again: it goes on where it ended"

_PATIENCE = 10  # seconds to wait for another program that writes

_SCHEMA = """
CREATE TABLE IF NOT EXISTS notebook (sha256 TEXT PRIMARY KEY, compressed BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS record (
    number INTEGER PRIMARY KEY,
    exercise TEXT NOT NULL,
    student TEXT NOT NULL,
    key TEXT NOT NULL,
    record TEXT NOT NULL,
    entered INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS of_student ON record (exercise, student, number);
CREATE INDEX IF NOT EXISTS by_key ON record (key, number);
"""


class RecordsError(Exception):
    """The file of records cannot be used. The message says what to do."""


class Records:
    """The file of records of a course. A context manager, for one thread at a time.

    Every method raises RecordsError where the file cannot be used: locked, read-only, damaged, or the disk is full.
    """

    def __init__(self, root: Path) -> None:
        """Opens the file in a course's folder, making it where there is none."""
        self.path = root / FILE
        with self._errors():
            self._database = sqlite3.connect(
                self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
        try:
            with self._errors():
                # One file beside it that is appended to, and a flush a record: a power cut loses no record.
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute("PRAGMA synchronous = FULL")
                self._database.executescript(_SCHEMA)
        except RecordsError:
            self._database.close()
            raise

    def tip(self) -> tuple[int, str]:
        """Returns the last record's number and digest; 0 and nothing where there is none."""
        with self._errors():
            row = self._database.execute("SELECT number, record FROM record ORDER BY number DESC LIMIT 1").fetchone()
        return (row[0], hashlib.sha256(row[1].encode()).hexdigest()) if row else (0, "")

    def add(self, record: Record, notebook: str, key: str) -> None:
        """Appends a record with the graded notebook, in one transaction.

        Args:
            record: Signed, with the number after the last.
            notebook: The graded notebook's text.
            key: Of the result, as `autograder.course.fingerprint` makes it.
        """
        compressed = zlib.compress(notebook.encode(), level=1)
        with self._errors():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                self._database.execute(
                    "INSERT OR IGNORE INTO notebook VALUES (?, ?)", (record.notebook_sha256, compressed)
                )
                self._database.execute(
                    "INSERT INTO record (number, exercise, student, key, record) VALUES (?, ?, ?, ?, ?)",
                    (record.number, record.exercise, record.student, key, record.to_json()),
                )
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:  # a full disk ends it by itself
                    self._database.execute("ROLLBACK")
                raise

    def mark_entered(self, number: int) -> None:
        """Notes that a record's grade is in the gradebook."""
        with self._errors():
            self._database.execute("UPDATE record SET entered = 1 WHERE number = ?", (number,))

    def is_entered(self, number: int) -> bool:
        """Returns whether a record's grade has come into the gradebook."""
        with self._errors():
            row = self._database.execute("SELECT entered FROM record WHERE number = ?", (number,)).fetchone()
        return bool(row and row[0])

    def everything(self) -> Iterator[tuple[int, Record | None]]:
        """Yields all records with their numbers, in order; None for what is no record."""
        with self._errors():
            rows = self._database.execute("SELECT number, record FROM record ORDER BY number")
            for number, text in rows:
                try:
                    yield number, Record.from_json(text)
                except RecordError:
                    yield number, None

    def latest(self, exercise: str) -> dict[str, Record]:
        """Returns the last record of each student's submission of an exercise."""
        query = "SELECT student, record, MAX(number) FROM record WHERE exercise = ? GROUP BY student ORDER BY student"
        return {student: one for student, one in self._read(query, exercise) if _is_of(one, exercise, student)}

    def latest_of(self, exercise: str, student: str) -> Record | None:
        """Returns the last record of one student's submission; None where there is none."""
        query = "SELECT student, record FROM record WHERE exercise = ? AND student = ? ORDER BY number DESC LIMIT 1"
        found = (record for _, record in self._read(query, exercise, student))
        return next((record for record in found if _is_of(record, exercise, student)), None)

    def last(self) -> Record | None:
        """Returns the last record of all; None where there is none."""
        query = "SELECT student, record FROM record ORDER BY number DESC LIMIT 1"
        return next((record for _, record in self._read(query)), None)

    def all_of(self, exercise: str, student: str) -> list[Record]:
        """Returns all records of one student's submissions of an exercise, the last one first."""
        query = "SELECT student, record FROM record WHERE exercise = ? AND student = ? ORDER BY number DESC"
        return [record for _, record in self._read(query, exercise, student)]

    def find(self, key: str) -> list[Record]:
        """Returns the results that stand under a key, whoever's they are, the last one first."""
        query = "SELECT student, record FROM record WHERE key = ? ORDER BY number DESC"
        return [record for _, record in self._read(query, key)]

    def notebook(self, sha256: str) -> str | None:
        """Returns the text of a graded notebook; None where it is not there or not whole."""
        with self._errors():
            row = self._database.execute("SELECT compressed FROM notebook WHERE sha256 = ?", (sha256,)).fetchone()
        try:
            data = zlib.decompress(row[0]) if row else b""
        except zlib.error:
            return None
        return data.decode() if notebook_digest(data) == sha256 else None

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, query: str, *values: str) -> Iterator[tuple[str, Record]]:
        """Yields students with their records; passes over what is no record, as if it were not there."""
        with self._errors():
            rows = self._database.execute(query, values).fetchall()
        for row in rows:
            try:
                yield row[0], Record.from_json(row[1])
            except RecordError:
                continue

    def _errors(self) -> "_Errors":
        return _Errors(self.path)


class _Errors:
    """Says in plain words what SQLite says."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, sqlite3.Error):
            advice = _advice(str(error))
            raise RecordsError(f"{self._path}: {error}{advice and ': ' + advice}") from error


def _advice(said: str) -> str:
    if "locked" in said:
        return "another program is writing to it; try again when it is done"
    if "full" in said or "disk I/O" in said:
        return MAKE_ROOM
    if "readonly" in said or "unable to open" in said:
        return "make the file and its folder writable"
    if "malformed" in said or "not a database" in said:
        return "restore it from a backup, or move it away and grade all submissions again"
    return ""


def _is_of(record: Record, exercise: str, student: str) -> bool:
    """Whether a record says of itself what stands beside it."""
    return (record.exercise, record.student) == (exercise, student)


def notebook_digest(text: str | bytes) -> str:
    """Returns the digest of a graded notebook's text."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()
