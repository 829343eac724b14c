"""What code in a session may ask the service for: `from workbook.sandbox.service.calls import http_fetch`.

A box has no network. A call goes to the service, which does it, records what came of it, and answers; when a session
is brought back, the record answers in its place.
"""

import itertools
from collections.abc import Sequence
from typing import Any

from workbook.sandbox.isolation.shell import HostLine


class CallError(Exception):
    """The service could not do what was asked. The message says why."""


_line: HostLine | None = None
_numbers = itertools.count(1)


def connect(line: HostLine) -> None:
    """Lets calls go over a line; for the supervisor of a box."""
    global _line  # noqa: PLW0603 - one a process
    _line = line


def answer(message: dict[str, Any], blobs: Sequence[bytes]) -> None:
    """Takes what the host sends between cells: the answer to a call that was interrupted. Nobody waits for it."""


def call(name: str, **arguments: Any) -> tuple[Any, list[bytes]]:
    """Has the service do something; returns its answer and the blobs beside it.

    Args:
        name: What.
        arguments: JSON values.

    Raises:
        CallError: It could not.
    """
    if _line is None:
        raise CallError("there is no service here: this is for code in a session of the sandbox")
    number = next(_numbers)
    _line.send({"call": number, "name": name, "arguments": arguments})
    while True:
        message, blobs = _line.receive()
        if message.get("returns") == number:
            break
    if "error" in message:
        raise CallError(str(message["error"]))
    return message.get("value"), blobs


class Response:
    """What came back from an address.

    Attributes:
        status: As 200.
        headers: By name, in small letters.
        content: The body's bytes.
        url: Where it came from, after redirects.
    """

    def __init__(self, value: dict[str, Any], content: bytes) -> None:
        self.status: int = value["status"]
        self.headers: dict[str, str] = value["headers"]
        self.url: str = value["url"]
        self.content = content

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode(errors="replace")

    def __repr__(self) -> str:
        return f"<Response {self.status} of {self.url}, {len(self.content)} bytes>"


def http_fetch(url: str, **options: Any) -> Response:
    """Fetches an address, through the service and by its rules.

    Args:
        url: The address.
        options: `method`, `headers`, `body`, `timeout`, `retries`, `on_error`, as of the service's `http_fetch`.

    Raises:
        CallError: It is not allowed, or it failed.
    """
    value, blobs = call("http_fetch", url=url, **options)
    return Response(value, blobs[0])
