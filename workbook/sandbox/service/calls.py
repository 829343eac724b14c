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
_names: dict[str, Any] = {}
_own: set[str] = set()  # names that were there before any cell
_numbers = itertools.count(1)


def connect(line: HostLine) -> None:
    """Lets calls go over a line; for the supervisor of a box."""
    global _line  # noqa: PLW0603 - one a process
    _line = line


def connect_shell(names: dict[str, Any]) -> None:
    """Notes what a context's cells define, by name: what a checkpoint is of."""
    global _names, _own
    _names, _own = names, set(names)


def answer(message: dict[str, Any], blobs: Sequence[bytes]) -> None:
    """Takes what the host sends between cells: it asks for a checkpoint, or gives one back.

    The answer to a call that was interrupted may come as well; nobody waits for it.
    """
    assert _line is not None
    if "checkpoint" in message:
        data, problem = _dump()
        _line.send({"checkpoint": message["checkpoint"], "problem": problem}, [data])
    elif "restore" in message:
        problem = _load(blobs[0])
        _line.send({"checkpoint": message["restore"], "problem": problem}, [b""])


def _dump() -> tuple[bytes, str]:
    """Pickles what the cells have defined; all of it, or nothing and the reason."""
    import cloudpickle

    kept = {name: value for name, value in _names.items() if name not in _own and not name.startswith("_")}
    try:
        return cloudpickle.dumps(kept), ""
    except Exception as error:  # noqa: BLE001 - open files, threads and the like cannot be pickled
        return b"", f"{type(error).__name__}: {error}"[:500]


def _load(data: bytes) -> str:
    """Defines what was pickled; returns what went wrong."""
    import pickle

    try:
        _names.update(pickle.loads(data))
    except Exception as error:  # noqa: BLE001 - whatever it is, the session's log is replayed instead
        return f"{type(error).__name__}: {error}"[:500]
    return ""


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
