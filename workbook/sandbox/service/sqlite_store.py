"""A store in one SQLite file, for the processes of one machine."""

import asyncio
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from workbook.sandbox.service import checks
from workbook.sandbox.service.sqlite_file import connect
from workbook.sandbox.service.sqlite_thread import SqliteThread
from workbook.sandbox.service.store import (
    Event,
    FencedError,
    NewEvent,
    NodeRecord,
    QuotaError,
    RefusedError,
    SessionExistsError,
    SessionRecord,
    UnknownSessionError,
)

_RECORD = "id, tenant, environment, limits, created, owner, epoch, closed"
_EVENT = "seq, time, kind, data, blobs"
_REMOVED_AT_ONCE = 16 * checks.MIB  # of blobs, unless it is one


class SqliteStore:
    """A `Store` in one file, blobs included.

    The file is in WAL mode, so beside it lie two more while it is in use; all three belong together. It must be on a
    disk of this machine: SQLite's locks do not hold on network file systems.

    A process that is killed loses nothing that was acknowledged, as the kernel has it. A power cut or a crash of the
    machine may lose the last transactions, but leaves the file whole (`synchronous=NORMAL`); with `durable=True` it
    loses nothing either, and each commit waits for the disk (`synchronous=FULL`).
    """

    def __init__(self, reader: SqliteThread, writer: SqliteThread) -> None:
        """Takes over what `open` has made."""
        self._read, self._write = reader.run, writer.run
        self._threads = reader, writer

    @classmethod
    async def open(cls, path: Path, *, durable: bool = False, most_bytes: int | None = None) -> Self:
        """Opens a file, and makes it where there is none.

        Args:
            path: The file; its folder exists.
            durable: Whether a power cut must lose nothing either.
            most_bytes: How large it may become; without it, as large as the disk lets it.

        Raises:
            StoreError: It cannot be opened, is damaged, or is no store.
        """
        connections = [await asyncio.to_thread(connect, path, durable, most_bytes) for _ in range(2)]
        reader, writer = (
            SqliteThread(connection, path, writes=writes)
            for connection, writes in zip(connections, (False, True), strict=True)
        )
        return cls(reader, writer)

    async def create(self, session: SessionRecord, quota: int | None = None) -> None:
        """See `Store`."""
        limits = checks.check_session(session)

        def work(connection: sqlite3.Connection) -> None:
            if _row(connection, "SELECT 1 FROM sessions WHERE id = ?", session.id):
                raise SessionExistsError(session.id)
            if quota is not None and _count(connection, session.tenant) >= quota:
                raise QuotaError(f"the tenant {session.tenant!r} has {quota} open sessions, and may not have more")
            record = (session.id, session.tenant, session.environment, limits, session.created)
            connection.execute(
                f"INSERT INTO sessions ({_RECORD}, length) VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0)",
                (*record, session.owner, session.epoch),
            )

        await self._write(work)

    async def session(self, session: str) -> SessionRecord:
        """See `Store`."""
        checks.check_name("a session", session)
        row = await self._read(
            lambda connection: _row(connection, f"SELECT {_RECORD} FROM sessions WHERE id = ?", session)
        )
        if row is None:
            raise UnknownSessionError(session)
        return _record(row)

    async def sessions(
        self, tenant: str | None = None, owner: str | None = None, include_closed: bool = False
    ) -> list[SessionRecord]:
        """See `Store`."""
        wanted = {"closed": None if include_closed else 0, "tenant": tenant, "owner": owner}
        given = {column: value for column, value in wanted.items() if value is not None}
        where = " AND ".join(f"{column} = ?" for column in given) or "1"
        query = f"SELECT {_RECORD} FROM sessions WHERE {where} ORDER BY created, id"
        rows = await self._read(lambda connection: connection.execute(query, tuple(given.values())).fetchall())
        return [_record(row) for row in rows]

    async def count(self, tenant: str | None = None) -> int:
        """See `Store`."""
        return await self._read(lambda connection: _count(connection, tenant))

    async def claim(self, session: str, owner: str, epoch: int) -> SessionRecord:
        """See `Store`."""
        checks.check_name("a session", session)
        checks.check_name("an owner", owner, empty=True)

        def work(connection: sqlite3.Connection) -> SessionRecord:
            number, _ = _held(connection, session, epoch)
            connection.execute("UPDATE sessions SET owner = ?, epoch = epoch + 1 WHERE number = ?", (owner, number))
            return _record(_row(connection, f"SELECT {_RECORD} FROM sessions WHERE number = ?", number))

        return await self._write(work)

    async def append(self, session: str, epoch: int, events: Sequence[NewEvent]) -> list[Event]:
        """See `Store`."""
        checks.check_name("a session", session)
        texts = checks.encode_events(events)

        def work(connection: sqlite3.Connection) -> int:
            number, length = _held(connection, session, epoch)
            for name in {name for event in events for name in event.blobs}:
                if not _row(connection, "SELECT 1 FROM holds WHERE session = ? AND blob = ?", number, name):
                    raise RefusedError(f"the session {session!r} has no blob {name}")
            connection.executemany(
                "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (number, seq, event.time, event.kind, text, " ".join(event.blobs))
                    for seq, (event, text) in enumerate(zip(events, texts, strict=True), length + 1)
                ],
            )
            connection.execute("UPDATE sessions SET length = ? WHERE number = ?", (length + len(events), number))
            return length + 1

        first = await self._write(work)
        return checks.as_kept(events, texts, first)

    async def events(self, session: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """See `Store`."""
        checks.check_name("a session", session)
        bounds = _bounded(after), -1 if limit is None else _bounded(limit)
        query = f"SELECT {_EVENT} FROM events WHERE session = ? AND seq > ? ORDER BY seq LIMIT ?"
        return await self._events(session, query, *bounds)

    async def last(self, session: str, kind: str) -> Event | None:
        """See `Store`."""
        checks.check_name("a session", session)
        checks.check_name("a kind of events", kind)
        query = f"SELECT {_EVENT} FROM events WHERE session = ? AND kind = ? ORDER BY seq DESC LIMIT 1"
        found = await self._events(session, query, kind)
        return found[0] if found else None

    async def put_blob(self, session: str, data: bytes) -> str:
        """See `Store`."""
        checks.check_name("a session", session)
        name = await asyncio.to_thread(checks.blob_name, data)

        def work(connection: sqlite3.Connection) -> None:
            number = _known(connection, session)[0]
            connection.execute("INSERT OR IGNORE INTO holds VALUES (?, ?)", (number, name))
            if not _row(connection, "SELECT 1 FROM blobs WHERE name = ?", name):
                connection.execute("INSERT INTO blobs VALUES (?, ?)", (name, data))

        await self._write(work)
        return name

    async def get_blob(self, name: str) -> bytes | None:
        """See `Store`."""
        checks.check_blob_name(name)
        row = await self._read(lambda connection: _row(connection, "SELECT data FROM blobs WHERE name = ?", name))
        return None if row is None else await asyncio.to_thread(checks.check_blob, name, row[0])

    async def drop_blobs(self, session: str, epoch: int, names: Sequence[str]) -> None:
        """See `Store`."""
        checks.check_name("a session", session)
        for name in names:
            checks.check_blob_name(name)
        await self._write(lambda connection: _drop(connection, _held(connection, session, epoch)[0], names))

    async def close_session(self, session: str, epoch: int | None = None) -> None:
        """See `Store`."""
        checks.check_name("a session", session)

        def work(connection: sqlite3.Connection) -> None:
            number, _, current, closed = _known(connection, session)
            if closed:
                return
            if epoch is not None:
                _held(connection, session, epoch)
            closing = "UPDATE sessions SET closed = 1, owner = '', epoch = ?, ended = ? WHERE number = ?"
            connection.execute(closing, (current + 1, time.time(), number))

        await self._write(work)

    async def delete_session(self, session: str) -> None:
        """See `Store`."""
        checks.check_name("a session", session)

        def work(connection: sqlite3.Connection) -> None:
            number = _known(connection, session)[0]
            held = connection.execute("SELECT blob FROM holds WHERE session = ?", (number,)).fetchall()
            _drop(connection, number, [name for (name,) in held])
            connection.execute("DELETE FROM events WHERE session = ?", (number,))
            connection.execute("DELETE FROM sessions WHERE number = ?", (number,))

        await self._write(work)

    async def remove_closed(self, age: float, most: int = 1000) -> bool:
        """See `Store`."""
        latest = time.time() - checks.check_time(age)
        return await self._write(lambda connection: _remove(connection, latest, most))

    async def heartbeat(self, node: NodeRecord) -> None:
        """See `Store`."""
        checks.check_node(node)
        row = (node.id, node.url, node.capacity, node.used, node.draining)
        await self._write(
            lambda connection: connection.execute(
                "INSERT OR REPLACE INTO nodes VALUES (?, ?, ?, ?, ?, ?)", (*row, time.time())
            )
        )

    async def nodes(self, alive_within: float) -> list[NodeRecord]:
        """See `Store`."""
        query = "SELECT id, url, capacity, used, draining, seen FROM nodes WHERE seen >= ? ORDER BY id"
        earliest = time.time() - alive_within
        rows = await self._read(lambda connection: connection.execute(query, (earliest,)).fetchall())
        return [
            NodeRecord(name, url, capacity, used, bool(draining), seen)
            for name, url, capacity, used, draining, seen in rows
        ]

    async def remove_node(self, node: str) -> None:
        """See `Store`."""
        checks.check_name("a node", node)
        await self._write(lambda connection: connection.execute("DELETE FROM nodes WHERE id = ?", (node,)))

    async def close(self) -> None:
        """See `Store`."""
        for thread in self._threads:
            await thread.close()

    async def _events(self, session: str, query: str, *parameters: Any) -> list[Event]:
        def work(connection: sqlite3.Connection) -> list[Event]:
            what = f"an event of the session {session!r}"
            return [
                Event(seq, time, kind, checks.decode(what, data), tuple(blobs.split()))
                for seq, time, kind, data, blobs in connection.execute(
                    query, (_known(connection, session)[0], *parameters)
                )
            ]

        return await self._read(work)


def _bounded(number: int) -> int:
    """The nearest number that SQLite takes, and that makes sense."""
    return min(max(number, 0), checks.MAX_NUMBER)


def _row(connection: sqlite3.Connection, query: str, *parameters: Any) -> Any:
    return connection.execute(query, parameters).fetchone()


def _count(connection: sqlite3.Connection, tenant: str | None) -> int:
    of_tenant = "" if tenant is None else "AND tenant = ?"
    query = f"SELECT count(*) FROM sessions WHERE closed = 0 {of_tenant}"
    return int(_row(connection, query, *([] if tenant is None else [tenant]))[0])


def _known(connection: sqlite3.Connection, session: str) -> tuple[int, int, int, bool]:
    """The number of a session, the length of its log, its epoch, and whether it is closed."""
    row: tuple[int, int, int, bool] | None = _row(
        connection, "SELECT number, length, epoch, closed FROM sessions WHERE id = ?", session
    )
    if row is None:
        raise UnknownSessionError(session)
    return row


def _held(connection: sqlite3.Connection, session: str, epoch: int) -> tuple[int, int]:
    """The number of an open session that is at an epoch, and the length of its log."""
    number, length, current, closed = _known(connection, session)
    if closed:
        raise FencedError(f"the session {session!r} is closed")
    if current != epoch:
        raise FencedError(f"the session {session!r} is at the epoch {current}, not {epoch}: another node has it")
    return number, length


def _drop(connection: sqlite3.Connection, number: int, names: Sequence[str]) -> None:
    for name in names:
        connection.execute("DELETE FROM holds WHERE session = ? AND blob = ?", (number, name))
        if not _row(connection, "SELECT 1 FROM holds WHERE blob = ?", name):
            connection.execute("DELETE FROM blobs WHERE name = ?", (name,))


def _remove(connection: sqlite3.Connection, latest: float, most: int) -> bool:
    """Removes a part of the session that was closed first, if that was early enough; whether there was one."""
    query = "SELECT number, length FROM sessions WHERE closed = 1 AND ended <= ? ORDER BY ended LIMIT 1"
    if (found := _row(connection, query, latest)) is None:
        return False
    number, length = found
    held = "SELECT blob, length(data) FROM holds LEFT JOIN blobs ON name = blob WHERE session = ? LIMIT ?"
    size, names = 0, []
    for name, bytes_of_it in connection.execute(held, (number, max(1, most))):
        size += bytes_of_it or 0
        names.append(name)
        if size >= _REMOVED_AT_ONCE:
            break
    _drop(connection, number, names)
    if names:
        return True
    left = max(0, length - max(1, most))
    connection.execute("DELETE FROM events WHERE session = ? AND seq > ?", (number, left))
    connection.execute("UPDATE sessions SET length = ? WHERE number = ?", (left, number))
    if not left:
        connection.execute("DELETE FROM sessions WHERE number = ?", (number,))
    return True


def _record(row: Sequence[Any]) -> SessionRecord:
    name, tenant, environment, limits, created, owner, epoch, closed = row
    kept: Mapping[str, Any] = checks.decode(f"the record of the session {name!r}", limits)
    return SessionRecord(name, tenant, environment, kept, created, owner, epoch, bool(closed))
