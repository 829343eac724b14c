"""A connection to Redis that comes back, and asks again without doing anything twice."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import TimeoutError as LateError

from workbook.sandbox.service.redis_scripts import Script
from workbook.sandbox.service.store import StoreError

_TIMEOUT = 30.0  # seconds that Redis may take for one answer
_CONNECTIONS = 64


class RedisConnection:
    """Asks Redis, over as many connections as are needed.

    Attributes:
        redis: The client, for `ask`.
    """

    def __init__(self, url: str, patience: float) -> None:
        """Prepares connections; the first is made when something is asked.

        Args:
            url: Where Redis is.
            patience: Seconds in which a connection that is lost may come back.

        Raises:
            StoreError: The URL is none that Redis has.
        """
        self._patience, self._closed = patience, False
        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=_CONNECTIONS,
                timeout=_TIMEOUT,
                socket_timeout=None,  # `ask` has one; with redis-py's, Python 3.11 may lose that a task was cancelled
                socket_connect_timeout=patience,
                retry=Retry(NoBackoff(), 0),  # `ask` does that, by the clock
            )
        except (ValueError, RedisError) as error:
            raise StoreError(f"no address of a Redis: {error}") from error
        self.redis = Redis.from_pool(pool)

    async def ask(self, question: Callable[[], Awaitable[Any]]) -> Any:
        """Asks until there is an answer, or patience is at its end.

        Args:
            question: Asks once. What it does must be the same when it is done again.

        Raises:
            StoreError: Redis cannot be reached, or could not do it.
        """
        if self._closed:
            raise StoreError("the store is closed")
        end, pause = time.monotonic() + self._patience, 0.02
        while True:
            try:
                async with asyncio.timeout(_TIMEOUT):
                    return await question()
            except (LostError, LateError, OSError) as error:
                if _is_denial(error):
                    advice = "Redis does not let us in: see the name and password in its URL"
                    raise StoreError(f"{advice} ({error})") from error
                if time.monotonic() + pause > end:
                    advice = "Redis cannot be reached: see whether it runs, and its URL"
                    raise StoreError(f"{advice} ({error or type(error).__name__})") from error
            except NoScriptError:
                raise
            except RedisError as error:
                raise StoreError(f"{_advice(error)} ({error})") from error
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # not all at once
            pause = min(2 * pause, 1.0)

    async def run(self, script: Script, prefix: str, *arguments: str | bytes | int) -> list[bytes]:
        """Runs a script, once, however often it has to be asked for. Returns its answer.

        Raises:
            StoreError: Redis cannot be reached, or could not do it.
        """
        token = uuid4().hex
        answer: list[bytes]
        try:
            answer = await self.ask(lambda: self.redis.evalsha(script.sha, 0, prefix, token, *arguments))
        except NoScriptError:  # the first time, and when Redis was started anew
            answer = await self.ask(lambda: self.redis.eval(script.text, 0, prefix, token, *arguments))
        return answer

    async def close(self) -> None:
        """Hangs up. A second call does nothing."""
        self._closed = True
        await self.redis.aclose()
        await self.redis.connection_pool.aclose()


def _advice(error: RedisError) -> str:
    if isinstance(error, OutOfMemoryError) or "'maxmemory'" in str(error):
        return "Redis has no memory left: raise its `maxmemory`, or delete sessions"
    if isinstance(error, ReadOnlyError):
        return "this Redis is a replica, and takes no writes: use the URL of its primary"
    if isinstance(error, NoPermissionError):
        return "Redis does not let this user do that: give it all commands on the keys of the store"
    if "MISCONF" in str(error):
        return "Redis cannot write to its disk: make room there"
    return "Redis failed"


def _is_denial(error: BaseException) -> bool:
    """Whether Redis wants another name or password. The client says so as a connection that it could not make."""
    cause = error.__cause__ or error.__context__
    return isinstance(error, AuthenticationError | AuthorizationError) or (cause is not None and _is_denial(cause))
