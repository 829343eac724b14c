"""The SQLite file of a store: its tables, how it is opened, and what its errors mean."""

import sqlite3
import time
from pathlib import Path

from workbook.sandbox.service.store import StoreError

_FORMAT = 2  # of the tables; the file keeps it as its user_version
_PATIENCE = 20.0  # seconds that another process may keep the file locked
_TABLES = """
CREATE TABLE sessions (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    environment TEXT NOT NULL,
    limits TEXT NOT NULL,
    created REAL NOT NULL,
    owner TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    closed INTEGER NOT NULL,
    length INTEGER NOT NULL,  -- of its log
    ended REAL NOT NULL DEFAULT 0  -- when it was closed, in seconds since 1970
);
CREATE INDEX sessions_of_tenant ON sessions (closed, tenant);
CREATE INDEX sessions_of_owner ON sessions (closed, owner);
CREATE INDEX sessions_of_end ON sessions (closed, ended);
CREATE TABLE events (
    session INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    time REAL NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL,
    blobs TEXT NOT NULL,
    PRIMARY KEY (session, seq)
);
CREATE INDEX events_of_kind ON events (session, kind, seq);
CREATE TABLE blobs (name TEXT PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE holds (session INTEGER, blob TEXT, PRIMARY KEY (session, blob)) WITHOUT ROWID;
CREATE INDEX holds_of_blob ON holds (blob);
CREATE TABLE nodes (id TEXT PRIMARY KEY, url TEXT, capacity INTEGER, used INTEGER, draining INTEGER, seen REAL);
"""
_FROM_1 = """
ALTER TABLE sessions ADD COLUMN ended REAL NOT NULL DEFAULT 0;
UPDATE sessions SET ended = strftime('%s', 'now') WHERE closed;
CREATE INDEX sessions_of_end ON sessions (closed, ended);
"""  # the format 1 did not know when a session was closed

_ADVICE = {
    "FULL": "there is no room for it: make room on the disk, or raise the store's bound",
    "BUSY": "another process has kept it locked: see what that does",
    "LOCKED": "another process has kept it locked: see what that does",
    "CORRUPT": "it is damaged: restore it from a copy, or save what `sqlite3 FILE .recover` finds",
    "NOTADB": "it is damaged, or no database at all: move it away, or restore it from a copy",
    "CANTOPEN": "it cannot be opened: look at its folder, and at who may write there",
    "READONLY": "it cannot be written: look at who may write to the file and its folder",
    "IOERR": "the disk reports an error: look at the disk, and at the kernel's messages",
}


def connect(path: Path, durable: bool, most_bytes: int | None) -> sqlite3.Connection:
    """Opens the file of a store, and makes it where there is none. See `sqlite_store.SqliteStore.open`.

    Raises:
        StoreError: It cannot be opened, is damaged, or is no store.
    """
    try:
        connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            _set_up(connection, path, durable, most_bytes)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise store_error(error, path) from error
    return connection


def _set_up(connection: sqlite3.Connection, path: Path, durable: bool, most_bytes: int | None) -> None:
    execute = connection.execute
    end = time.monotonic() + _PATIENCE
    while True:  # SQLite does not wait by itself where two processes change the mode of a new file
        try:
            execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if error_name(error) != "BUSY" or time.monotonic() > end:
                raise
        time.sleep(0.02)
    execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    execute("PRAGMA journal_size_limit = 67108864")  # a large blob leaves no large log behind
    execute("BEGIN IMMEDIATE")
    (found,) = execute("PRAGMA user_version").fetchone()
    new = not found and not execute("SELECT 1 FROM sqlite_schema").fetchone()
    if new or found == 1:
        for statement in (_TABLES if new else _FROM_1).split(";\n"):
            execute(statement)
        execute(f"PRAGMA user_version = {_FORMAT}")
        found = _FORMAT
    execute("COMMIT")
    if found != _FORMAT:
        raise StoreError(
            f"the store {path} is of the format {found}, and this program reads {_FORMAT}: use another file"
        )
    if most_bytes is not None:
        (page,) = execute("PRAGMA page_size").fetchone()
        execute(f"PRAGMA max_page_count = {max(1, most_bytes // page)}")


def store_error(error: sqlite3.Error, path: Path) -> StoreError:
    """Says what to do about an error of SQLite."""
    advice = _ADVICE.get(error_name(error), "SQLite failed")
    failure = StoreError(f"the store {path}: {advice} ({error})")
    failure.__cause__ = error
    return failure


def error_name(error: sqlite3.Error) -> str:
    """The kind of an error: BUSY of SQLITE_BUSY_SNAPSHOT."""
    return getattr(error, "sqlite_errorname", "SQLITE_ERROR").split("_")[1]
