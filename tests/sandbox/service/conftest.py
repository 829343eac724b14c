"""Fixtures of the tests of `workbook.sandbox.service`."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.sandbox.service.stores import KINDS, RedisServer, opened
from workbook.sandbox.service.store import Store


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Asynchronous tests run on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis for tests that leave it running; it is empty when a test begins."""
    with RedisServer() as server:
        yield server


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a new store of each kind is; see `stores.opened`."""
    if request.param == "sqlite":
        return str(tmp_path / "store.db")
    server: RedisServer = request.getfixturevalue("redis_server")
    with server.client() as client:
        client.flushall()
    return server.url


@pytest.fixture
async def store(place: str, anyio_backend: str) -> AsyncIterator[Store]:
    """A new store of each kind."""
    async with opened(place) as store:
        yield store
