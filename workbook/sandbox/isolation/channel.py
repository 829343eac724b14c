"""The private line between a box and the process that made it: JSON messages with raw bytes beside them.

A frame is a u32 with the length of the JSON text, a u32 with the count of blobs, a u64 with the length of each blob
(all big-endian), the JSON text in UTF-8, and the blobs. The other end is not trusted: what it announces is checked
before memory is taken for it.
"""

import json
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

MAX_MESSAGE = 64 << 20  # bytes of a frame
MAX_TEXT = 16 << 20  # bytes of its JSON text: the objects made of it can take twenty times as much
MAX_BLOBS = 4096
MAX_DEPTH = 100  # lists and objects within each other

_HEAD = struct.Struct("!II")


class ChannelError(Exception):
    """What came is no frame: malformed, larger than the bounds, not a JSON object, nested too deep."""


class ChannelClosed(Exception):  # noqa: N818  # the usual end
    """The other end is closed."""


class Channel:
    """One end of the line, over a stream socket that it owns. `send` may be called from several threads.

    A SIGINT leaves no half frame behind: it takes effect when a frame is out, or between two reads.
    """

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._sending = threading.Lock()
        self._received = bytearray()

    def fileno(self) -> int:
        """The socket's descriptor, to wait on."""
        return self._socket.fileno()

    def close(self) -> None:
        """Closes this end."""
        self._socket.close()

    def send(self, message: dict[str, Any], blobs: Sequence[bytes] = ()) -> None:
        """Sends one message; waits while the other end does not read.

        Raises:
            ChannelError: The message is larger than the bounds, or no JSON; nothing was sent.
            ChannelClosed: The other end is closed.
        """
        frame = pack(message, blobs)
        with self._sending, _interrupts_deferred():
            try:
                self._socket.sendall(frame)
            except (BrokenPipeError, ConnectionResetError) as error:
                raise ChannelClosed("the other end is closed") from error

    def receive(self, timeout: float | None = None) -> tuple[dict[str, Any], list[bytes]]:
        """Waits for one message.

        Args:
            timeout: Seconds to wait; None waits for ever.

        Raises:
            ChannelError: What came is no frame; nothing after it can be read.
            ChannelClosed: The other end is closed.
            TimeoutError: No whole message came in time; one that has begun to come is not lost.
        """
        end = None if timeout is None else time.monotonic() + timeout
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while (frame := self.take()) is None:
            left = None if end is None else max(0.0, end - time.monotonic())
            if not poll.poll(None if left is None else left * 1000):
                raise TimeoutError(f"no message within {timeout:g} s")
            with _interrupts_deferred():
                if not self.fill():
                    raise ChannelClosed("the other end is closed")
        return frame

    def fill(self) -> int:
        """Reads what has come, without waiting if the socket does not block; returns how many bytes, 0 at the end."""
        try:
            data = self._socket.recv(1 << 20)
        except ConnectionResetError:
            data = b""
        self._received += data
        return len(data)

    def take(self) -> tuple[dict[str, Any], list[bytes]] | None:
        """Takes the next message out of what has been read; None if no whole one is there.

        Raises:
            ChannelError: What came is no frame.
        """
        if len(self._received) < _HEAD.size:
            return None
        text_length, count = _HEAD.unpack_from(self._received)
        if text_length > MAX_TEXT or count > MAX_BLOBS:
            raise ChannelError(f"a message with {text_length} bytes of text and {count} blobs is too large")
        start = _HEAD.size + 8 * count
        if len(self._received) < start:
            return None
        lengths = struct.unpack_from(f"!{count}Q", self._received, _HEAD.size)
        if start + text_length + sum(lengths) > MAX_MESSAGE:
            raise ChannelError(f"a message of more than {MAX_MESSAGE >> 20} MiB is too large")
        if len(self._received) < start + text_length + sum(lengths):
            return None
        message = _message(bytes(self._received[start : start + text_length]))
        blobs, position = [], start + text_length
        for length in lengths:
            blobs.append(bytes(self._received[position : position + length]))
            position += length
        del self._received[:position]
        return message, blobs


def pack(message: dict[str, Any], blobs: Sequence[bytes] = ()) -> bytes:
    """The frame of one message. Characters that UTF-8 cannot hold (lone surrogates) become question marks.

    Raises:
        ChannelError: The message is larger than the bounds, or no JSON.
    """
    try:
        text = json.dumps(message, ensure_ascii=False).encode(errors="replace")
    except (TypeError, ValueError, RecursionError) as error:
        raise ChannelError(f"the message is no JSON: {error}") from error
    head = _HEAD.pack(len(text), len(blobs)) + struct.pack(f"!{len(blobs)}Q", *map(len, blobs))
    size = len(head) + len(text) + sum(map(len, blobs))
    if len(text) > MAX_TEXT or len(blobs) > MAX_BLOBS or size > MAX_MESSAGE:
        raise ChannelError(
            f"a message with {len(text)} bytes of text and {len(blobs)} blobs, {size} in all, is too large"
        )
    return b"".join([head, text, *blobs])


def _message(text: bytes) -> dict[str, Any]:
    try:
        message = json.loads(text.decode())  # of bytes it would let half a pair through
        if b"\\ud" in text.lower():  # an escaped half of a pair makes a string that no file can take
            json.dumps(message, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ChannelError(f"the text of a message is no JSON: {str(error)[:200]}") from error
    if not isinstance(message, dict):
        raise ChannelError(f"a message is a JSON object, not a {type(message).__name__}")
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH:
        _check_depth(message)
    return message


def _check_depth(message: Any) -> None:
    """Raises ChannelError if a value is nested deeper than MAX_DEPTH; does not recurse itself."""
    level, depth = [message], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH + 1:
            raise ChannelError(f"a message is nested more than {MAX_DEPTH} deep")
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner.extend(value.values())
            elif isinstance(value, list):
                inner.extend(value)
        level = inner


@contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Lets a SIGINT take effect when the block ends. Python handles signals in the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)
