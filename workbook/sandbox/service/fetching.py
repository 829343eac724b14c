"""`http_fetch` as something that sessions ask the service for, under the policy of their tenant."""

import base64
from typing import Any

from workbook.sandbox.service.egress import EgressPolicy
from workbook.sandbox.service.fetch import http_fetch
from workbook.sandbox.service.hooks import Observer
from workbook.sandbox.service.session_calls import Call
from workbook.sandbox.service.world import World

LONGEST = 120.0
"""Seconds that a fetch may take at most."""

MOST_RETRIES = 10

_WORLD = World()


def fetch_call(policy: EgressPolicy, observer: Observer, world: World = _WORLD) -> Call:
    """Returns the call for sessions under a policy."""

    async def call(arguments: dict[str, Any]) -> tuple[Any, list[bytes]]:
        try:
            fetched = await http_fetch(**_options(arguments), policy=policy, world=world)
        except Exception:
            observer.called("http_fetch", ok=False)
            raise
        observer.called("http_fetch", ok=True)
        value = {
            "status": fetched.status,
            "headers": dict(fetched.headers),
            "url": fetched.url,
            "attempts": fetched.attempts,
            "seconds": round(fetched.seconds, 6),
            "truncated": fetched.truncated,
            "error": fetched.error,
        }
        return value, [fetched.body]

    return call


def _options(arguments: dict[str, Any]) -> dict[str, Any]:
    """Checks what comes from code in a box.

    Raises:
        ValueError: It is not what `http_fetch` takes.
    """
    known: dict[str, tuple[type, ...]] = {
        "url": (str,),
        "method": (str,),
        "headers": (dict,),
        "body": (str,),
        "body_base64": (str,),
        "timeout": (int, float),
        "retries": (int,),
        "on_error": (str,),
        "idempotency_key": (str, type(None)),
    }
    options = dict(arguments)
    for name, value in options.items():
        if name not in known:
            raise ValueError(f"http_fetch takes no {name!r}: it takes {', '.join(known)}")
        if not isinstance(value, known[name]) or isinstance(value, bool):
            raise ValueError(f"{name} must not be {repr(value)[:100]}")  # noqa: TRY004 - for code it is one kind of error
    if "url" not in options:
        raise ValueError("http_fetch needs a url")
    if not all(isinstance(value, str) for value in options.get("headers", {}).values()):
        raise ValueError("headers are texts, by name")
    if not options.get("timeout", 1) <= LONGEST or not options.get("retries", 0) <= MOST_RETRIES:
        raise ValueError(f"timeout is at most {LONGEST:g} seconds, and retries at most {MOST_RETRIES}")
    body = options.pop("body", "").encode("utf-8", "replace")
    if encoded := options.pop("body_base64", ""):
        body = base64.b64decode(encoded, validate=True)
    return {**options, "body": body}
