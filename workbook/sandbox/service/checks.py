"""What a store takes: names, JSON and blobs that every store can keep, and reads back as they were written."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from workbook.sandbox.service.store import Event, NewEvent, NodeRecord, RefusedError, SessionRecord, StoreError

MIB = 1 << 20
MAX_NAME = 256  # bytes
MAX_EVENT = MIB  # bytes of JSON
MAX_APPEND = 8 * MIB  # bytes of JSON of all events of one append
MAX_BLOB = 64 * MIB
MAX_DEPTH = 100  # far from what the stack of whoever reads it bears
MAX_BLOBS = 1000  # of one event
MAX_NUMBER = 1 << 53  # what Lua and JSON readers keep exactly


def check_name(what: str, name: str, *, empty: bool = False) -> str:
    """Returns a name that is printable text of sensible length.

    Args:
        what: What it names, for the message.
        name: The name.
        empty: Whether it may be empty.

    Raises:
        RefusedError: It is not.
    """
    if not (name or empty):
        raise RefusedError(f"the name of {what} is empty")
    if len(name) > MAX_NAME or len(name.encode("utf-8", "replace")) > MAX_NAME:
        raise RefusedError(f"the name of {what} is longer than {MAX_NAME} bytes: {name[:32]!r}…")
    if not name.isprintable():
        raise RefusedError(f"the name of {what} has characters that cannot be printed: {name!r}")
    return name


def check_number(what: str, number: int) -> int:
    """Returns a number from 0 up; raises RefusedError for any other."""
    if not 0 <= number < MAX_NUMBER:
        raise RefusedError(f"{what} must be at least 0 and below 2^53, not {number}")
    return number


def check_time(time: float) -> float:
    """Returns a time of day; raises RefusedError for infinity and what is no number."""
    if not abs(time) < MAX_NUMBER:  # NaN neither
        raise RefusedError(f"a time must be seconds since 1970, not {time}")
    return float(time)


def encode(what: str, data: Mapping[str, Any], most: int = MAX_EVENT) -> str:
    """Returns data as JSON.

    Args:
        what: What it is, for the message.
        data: The data: what comes back from JSON as it was.
        most: How many bytes of JSON it may be.

    Raises:
        RefusedError: It is no JSON, nested too deep, or too large.
    """
    try:
        text = json.dumps(dict(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise RefusedError(f"{what} has half of a surrogate pair, which is no character") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise RefusedError(f"{what} is no JSON: {error}") from error
    if size > most:
        raise RefusedError(f"{what} is {size} bytes of JSON, and at most {most} are kept: put the large part in a blob")
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(data) > MAX_DEPTH:
        raise RefusedError(f"{what} is nested more than {MAX_DEPTH} deep")
    return text


def _depth(data: Mapping[str, Any]) -> int:
    deepest = 0
    level: list[Iterable[Any]] = [data.values()]
    while level:
        deepest += 1
        inner = [child for container in level for child in container if isinstance(child, dict | list | tuple)]
        level = [child.values() if isinstance(child, dict) else child for child in inner]
    return deepest


def decode(what: str, text: str | bytes) -> Any:
    """Reads JSON that a store has kept.

    Raises:
        StoreError: It is none.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise StoreError(f"{what} is damaged: {error}. Restore the store from a copy, or delete the session") from error


def encode_events(events: Sequence[NewEvent]) -> list[str]:
    """Returns the data of events as JSON, after a look at all that they are.

    Raises:
        RefusedError: An event is none that a store keeps, or they are too much together.
    """
    texts, left = [], MAX_APPEND
    for event in events:
        check_name("a kind of events", event.kind)
        check_time(event.time)
        if len(event.blobs) > MAX_BLOBS:
            raise RefusedError(f"an event refers to more than {MAX_BLOBS} blobs")
        for name in event.blobs:
            check_blob_name(name)
        texts.append(encode(f"an event {event.kind!r}", event.data))
        left -= len(texts[-1])
        if left < 0:
            raise RefusedError(f"the events of one append are more than {MAX_APPEND} characters of JSON together")
    return texts


def as_kept(events: Sequence[NewEvent], texts: Sequence[str], first: int) -> list[Event]:
    """Returns events as they are read from a log.

    Args:
        events: The events.
        texts: Their data, as `encode_events` has returned it.
        first: The place of the first one.
    """
    return [
        Event(seq, event.time, event.kind, json.loads(text), tuple(event.blobs))
        for seq, (event, text) in enumerate(zip(events, texts, strict=True), first)
    ]


def check_session(session: SessionRecord) -> str:
    """Returns the limits of a new session as JSON, after a look at the rest.

    Raises:
        RefusedError: It is none that a store keeps, or closed.
    """
    check_name("a session", session.id)
    check_name("a tenant", session.tenant)
    check_name("an environment", session.environment)
    check_name("an owner", session.owner, empty=True)
    check_number("an epoch", session.epoch)
    check_time(session.created)
    if session.closed:
        raise RefusedError("a new session is open")
    return encode("the limits of a session", session.limits)


def check_node(node: NodeRecord) -> None:
    """Raises RefusedError for a node that no store keeps."""
    check_name("a node", node.id)
    check_name("the URL of a node", node.url, empty=True)
    check_number("the capacity of a node", node.capacity)
    check_number("the sessions of a node", node.used)


def blob_name(data: bytes) -> str:
    """Returns the name of a blob.

    Raises:
        RefusedError: It is too large.
    """
    if len(data) > MAX_BLOB:
        raise RefusedError(f"a blob is {len(data)} bytes, and at most {MAX_BLOB} are kept")
    return hashlib.sha256(data).hexdigest()


def check_blob_name(name: str) -> str:
    """Returns what can be the name of a blob; raises RefusedError for anything else."""
    if len(name) != 64 or not set(name) <= set("0123456789abcdef"):
        raise RefusedError(f"no name of a blob: {name[:80]!r}; it is 64 hexadecimal digits, in lower case")
    return name


def check_blob(name: str, data: bytes) -> bytes:
    """Returns a blob that has the name under which a store has kept it.

    Raises:
        StoreError: It has not.
    """
    if hashlib.sha256(data).hexdigest() != name:
        raise StoreError(f"the blob {name} is damaged: restore the store from a copy")
    return data
