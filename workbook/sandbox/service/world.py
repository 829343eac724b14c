"""What a fetch touches outside itself: names, connections, time and chance. A simulation gives its own."""

import asyncio
import functools
import random
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx


async def resolve(host: str, port: int) -> list[str]:
    """Looks a name up, as this machine does."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@functools.cache
def _certificates() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def direct(context: ssl.SSLContext | None = None) -> Callable[[], httpx.AsyncBaseTransport]:
    """Makes connections without any proxy, whatever the environment says.

    Args:
        context: Which certificates are trusted; by default certifi's, or what `SSL_CERT_FILE` names.
    """
    return lambda: httpx.AsyncHTTPTransport(verify=context or _certificates(), trust_env=False)


@dataclass(frozen=True)
class World:
    """All that a fetch touches outside itself; a simulation gives its own.

    Attributes:
        resolve: Gives a name's addresses; raises OSError where it cannot.
        transport: Makes what sends one request. The request's URL has a vetted address where a host would be; the name
            is in its `Host` header and its extension `sni_hostname`, the seconds it may take in its extension
            `timeout`.
        clock: Seconds, from any beginning.
        now: The date, for a `Retry-After` that names one.
        sleep: Waits some seconds.
        random: A number from 0 up to 1, for jitter.
    """

    resolve: Callable[[str, int], Awaitable[Sequence[str]]] = resolve
    transport: Callable[[], httpx.AsyncBaseTransport] = field(default_factory=direct)
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random


class Deadline:
    """The one point in time at which everything ends."""

    def __init__(self, clock: Callable[[], float], seconds: float) -> None:
        self._clock, self._end = clock, clock() + seconds

    def left(self) -> float:
        """Seconds until then.

        Raises:
            TimeoutError: It has passed.
        """
        if (left := self._end - self._clock()) <= 0:
            raise TimeoutError
        return left
