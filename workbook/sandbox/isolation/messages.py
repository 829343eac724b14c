"""What a running cell prints and shows, as kernel messages on a channel. Used inside a box."""

import io
import json
import os
import threading
from collections.abc import Sequence
from typing import Any, Protocol

MAX_PRINTED = 1 << 20
"""Characters of one cell's printed text that are sent: an endless loop of prints need not cost the box its life."""

TRUNCATED = "\n… [truncated]\n"

_FRAME = 64  # characters that a message costs beside its text, about

_SINGLE_LINES = 1000
"""So many of a cell's lines are sent one by one, and outlive a crash; after them comes a flood, sent in blocks."""

_BLOCK = 1 << 13  # characters
_DESCRIPTORS = {"stdout": 1, "stderr": 2}


class Line(Protocol):
    """Where messages go: a `channel.Channel`, or what stands before one."""

    def send(self, message: dict[str, Any], blobs: Sequence[bytes] = ()) -> None:
        """Sends a message."""


class Messages:
    """The messages of one cell after the other, in the order in which they come about, from all threads.

    What comes at another time (a thread prints while no cell runs, the judge's call of a student's function prints), or
    from a process that the student's code has forked, has no place on the channel: what is printed goes to the
    standard streams of the process, what is shown goes nowhere.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._line: Line | None = None  # while a cell runs
        self._process = 0
        self._name = "stdout"  # of what is held back
        self._held: list[str] = []
        self._size = 0
        self._printed = 0
        self._lines = 0

    def open(self, line: Line) -> None:
        """Begins a cell: from here on messages go to `line`."""
        with self._lock:
            self._line, self._process = line, os.getpid()
            self._printed = self._lines = 0

    def close(self) -> None:
        """Ends a cell: sends what is held back."""
        with self._lock:
            self.flush()
            self._line = None

    def publish(self, kind: str, content: dict[str, Any]) -> None:
        """Sends a message.

        Args:
            kind: Its type in Jupyter's protocol, such as "display_data".
            content: Its content; data beyond JSON is converted as jupyter_client does.

        Raises:
            TypeError, ValueError: The content cannot be converted.
            channel.ChannelError: It is too large.
        """
        content = _plain(content)
        if not self._sending():
            return
        with self._lock:
            self.flush()
            self._send(kind, content)

    def print(self, name: str, text: str) -> None:
        """Takes text that was written to "stdout" or "stderr"."""
        if not self._sending():
            return _write(_DESCRIPTORS[name], text)
        with self._lock:
            if name != self._name:
                self.flush()
                self._name = name
            self._held.append(text)
            self._size += len(text)
            if self._size >= _BLOCK or (self._lines < _SINGLE_LINES and "\n" in text):
                self.flush()
        return None

    def flush(self) -> None:
        """Sends what is held back."""
        if not self._sending():
            return
        with self._lock:
            if not self._held:
                return
            text, self._held, self._size = "".join(self._held), [], 0
            left = MAX_PRINTED - self._printed
            if not text or left <= 0:
                return
            if len(text) > left:
                text = text[:left] + TRUNCATED
            self._printed += len(text) + _FRAME
            self._lines += 1
            self._send("stream", {"name": self._name, "text": text})

    def _send(self, kind: str, content: dict[str, Any]) -> None:
        if self._line is not None:
            self._line.send({"message": {"msg_type": kind, "content": content}})

    def _sending(self) -> bool:
        return self._line is not None and os.getpid() == self._process


class Stream(io.TextIOBase):
    """Stands in for `sys.stdout` or `sys.stderr`."""

    encoding = "UTF-8"
    errors = "replace"

    def __init__(self, name: str, messages: Messages) -> None:
        """Makes the stream called `name`: "stdout" or "stderr"."""
        self.name = name
        self._messages = messages

    def fileno(self) -> int:
        """The descriptor of the standard stream that it stands in for."""
        return _DESCRIPTORS[self.name]

    def writable(self) -> bool:
        """Always true."""
        return True

    def write(self, text: str) -> int:
        """Takes text, from any thread."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._messages.print(self.name, text)
        return len(text)

    def flush(self) -> None:
        """Sends what is held back."""
        self._messages.flush()


def _plain(content: dict[str, Any]) -> dict[str, Any]:
    from jupyter_client.jsonutil import json_clean, json_default

    try:
        text = json.dumps(content, default=json_default, allow_nan=False)
    except (TypeError, ValueError):
        text = json.dumps(json_clean(content), default=json_default, allow_nan=False)
    plain: dict[str, Any] = json.loads(text)
    return plain


def _write(descriptor: int, text: str) -> None:
    data = text.encode(errors="replace")
    while data:
        data = data[os.write(descriptor, data) :]
