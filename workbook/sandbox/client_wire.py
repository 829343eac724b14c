"""How a client of the sandbox's service asks: with patience where that helps, and believing nothing that comes back.

Whatever answers has no way to hold a client beyond its time, or to fill its memory: bodies are bounded in size and in
time, nothing is decompressed, no redirect is followed, and the token goes to the one address that was given.
"""

import asyncio
import json
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote, urlencode

import httpx

from workbook.sandbox.client_errors import BadAnswer, ConnectionLost, Invalid, SandboxError, error_of

MOST_JSON = 32 << 20
"""Bytes of an answer that is JSON, or of an event of a stream."""

MOST_FILE = 256 << 20
"""Bytes of a file that is read."""

_MOST_PARTS = 4_000_000  # lists and objects in JSON: an empty one is two bytes there and sixty here
_MOST_WAIT = 30.0  # seconds for which a server's `Retry-After` is waited
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 3.0  # seconds
_CONNECT = 5.0  # seconds in which there must be a connection
_ANSWER_TIME = 60.0  # seconds in which an answer must have come, where nothing else is said
_SILENCE = 35.0  # seconds without a byte after which a stream counts as dead: its heartbeats come every ten
_T = TypeVar("_T")
_PASSING = frozenset({429, 502, 503, 504})


@dataclass(frozen=True)
class Request:
    """What is asked.

    Attributes:
        method: Of HTTP.
        path: Below the service's address, with everything in it quoted.
        params: The query.
        body: JSON, or bytes of a file.
        key: With which it is done once, however often it is sent.
        again: Whether it may be sent again when nobody knows whether it was done.
        seconds: In which the answer must have come.
    """

    method: str
    path: str
    params: Mapping[str, str] | None = None
    body: Any = None
    key: str = ""
    again: bool = True
    seconds: float = _ANSWER_TIME


class Wire:
    """Asks a service. For one event loop."""

    def __init__(
        self, url: str, token: str, *, patience: float = 60.0, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """Prepares it; nothing is sent yet.

        Args:
            url: Of the service.
            token: Who asks.
            patience: Seconds for which it asks again where the service is away or full.
            transport: For tests.
        """
        address = httpx.URL(url)
        if address.scheme not in ("http", "https") or not address.host or address.userinfo:
            raise ValueError(f"{url!r} is no address of a service: write http://HOST:PORT")
        if not token or not token.isascii() or not token.isprintable():
            raise ValueError("a token is printable ASCII text")
        self._base = str(address.copy_with(query=None, fragment=None)).rstrip("/")
        self._patience = patience
        self._headers = [
            (b"Host", address.netloc),
            (b"Authorization", f"Bearer {token}".encode()),
            (b"User-Agent", b"inference-workbook"),
            (b"Accept-Encoding", b"identity"),
        ]
        # Not httpx's client: all that it adds is what is not wanted here, as cookies, and it takes its time for that.
        self._transport = transport or httpx.AsyncHTTPTransport(
            trust_env=False,
            limits=httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=30.0),
        )
        self._closed = False

    async def close(self) -> None:
        """Ends its connections."""
        self._closed = True
        await self._transport.aclose()

    async def json(self, request: Request) -> dict[str, Any]:
        """Returns an answer that is a JSON object; an empty one where the answer has no body.

        Raises:
            SandboxError: See `client_errors`.
        """
        data = await self.bytes(request, MOST_JSON)
        return _object(data) if data else {}

    async def bytes(self, request: Request, most: int = MOST_FILE) -> bytes:
        """Returns the body of an answer.

        Raises:
            SandboxError: See `client_errors`.
        """

        async def read(response: httpx.Response) -> bytes:
            return await _read(response, most)

        return await self._patiently(request, read, "application/json")

    async def stream(self, request: Request, on_event: Callable[[str, str, dict[str, Any]], bool]) -> None:
        """Follows a stream of events, until one is the last.

        Args:
            request: What is asked; it is sent again where the stream breaks off.
            on_event: Takes an event's id, kind and data; returns whether it is the last.

        Raises:
            SandboxError: See `client_errors`.
        """

        async def read(response: httpx.Response) -> None:
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                raise BadAnswer("the service was asked for a stream, and has sent something else")
            async for number, kind, data in _events(response):
                if on_event(number, kind, data):
                    return
            raise httpx.RemoteProtocolError("the stream ended in the middle")

        await self._patiently(request, read, "text/event-stream", silence=_SILENCE)

    @staticmethod
    def refuse(document: dict[str, Any]) -> NoReturn:
        """Raises what a problem in the middle of a stream stands for; what passes is asked for again."""
        status = document.get("status")
        failure = error_of(status if isinstance(status, int) else 500, document)
        if failure.status in _PASSING:
            raise _AgainLater(failure, 0.0)
        raise failure

    async def _patiently(
        self,
        request: Request,
        read: Callable[[httpx.Response], Awaitable[_T]],
        accept: str,
        silence: float | None = None,
    ) -> _T:
        """Asks, and asks again where the service is away or full and that may change."""
        give_up: float | None = None
        attempt = 0
        failure: SandboxError
        while True:
            if self._closed:
                raise ConnectionLost("the client is closed")
            attempt += 1
            try:
                async with asyncio.timeout(request.seconds):
                    return await self._once(request, read, accept, silence)
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
                failure, asked = _lost(error), 0.0
            except (httpx.LocalProtocolError, httpx.InvalidURL) as error:
                raise Invalid(f"it cannot be asked for in HTTP: {str(error)[:500]}") from error
            except (httpx.TransportError, TimeoutError) as error:
                failure, asked = _lost(error), 0.0
                if not request.again:
                    raise failure from error
            except httpx.HTTPError as error:
                raise BadAnswer(f"what answered speaks no HTTP that is understood: {error}") from error
            except _AgainLater as error:
                failure, asked = error.failure, error.seconds
            # Patience is for how long the service is away, and not for how long it took before.
            now = time.monotonic()
            give_up = now + self._patience if give_up is None else give_up
            pause = random.random() * min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(attempt, 10))
            if asked > _MOST_WAIT or now + asked + pause > give_up:
                raise failure
            await asyncio.sleep(asked + pause)

    async def _once(
        self, request: Request, read: Callable[[httpx.Response], Awaitable[_T]], accept: str, silence: float | None
    ) -> _T:
        asked = _packed(request, self._base, [*self._headers, (b"Accept", accept.encode())], silence)
        response = await self._transport.handle_async_request(asked)
        try:
            if response.headers.get("content-encoding", "identity") != "identity":
                raise BadAnswer("the service has sent something compressed, which it was not asked for")
            if response.status_code // 100 == 2:
                return await read(response)
            if response.status_code // 100 < 4:
                raise BadAnswer(f"the service answers with status {response.status_code}, and is not followed")
            raise await _failure(response)
        finally:
            await response.aclose()


