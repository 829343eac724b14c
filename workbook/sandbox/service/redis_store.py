"""A store in Redis, for many machines."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

from workbook.sandbox.service import checks, redis_scripts
from workbook.sandbox.service.redis_connection import RedisConnection
from workbook.sandbox.service.redis_scripts import Script
from workbook.sandbox.service.store import (
    Event,
    FencedError,
    NewEvent,
    NodeRecord,
    QuotaError,
    RefusedError,
    SessionExistsError,
    SessionRecord,
    StoreError,
    UnknownSessionError,
)

_PATIENCE = 15.0  # seconds in which a lost connection may come back
_EVENTS_AT_ONCE = 100
_RECORDS_AT_ONCE = 500


class RedisStore:
    """A `Store` in one Redis (not a cluster), which may have replicas.

    What is acknowledged is as durable as Redis has been told to make it:

    - `appendonly yes` and `appendfsync always`: nothing is lost when Redis is killed or the power fails.
    - `appendonly yes` and `appendfsync everysec`: up to two seconds may be lost when the power fails or, where its disk
      is slow, when Redis is killed.
    - `appendonly no`: everything since the last snapshot is lost; `open` refuses that.

    Logs and blobs are kept in memory, so `maxmemory-policy` must be `noeviction` (or one of `volatile-…`): `open`
    refuses those that throw away any key. A replica that takes over may lack what was acknowledged last.

    A connection that is lost is made anew for some 15 s, and what was under way is asked again; nothing is done twice.
    """

    def __init__(self, connection: RedisConnection, prefix: str) -> None:
        """Takes over what `open` has made."""
        self._connection, self._prefix = connection, prefix
        self._ask, self._redis = connection.ask, connection.redis

    @classmethod
    async def open(
        cls, url: str, *, prefix: str = "sandbox:", durable: bool = True, patience: float = _PATIENCE
    ) -> Self:
        """Connects to Redis.

        Args:
            url: As in `redis://:password@host:6379/0`, `rediss://…` or `unix:///run/redis.sock`.
            prefix: What the names of all keys begin with; stores with different ones share nothing.
            durable: Whether to refuse a Redis that forgets when it ends, or throws keys away when memory is short.
            patience: Seconds in which a connection that is lost may come back.

        Raises:
            StoreError: It cannot be reached, or is refused.
        """
        connection = RedisConnection(url, patience)
        try:
            about = await connection.ask(connection.redis.info)
            if durable and not about.get("aof_enabled"):
                raise StoreError("this Redis forgets when it ends: set `appendonly yes`, and `appendfsync always`")
            if durable and str(about.get("maxmemory_policy", "")).startswith("allkeys"):
                raise StoreError("this Redis throws keys away when memory is short: set `maxmemory-policy noeviction`")
        except BaseException:
            await connection.close()
            raise
        return cls(connection, prefix)

    async def create(self, session: SessionRecord, quota: int | None = None) -> None:
        """See `Store`."""
        limits = checks.check_session(session)
        record = json.dumps([session.id, session.tenant, session.environment, limits, session.created])
        allowed = "" if quota is None else quota
        await self._change(
            redis_scripts.CREATE, session.id, allowed, session.tenant, session.owner, session.epoch, record
        )

    async def session(self, session: str) -> SessionRecord:
        """See `Store`."""
        found = await self._records([checks.check_name("a session", session)])
        if not found:
            raise UnknownSessionError(session)
        return found[0]

    async def sessions(
        self, tenant: str | None = None, owner: str | None = None, include_closed: bool = False
    ) -> list[SessionRecord]:
        """See `Store`."""
        if owner:  # closed ones have none
            key = self._key("owner", owner)
        else:
            key = self._prefix + "open" if tenant is None or include_closed else self._key("tenant", tenant)
        found_names = set(await self._ask(lambda: self._redis.smembers(key)))
        if include_closed and not owner:  # after the open ones, so that none is missed that ends meanwhile
            found_names |= set(await self._ask(lambda: self._redis.zrange(self._prefix + "ended", 0, -1)))
        names = [name.decode() for name in found_names]
        found = [
            record
            for start in range(0, len(names), _RECORDS_AT_ONCE)
            for record in await self._records(names[start : start + _RECORDS_AT_ONCE])
            # A record may have changed since its name was read.
            if tenant in (None, record.tenant) and owner in (None, record.owner) and include_closed >= record.closed
        ]
        return sorted(found, key=lambda record: (record.created, record.id))

    async def count(self, tenant: str | None = None) -> int:
        """See `Store`."""
        key = self._prefix + "open" if tenant is None else self._key("tenant", tenant)
        return int(await self._ask(lambda: self._redis.scard(key)))

    async def claim(self, session: str, owner: str, epoch: int) -> SessionRecord:
        """See `Store`."""
        checks.check_name("an owner", owner, empty=True)
        await self._change(redis_scripts.CLAIM, session, epoch, owner)
        return replace(await self.session(session), owner=owner, epoch=epoch + 1, closed=False)

    async def append(self, session: str, epoch: int, events: Sequence[NewEvent]) -> list[Event]:
        """See `Store`."""
        texts = checks.encode_events(events)
        names = {name for event in events for name in event.blobs}
        fields = [
            field
            for event, text in zip(events, texts, strict=True)
            for field in (event.kind, repr(float(event.time)), text, " ".join(event.blobs))
        ]
        first = await self._change(redis_scripts.APPEND, session, epoch, len(names), *names, *fields)
        return checks.as_kept(events, texts, first)

    async def events(self, session: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """See `Store`."""
        checks.check_name("a session", session)
        length = await self._ask(lambda: self._redis.hget(self._key("session", session), "length"))
        if length is None:
            raise UnknownSessionError(session)
        first = max(after, 0) + 1
        end = int(length) + 1 if limit is None else min(int(length) + 1, first + max(limit, 0))
        found: list[Event] = []
        for start in range(first, end, _EVENTS_AT_ONCE):
            found += await self._events(session, start, min(start + _EVENTS_AT_ONCE, end))
        return found

    async def last(self, session: str, kind: str) -> Event | None:
        """See `Store`."""
        checks.check_name("a session", session)
        checks.check_name("a kind of events", kind)
        seq = await self._ask(lambda: self._redis.hget(self._key("last", session), kind))
        if seq is None:
            await self.session(session)
            return None
        return (await self._events(session, int(seq), int(seq) + 1))[0]

    async def put_blob(self, session: str, data: bytes) -> str:
        """See `Store`."""
        name = await asyncio.to_thread(checks.blob_name, data)
        if await self._change(redis_scripts.PUT, session, name) < 0:  # it is not there yet
            await self._change(redis_scripts.PUT, session, name, data)
        return name

    async def get_blob(self, name: str) -> bytes | None:
        """See `Store`."""
        key = self._key("blob", checks.check_blob_name(name))
        data = await self._ask(lambda: self._redis.get(key))
        return None if data is None else await asyncio.to_thread(checks.check_blob, name, data)

    async def drop_blobs(self, session: str, epoch: int, names: Sequence[str]) -> None:
        """See `Store`."""
        await self._change(redis_scripts.DROP, session, epoch, *(checks.check_blob_name(name) for name in names))

    async def close_session(self, session: str, epoch: int | None = None) -> None:
        """See `Store`."""
        await self._change(redis_scripts.CLOSE, session, "" if epoch is None else epoch)

    async def delete_session(self, session: str) -> None:
        """See `Store`."""
        await self._change(redis_scripts.DELETE, session)

    async def remove_closed(self, age: float, most: int = 1000) -> bool:
        """See `Store`."""
        arguments = repr(checks.check_time(age)), max(1, most)
        _, more = await self._connection.run(redis_scripts.REMOVE, self._prefix, *arguments)
        return more == b"1"

    async def heartbeat(self, node: NodeRecord) -> None:
        """See `Store`."""
        checks.check_node(node)
        record = json.dumps([node.url, node.capacity, node.used, node.draining])
        await self._change(redis_scripts.HEARTBEAT, node.id, record)

    async def nodes(self, alive_within: float) -> list[NodeRecord]:
        """See `Store`."""
        seconds, microseconds = await self._ask(self._redis.time)
        found = []
        for name, value in (await self._ask(lambda: self._redis.hgetall(self._prefix + "nodes"))).items():
            seen, _, record = value.partition(b" ")
            if float(seen) >= seconds + microseconds / 1e6 - alive_within:
                url, capacity, used, draining = checks.decode("the record of a node", record)
                found.append(NodeRecord(name.decode(), url, capacity, used, draining, float(seen)))
        return sorted(found, key=lambda node: node.id)

    async def remove_node(self, node: str) -> None:
        """See `Store`."""
        checks.check_name("a node", node)
        await self._ask(lambda: self._redis.hdel(self._prefix + "nodes", node))

    async def close(self) -> None:
        """See `Store`."""
        await self._connection.close()

    def _key(self, kind: str, name: str) -> str:
        return f"{self._prefix}{kind}:{name}"

    async def _change(self, script: Script, session: str, *arguments: str | bytes | int) -> int:
        """Runs a script on a session; the number that it answers, or -1 where it asks for a blob's data."""
        checks.check_name("a session", session)
        reason, *rest = await self._connection.run(script, self._prefix, session, *arguments)
        detail = rest[0].decode() if rest else ""
        if reason == b"ok":
            return int(detail)
        if reason == b"absent":
            return -1
        raise {
            b"unknown": UnknownSessionError(session),
            b"exists": SessionExistsError(session),
            b"closed": FencedError(f"the session {session!r} is closed"),
            b"epoch": FencedError(f"the session {session!r} is at the epoch {detail}: another node has it"),
            b"quota": QuotaError(f"the tenant has {detail} open sessions, and may not have more"),
            b"blob": RefusedError(f"the session {session!r} has no blob {detail}"),
        }[reason]

    async def _records(self, names: Sequence[str]) -> list[SessionRecord]:
        """The records of those sessions that are there."""

        async def ask() -> list[Any]:
            pipe = self._redis.pipeline(transaction=False)
            for name in names:
                pipe.hmget(self._key("session", name), ["record", "owner", "epoch", "closed"])
            return await pipe.execute()

        found = []
        for record, owner, epoch, closed in await self._ask(ask):
            if record is not None:
                name, tenant, environment, limits, created = checks.decode("the record of a session", record)
                state = owner.decode(), int(epoch), closed == b"1"
                found.append(SessionRecord(name, tenant, environment, json.loads(limits), created, *state))
        return found

    async def _events(self, session: str, first: int, end: int) -> list[Event]:
        """Events that were in the log a moment ago."""
        key = self._key("log", session)
        found = await self._ask(lambda: self._redis.xrange(key, f"{first}-0", f"{end - 1}-0"))
        if len(found) < end - first:
            raise UnknownSessionError(session)  # it was deleted meanwhile
        return await asyncio.to_thread(_read_events, session, first, found)  # reading much JSON takes long


def _read_events(session: str, first: int, found: list[tuple[bytes, dict[bytes, bytes]]]) -> list[Event]:
    return [
        Event(
            seq,
            float(fields[b"time"]),
            fields[b"kind"].decode(),
            checks.decode(f"an event of the session {session!r}", fields[b"data"]),
            tuple(fields[b"blobs"].decode().split()),
        )
        for seq, (_, fields) in enumerate(found, first)
    ]
