"""What tests of stores share: a Redis of their own, and a store of either kind."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from tests.system import need
from workbook.sandbox.service.redis_store import RedisStore
from workbook.sandbox.service.sqlite_store import SqliteStore
from workbook.sandbox.service.store import NewEvent, SessionRecord, Store

ROOT = Path(__file__).parents[3]
KINDS = ["sqlite", "redis"]


class RedisServer:
    """A Redis on a Unix socket that forgets nothing; a context manager.

    Attributes:
        url: Where it is.
    """

    def __init__(self, *options: str) -> None:
        self._program = need("redis-server", "redis-server")
        self._folder = Path(tempfile.mkdtemp(prefix="redis"))  # a socket's path is short, a test's folder is not
        self._options = options
        self.url = f"unix://{self._folder}/socket"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        settings = ["--port", "0", "--unixsocket", f"{self._folder}/socket", "--dir", str(self._folder), "--save", ""]
        settings += ["--appendonly", "yes", "--appendfsync", "always", *self._options]
        self._process = subprocess.Popen([self._program, *settings], stdout=subprocess.DEVNULL)
        with self.client() as client:
            for _ in range(500):
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    time.sleep(0.02)
        raise TimeoutError("Redis does not answer")

    def kill(self) -> None:
        """Ends it as nothing expects it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def client(self) -> redis.Redis:
        """A client that sees what no store shows."""
        return redis.Redis.from_url(self.url)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()
        shutil.rmtree(self._folder)


async def open_store(place: str) -> Store:
    """A store that is already there, or a new one. See `opened`."""
    if place.startswith("unix:"):
        return await RedisStore.open(place)
    return await SqliteStore.open(Path(place))


@asynccontextmanager
async def opened(place: str) -> AsyncIterator[Store]:
    """A store, and its end.

    Args:
        place: The URL of a Redis, or else the file of an SQLite store.
    """
    store = await open_store(place)
    try:
        yield store
    finally:
        await store.close()


def a_session(name: str = "a", **fields: Any) -> SessionRecord:
    """A new session that a node has."""
    usual: dict[str, Any] = {"tenant": "tenant", "environment": "python", "owner": "one", "epoch": 1}
    return SessionRecord(name, **usual | fields)


def an_event(number: int = 0, **data: Any) -> NewEvent:
    return NewEvent("cell", {"number": number, **data})


def numbers(events: Sequence[Any]) -> list[int]:
    return [event.data["number"] for event in events]


def in_another_process(code: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Starts a process that runs asynchronous code with `store` at hand, and `arguments` after the store's place."""
    body = "\n".join(f"        {line}" for line in code.strip().splitlines())
    program = f"""
import asyncio, json, sys
from tests.sandbox.service.stores import *
from workbook.sandbox.service.store import *

async def main():
    place, *arguments = sys.argv[1:]
    async with opened(place) as store:
{body}

asyncio.run(main())
"""
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, **options)


def printed(process: subprocess.Popen[str]) -> Any:
    """Waits for a process, and reads the JSON that it printed."""
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return json.loads(output)