def _packed(request: Request, base: str, headers: list[tuple[bytes, bytes]], silence: float | None) -> httpx.Request:
    """Returns a request as a transport takes it.

    Args:
        request: What is asked.
        base: The service's address.
        headers: Those that each request has.
        silence: Seconds that nothing may come; as long as all of it may take, where nothing is said.
    """
    content = request.body
    if content is None:
        content = b""
    elif not isinstance(content, bytes):
        content = json.dumps(content).encode()
        headers.append((b"Content-Type", b"application/json"))
    if content or request.method in ("POST", "PUT"):
        headers.append((b"Content-Length", b"%d" % len(content)))
    if request.key:
        headers.append((b"Idempotency-Key", request.key.encode()))
    query = "?" + urlencode(request.params, errors="replace") if request.params else ""
    times = {"connect": _CONNECT, "pool": request.seconds, "read": silence, "write": silence}
    stream = httpx.ByteStream(content)
    address = _address(base + request.path + query)
    return httpx.Request(request.method, address, headers=headers, stream=stream, extensions={"timeout": times})


_address = lru_cache(256)(httpx.URL)
"""Takes an address apart; most requests of a session go to one."""


def new_key() -> str:
    """Returns a key that nobody has used."""
    return secrets.token_hex(16)


def quoted(path: str) -> str:
    """Returns a path as it stands in a URL."""
    return quote(path.encode("utf-8", "replace"), safe="/")


class _AgainLater(Exception):  # noqa: N818 - it is no error yet
    """The service cannot do it now."""

    def __init__(self, failure: SandboxError, seconds: float) -> None:
        super().__init__(str(failure))
        self.failure, self.seconds = failure, seconds


async def _failure(response: httpx.Response) -> Exception:
    status = response.status_code
    try:
        document = _object(await _read(response, 1 << 20))
    except BadAnswer:
        document = {}
    failure = error_of(status, document)
    if status not in _PASSING or failure.kind.startswith("fetch-"):
        return failure
    value = response.headers.get("retry-after", "")
    seconds = float(value[:10]) if value.isascii() and value.isdecimal() else 0.0
    return _AgainLater(failure, seconds)


def _lost(error: BaseException) -> ConnectionLost:
    what = str(error) or type(error).__name__
    return ConnectionLost(f"the service does not answer, or has hung up: {what[:500]}")


async def _read(response: httpx.Response, most: int) -> bytes:
    parts, size = [], 0
    async for part in response.aiter_raw():
        size += len(part)
        if size > most:
            raise BadAnswer(f"the service has sent more than {most:,} bytes")
        parts.append(part)
    return b"".join(parts)


def _object(data: bytes) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        BadAnswer: It is none, or one that takes too much memory.
    """
    if data.count(b"[") + data.count(b"{") > _MOST_PARTS:
        raise BadAnswer("the service has sent JSON of too many parts")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"the service has sent what is no JSON: {str(error)[:200]}") from None
    if not isinstance(value, dict):
        raise BadAnswer("the service has sent JSON that is no object")
    return value


async def _events(response: httpx.Response) -> AsyncIterator[tuple[str, str, dict[str, Any]]]:
    """Reads server-sent events: the id, kind and data of each."""
    held = bytearray()
    seen = 0
    async for part in response.aiter_raw():
        held += part
        while (end := held.find(b"\n\n", max(0, seen - 1))) >= 0:
            lines = bytes(held[:end]).split(b"\n")
            del held[: end + 2]
            seen = 0
            fields: dict[bytes, bytes] = {}
            for line in lines:
                name, _, value = line.partition(b": ")
                if name:  # and no comment
                    fields[name] = value
            if b"data" in fields:
                kind, number = fields.get(b"event", b""), fields.get(b"id", b"")
                yield number.decode(errors="replace"), kind.decode(errors="replace"), _object(fields[b"data"])
        seen = len(held)
        if seen > MOST_JSON:
            raise BadAnswer(f"the service has sent an event of more than {MOST_JSON:,} bytes")
