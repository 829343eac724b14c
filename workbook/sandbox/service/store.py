"""What a service remembers: sessions with their logs and blobs, and the nodes that serve them.

`Store` is all that a server knows of it. `sqlite_store.SqliteStore` keeps it in a file, for the processes of one
machine; `redis_store.RedisStore` keeps it in Redis, for many machines.

A call that has returned is acknowledged: the death of any process that uses the store, at any moment, loses nothing of
it. A call that raised StoreError, or was cancelled, was carried out as a whole or not at all; the log tells which.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import time as now
from typing import Any, Protocol


class StoreError(Exception):
    """The store is out of reach, full or damaged. The message says what to do."""


class UnknownSessionError(Exception):
    """There is no session of this id."""

    def __init__(self, session: str) -> None:
        super().__init__(f"there is no session {session!r}")


class SessionExistsError(Exception):
    """There is a session of this id already."""

    def __init__(self, session: str) -> None:
        super().__init__(f"there is a session {session!r} already")


class FencedError(Exception):
    """The session is closed, or belongs to another epoch: whoever asked has lost it, and must let go of it."""


class QuotaError(Exception):
    """The tenant has as many open sessions as it may have."""


class RefusedError(ValueError):
    """What no store takes: it is too large, or no JSON, or names something that is not there."""


@dataclass(frozen=True)
class SessionRecord:
    """A session, apart from its log.

    Attributes:
        id: Its name, unique in the store.
        tenant: Who it belongs to.
        environment: What it runs in; see `environments.Environments.pinned`.
        limits: What it may use, as JSON.
        created: When it was made, in seconds since 1970.
        owner: The node that has it live; empty for none.
        epoch: Grows by one with each new owner, and when the session is closed. Who writes to the log says which epoch
            it believes in, and a former owner is refused.
        closed: Whether it is over. Its log can be read until the session is deleted.
    """

    id: str
    tenant: str
    environment: str
    limits: Mapping[str, Any] = field(default_factory=dict)
    created: float = field(default_factory=now)
    owner: str = ""
    epoch: int = 0
    closed: bool = False


@dataclass(frozen=True)
class NewEvent:
    """An event that is not in a log yet.

    Attributes:
        kind: What happened, in a word of the caller's choice.
        data: JSON, at most `checks.MAX_EVENT` bytes of it.
        blobs: Names of the blobs that it refers to.
        time: When, in seconds since 1970.
    """

    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)
    blobs: tuple[str, ...] = ()
    time: float = field(default_factory=now)


@dataclass(frozen=True)
class Event:
    """An event in the log of a session. See `NewEvent`.

    Attributes:
        seq: Its place: 1, 2, 3 and so on, without a gap.
    """

    seq: int
    time: float
    kind: str
    data: dict[str, Any]
    blobs: tuple[str, ...] = ()


@dataclass(frozen=True)
class NodeRecord:
    """A machine, or a process, that serves sessions.

    Attributes:
        id: Its name.
        url: Where others reach it.
        capacity: How many sessions it can have live.
        used: How many it has.
        draining: Whether it takes no new ones.
        seen: When its last heartbeat came, by the store's clock, in seconds since 1970. The store sets it.
    """

    id: str
    url: str
    capacity: int
    used: int = 0
    draining: bool = False
    seen: float = 0.0


class Store(Protocol):
    """Sessions, logs, blobs and nodes. For the tasks of one event loop, which no call blocks.

    Each method may raise StoreError, and RefusedError for a name that is empty, too long, or not printable text.
    """

    async def create(self, session: SessionRecord, quota: int | None = None) -> None:
        """Adds a session, with an empty log.

        Args:
            session: The session, with its first owner and epoch if it has them.
            quota: How many open sessions its tenant may have, with this one.

        Raises:
            SessionExistsError: There is a session of this id, open or closed.
            QuotaError: The tenant has `quota` open sessions already.
            RefusedError: The record is larger than an event may be, or it is closed.
        """

    async def session(self, session: str) -> SessionRecord:
        """Returns a session's record.

        Raises:
            UnknownSessionError: There is none.
        """

    async def sessions(
        self, tenant: str | None = None, owner: str | None = None, include_closed: bool = False
    ) -> list[SessionRecord]:
        """Returns the open sessions, or all, of one tenant or one owner where these are given, oldest first."""

    async def count(self, tenant: str | None = None) -> int:
        """Returns how many sessions are open, of one tenant or of all."""

    async def claim(self, session: str, owner: str, epoch: int) -> SessionRecord:
        """Makes a node the owner of a session that is still at an epoch. Of several who try, one succeeds.

        Args:
            session: The session.
            owner: The new owner; empty to give the session up.
            epoch: The epoch at which the caller has seen it.

        Returns:
            The new record. Its epoch is one more, and from now on nobody writes to the log with the old one.

        Raises:
            FencedError: The epoch is another one by now, or the session is closed.
            UnknownSessionError: There is no such session.
        """

    async def append(self, session: str, epoch: int, events: Sequence[NewEvent]) -> list[Event]:
        """Adds events at the end of a log, all or none of them, with nothing in between.

        Returns:
            The events as they are in the log.

        Raises:
            FencedError: The epoch is not the session's, or the session is closed. Nothing was added.
            RefusedError: An event is no JSON or too large, or refers to a blob that the session does not have.
            UnknownSessionError: There is no such session.
        """

    async def events(self, session: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """Returns the events of a log that follow the one with the number `after`, the first `limit` of them.

        Raises:
            UnknownSessionError: There is no such session.
        """

    async def last(self, session: str, kind: str) -> Event | None:
        """Returns the last event of a kind.

        Raises:
            UnknownSessionError: There is no such session.
        """

    async def put_blob(self, session: str, data: bytes) -> str:
        """Keeps a blob until the session drops it or is deleted. What is there already is not kept twice.

        Args:
            session: The session whose events will refer to it.
            data: At most `checks.MAX_BLOB` bytes.

        Returns:
            Its name: the SHA-256 of the data, in hexadecimal digits.

        Raises:
            RefusedError: It is too large.
            UnknownSessionError: There is no such session.
        """

    async def get_blob(self, name: str) -> bytes | None:
        """Returns a blob, or None where there is none of this name.

        Raises:
            StoreError: What is kept under this name has another SHA-256: it is damaged.
        """

    async def drop_blobs(self, session: str, epoch: int, names: Sequence[str]) -> None:
        """Forgets blobs that a session needs no more, as those of a checkpoint before the last. Others may need them.

        Raises:
            FencedError: The epoch is not the session's, or the session is closed. Nothing was dropped.
            UnknownSessionError: There is no such session.
        """

    async def close_session(self, session: str, epoch: int | None = None) -> None:
        """Ends a session: it has no owner any more, and its log takes no more events. A second call does nothing.

        Args:
            session: The session.
            epoch: Only while it is at this epoch; for owners, who may have lost it.

        Raises:
            FencedError: It is open, at another epoch than the one given.
            UnknownSessionError: There is no such session.
        """

    async def delete_session(self, session: str) -> None:
        """Forgets a session, its log, and the blobs that no other session has.

        Raises:
            UnknownSessionError: There is no such session.
        """

    async def remove_closed(self, age: float, most: int = 1000) -> bool:
        """Forgets, as `delete_session` does, a part of what was closed long ago: as much as holds nobody up.

        Of a session that is large, a call removes some of the blobs, or the end of the log.

        Args:
            age: Seconds since a session was closed, by the store's clock.
            most: How many blobs and events it removes, at most.

        Returns:
            Whether there was something to remove, and may be more.
        """

    async def heartbeat(self, node: NodeRecord) -> None:
        """Says that a node is alive, and what it has to say of itself."""

    async def nodes(self, alive_within: float) -> list[NodeRecord]:
        """Returns the nodes whose last heartbeat is at most so many seconds old, in the order of their ids."""

    async def remove_node(self, node: str) -> None:
        """Forgets a node, if it is there. Its sessions stay as they are."""

    async def close(self) -> None:
        """Finishes what is under way and lets go of the store. A second call does nothing."""
