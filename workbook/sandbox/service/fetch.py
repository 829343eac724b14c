"""`http_fetch`: the one way from a sandbox to the network. The service fetches for the code in a box, which has none.

What may be fetched says an `EgressPolicy`, and by default nothing may. `exchange` sees that each step goes to an
address that was checked; here is what happens when a try fails.
"""

import asyncio
import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Literal

from workbook.sandbox.service.egress import EgressDenied, EgressPolicy, FetchError, Target, parse
from workbook.sandbox.service.exchange import METHODS, Fetched, FetchFailed, FetchTimeout, Request, TooLarge, follow
from workbook.sandbox.service.world import Deadline, World, direct

__all__ = [
    "BACKOFF_BASE",
    "BACKOFF_CAP",
    "RETRIED",
    "RETRY_AFTER_CAP",
    "EgressDenied",
    "EgressPolicy",
    "FetchError",
    "FetchFailed",
    "FetchTimeout",
    "Fetched",
    "OnError",
    "TooLarge",
    "World",
    "direct",
    "http_fetch",
]

OnError = Literal["raise", "return", "retry_with_backoff"]

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may fare better."""

BACKOFF_BASE = 0.5
"""Seconds that the first pause lasts at most; each later one twice as long."""

BACKOFF_CAP = 8.0
"""Seconds that a pause lasts at most, besides what the server asks for."""

RETRY_AFTER_CAP = 30.0
"""Seconds for which a server's `Retry-After` is waited; who asks for more is not tried again."""

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})  # RFC 9110, section 9.2.2
_NO_EGRESS = EgressPolicy()
_WORLD = World()


async def http_fetch(
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] = {},
    body: bytes = b"",
    timeout: float = 10.0,
    retries: int = 2,
    on_error: OnError = "raise",
    idempotency_key: str | None = None,
    policy: EgressPolicy = _NO_EGRESS,
    world: World = _WORLD,
) -> Fetched:
    """Fetches a URL. A response with a status from 400 on is an error, as is none.

    Pauses are exponential with full jitter (Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog,
    2015): a random time up to a bound that doubles. They come on top of what a server asks for in `Retry-After`
    (RFC 9110, section 10.2.3), so that those who were told the same do not all come at once.

    Args:
        url: What to fetch.
        method: One of `exchange.METHODS`.
        headers: Besides those that every request has. Across origins only harmless ones follow a redirect.
        body: What to send.
        timeout: Seconds for everything: look-ups, redirects, the body, all tries and the pauses between them.
        retries: How often it is tried again, with `retry_with_backoff`.
        on_error: `raise`: the first error is raised. `return`: it is returned, as a `Fetched` with the status that came
            or with an `error`, and a body that is too large is cut off. `retry_with_backoff`: an error that may pass
            is followed by further tries, if the method is idempotent or there is a key; the last error is raised.
        idempotency_key: By it the server knows a request that it has had already (sent as `Idempotency-Key`).
        policy: What may be fetched; a refusal is always raised.
        world: What it touches.

    Raises:
        EgressDenied: The policy refuses the URL, a redirect, an address or a header.
        FetchTimeout: The deadline has passed.
        TooLarge: The response is larger than the policy admits.
        FetchFailed: No response came, or one with a status from 400 on, which is the error's `response`.
    """
    if not (0 < timeout < math.inf and retries >= 0):
        raise ValueError(f"timeout must be above zero and finite, retries not below zero: not {timeout!r}, {retries!r}")
    if on_error not in ("raise", "return", "retry_with_backoff"):
        raise ValueError(f"on_error must be raise, return or retry_with_backoff, not {on_error!r}")
    began, deadline, attempt = world.clock(), Deadline(world.clock, timeout), 0
    request = _request(parse(url), method, headers, body, idempotency_key, policy)
    may_repeat = on_error == "retry_with_backoff" and (method in _IDEMPOTENT or idempotency_key is not None)
    failure: FetchError | None = None
    try:
        async with asyncio.timeout(timeout):  # ends what waits on a real network; a simulated one looks at the deadline
            for attempt in itertools.count(1):
                failure, came = await _attempt(request, policy, world, deadline, cut=on_error == "return")
                if came is not None and (failure is None or on_error == "return"):
                    return replace(came, attempts=attempt, seconds=world.clock() - began)
                assert failure is not None
                if not (may_repeat and isinstance(failure, FetchFailed) and failure.transient):
                    break
                pause = world.random() * min(BACKOFF_CAP, BACKOFF_BASE * 2 ** min(attempt - 1, 16))
                asked = _retry_after(came, world)
                if attempt > retries or asked > RETRY_AFTER_CAP or asked + pause >= deadline.left():
                    # A try that cannot come in time, or comes before the server wants it, helps nobody.
                    failure = failure.after(attempt, asked)
                    break
                await world.sleep(asked + pause)
    except TimeoutError:
        before = f"; before that, {failure}" if failure else ""
        failure = FetchTimeout(f"{request.target.url} took more than {timeout:g} s: allow it more time{before}")
    assert failure is not None
    if on_error == "return":
        error = f"{type(failure).__name__}: {failure}"
        return Fetched(0, {}, b"", request.target.url, attempt, world.clock() - began, error=error)
    raise failure


def _request(
    target: Target, method: str, headers: Mapping[str, str], body: bytes, key: str | None, policy: EgressPolicy
) -> Request:
    if method not in METHODS:
        raise EgressDenied(f"the method {method[:100]!r} is not sent: use one of {', '.join(sorted(METHODS))}")
    policy.check(target)
    named = {name.lower(): value for name, value in headers.items()}
    if key is not None:
        named["idempotency-key"] = key
    return Request(target, method, tuple(named.items()), body).checked(policy)


async def _attempt(
    request: Request, policy: EgressPolicy, world: World, deadline: Deadline, *, cut: bool
) -> tuple[FetchError | None, Fetched | None]:
    """Tries once: what went wrong, if something did, and what came, if something did."""
    try:
        came = await follow(request, policy, world, deadline, cut=cut)
    except EgressDenied:
        raise
    except FetchError as error:
        return error, None
    deadline.left()
    if came.status < 400:
        return None, came
    phrase = HTTPStatus(came.status).phrase if came.status in set(HTTPStatus) else ""
    message = f"{came.url} answered {came.status} {phrase}".rstrip()
    return FetchFailed(message, response=came, transient=came.status in RETRIED), came


def _retry_after(came: Fetched | None, world: World) -> float:
    """Seconds that a response asks to wait; 0 where it does not, or not in a way that can be read."""
    value = came.headers.get("retry-after", "").strip() if came else ""
    if value.isascii() and value.isdecimal():
        return float(value[:10])
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):  # which one depends on Python's version
        return 0.0
    if date.tzinfo is None:  # as a date in -0000 is given
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - world.now()).total_seconds())
