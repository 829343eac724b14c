"""Executes cells in a box whose entry module serves a `shell.Shell`: the host's side."""

import codecs
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workbook.sandbox.isolation.box import Box, BoxDied
from workbook.sandbox.isolation.channel import ChannelError

GRACE = 2.0
"""Seconds in which an interrupted cell must end."""

TIMED_OUT = "CellTimeoutError"
DIED = "DeadKernelError"
MALFORMED = "MalformedMessageError"

CONTENTS: dict[str, dict[str, type]] = {
    "stream": {"name": str, "text": str},
    "display_data": {"data": dict, "metadata": dict},
    "update_display_data": {"data": dict, "metadata": dict},
    "execute_result": {"data": dict, "metadata": dict},
    "error": {"ename": str, "evalue": str, "traceback": list},
    "clear_output": {"wait": bool},
}
"""Of Jupyter's messages, what a notebook's outputs are made of: by type, what must be in their content."""

_MAX_NAME = 200  # characters of an exception's name

OnMessage = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class CellEnd:
    """How a cell ended.

    Attributes:
        error: The name of its exception; or TIMED_OUT, DIED or MALFORMED; None if it came to its end.
        execution_count: The number that the shell gave it; None where that is unknown.
        reason: Says more where no exception does.
    """

    error: str | None
    execution_count: int | None
    reason: str = ""


def execute(box: Box, code: str, timeout: float, on_message: OnMessage) -> CellEnd:
    """Executes a cell. At the deadline it is interrupted; what then goes on for GRACE seconds costs the box.

    Args:
        box: Where a shell waits. It may be dead afterwards, or before: see `Box.alive`.
        code: The cell's source.
        timeout: Seconds that it may take.
        on_message: Called with each message, `{"msg_type": ..., "content": ...}`, in order; what was written to the
            standard streams past the shell, by subprocesses for one, comes as "stream" messages. The types are those
            that a notebook's outputs are made of; what is in their content is untrusted beyond its outermost types.
    """
    return _Cell(box, on_message).execute(code, timeout)


class _Cell:
    def __init__(self, box: Box, on_message: OnMessage) -> None:
        self._box = box
        self._on_message = on_message
        self._decoders = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in ("stdout", "stderr")}
        self._malformed = ""  # the first thing that came and was no message

    def execute(self, code: str, timeout: float) -> CellEnd:
        interrupted = False
        try:
            self._box.send({"execute": code})
            deadline = time.monotonic() + timeout
            while True:
                left = deadline - time.monotonic()
                try:
                    if left <= 0:
                        raise TimeoutError
                    frame, _ = self._box.receive(left, self._output)
                except TimeoutError:
                    if interrupted:
                        self._rest()
                        self._box.close()
                        return CellEnd(TIMED_OUT, None, f"it took longer than {timeout:g} s and did not stop then")
                    self._box.interrupt()
                    interrupted, deadline = True, time.monotonic() + GRACE
                    continue
                if "done" in frame:
                    self._rest()
                    return self._end(frame["done"], f"it took longer than {timeout:g} s" if interrupted else "")
                self._take(frame)
        except BoxDied as death:
            self._rest()
            return CellEnd(DIED, None, death.reason)
        except ChannelError as error:
            self._rest()
            return CellEnd(MALFORMED, None, str(error))

    def _take(self, frame: dict[str, Any]) -> None:
        message = frame.get("message")
        if isinstance(message, dict):
            kind, content = message.get("msg_type"), message.get("content")
            wanted = CONTENTS.get(kind) if isinstance(kind, str) else None
            if wanted and isinstance(content, dict) and all(type(content.get(key)) is wanted[key] for key in wanted):
                self._on_message({"msg_type": kind, "content": content})
                return
        self._malformed = self._malformed or "the process sent what is no message of a kernel"

    def _end(self, done: Any, late: str) -> CellEnd:
        error, count = (done.get("error"), done.get("execution_count")) if isinstance(done, dict) else (0, 0)
        counted = count is None or (type(count) is int and 0 <= count < 1e9)
        if not counted or not (error is None or isinstance(error, str)):
            error, count = None, None
            self._malformed = self._malformed or "the process sent what is no end of a cell"
        if late:
            return CellEnd(TIMED_OUT, count, late)
        if self._malformed:
            return CellEnd(MALFORMED, count, self._malformed)
        return CellEnd(error and error[:_MAX_NAME], count)

    def _output(self, name: str, data: bytes) -> None:
        self._print(name, self._decoders[name].decode(data))

    def _rest(self) -> None:
        self._box.drain(self._output)
        for name, decoder in self._decoders.items():
            self._print(name, decoder.decode(b"", final=True))

    def _print(self, name: str, text: str) -> None:
        if text:
            self._on_message({"msg_type": "stream", "content": {"name": name, "text": text}})
