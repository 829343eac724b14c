"""A simulated network: names, servers and time, for `http_fetch`."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from workbook.sandbox.service.fetch import EgressPolicy, Fetched, World, http_fetch

PUBLIC = "93.184.216.34"
START = datetime(2026, 1, 1, tzinfo=UTC)

Answer = httpx.Response | Exception


@dataclass
class Network:
    """Its clock moves only when somebody sleeps, or a server takes its time.

    Attributes:
        serve: Answers a request.
        names: What each look-up of a name gives, in turn; the last one again and again. Unknown names are public.
        chance: What `random` gives, in turn.
    """

    serve: Callable[[httpx.Request], Answer]
    names: dict[str, list[list[str]]] = field(default_factory=dict)
    chance: Iterator[float] = field(default_factory=lambda: iter([]))
    seconds: float = 1000.0
    slept: list[float] = field(default_factory=list)
    looked_up: list[str] = field(default_factory=list)
    requests: list[httpx.Request] = field(default_factory=list)

    @property
    def connected(self) -> list[str]:
        """The addresses that were asked for a connection."""
        return [request.url.host for request in self.requests]

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        assert port > 0
        self.looked_up.append(host)
        answers = self.names.get(host, [[PUBLIC]])
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return found

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds

    def fetch(self, url: str, allow: Sequence[str] = ("*.test", "*.test:8080"), **options: Any) -> Fetched:
        policy = options.pop("policy", None) or EgressPolicy(allow=tuple(allow))
        return asyncio.run(http_fetch(url, policy=policy, world=self.world, **options))

    @property
    def world(self) -> World:
        return World(
            resolve=self.resolve,
            transport=lambda: _Transport(self),
            clock=lambda: self.seconds,
            now=lambda: START + timedelta(seconds=self.seconds - 1000),
            sleep=self.sleep,
            random=lambda: next(self.chance),
        )


class _Transport(httpx.AsyncBaseTransport):
    def __init__(self, network: Network) -> None:
        self._network = network

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._network.requests.append(request)
        answer = self._network.serve(request)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Body(httpx.AsyncByteStream):
    """A body that comes in pieces, each after some seconds of the network's time."""

    def __init__(self, *pieces: bytes, network: Network | None = None, seconds: float = 0) -> None:
        self._pieces, self._network, self._seconds = pieces, network, seconds
        self.read = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            if self._network is not None:
                self._network.seconds += self._seconds
            self.read += 1
            yield piece


def response(status: int = 200, body: bytes | Body = b"", **headers: str) -> httpx.Response:
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return httpx.Response(status, headers=named, stream=body if isinstance(body, Body) else Body(body))


def in_turn(*answers: Answer) -> Callable[[httpx.Request], Answer]:
    left = list(answers)
    return lambda request: left.pop(0)
