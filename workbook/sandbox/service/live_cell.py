"""A cell that runs in a live box: what it puts out, and how it ends. All of that is its code's word."""

import asyncio
import json
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from workbook.sandbox.isolation.cells import CONTENTS
from workbook.sandbox.outputs import CellError, Outputs, Status
from workbook.sandbox.process import Message
from workbook.sandbox.service.live_types import MOST_NAME, OnMessage


@dataclass(frozen=True)
class End:
    """How a cell has ended.

    Attributes:
        status: In a word.
        error: What went wrong.
        lost: Whether the context's process has ended.
        count: Its execution count.
    """

    status: Status
    error: CellError | None = None
    lost: bool = False
    count: int | None = None


@dataclass
class LiveCell:
    """A cell that runs: what it has put out, who is told of it, and where its end is awaited."""

    outputs: Outputs
    on_message: OnMessage | None
    end: "asyncio.Future[End]"
    count: int | None = None

    def take(self, message: dict[str, Any]) -> None:
        """Takes a message of the kernel protocol; what is none that a cell sends is dropped."""
        kind, content = message["msg_type"], message["content"]
        wanted = CONTENTS.get(kind) if isinstance(kind, str) else None
        if wanted and all(type(content.get(key)) is wanted[key] for key in wanted):
            self._put_out(kind, content)

    def printed(self, stream: str, data: bytes) -> None:
        """Takes what was written past the shell."""
        self._put_out("stream", {"name": stream, "text": data.decode(errors="replace")})

    def _put_out(self, kind: str, content: dict[str, Any]) -> None:
        packed = json.dumps(content).encode()
        self.outputs.add(Message(time.perf_counter(), "iopub", kind, "", "", packed))
        if kind == "execute_result" and type(content.get("execution_count")) is int:
            self.count = content["execution_count"]
        if self.on_message is not None and not self.outputs.truncated:
            self.on_message(kind, content)

    def done(self, said: dict[str, Any]) -> None:
        """Ends it as the shell says, which may say anything."""
        if self.end.done():
            return
        error, count = said.get("error"), said.get("execution_count")
        count = count if type(count) is int and 0 <= count < 1e9 else None
        if error is None:
            self.end.set_result(End("ok", count=count))
            return
        shown = next((one for one in reversed(self.outputs.list) if one["output_type"] == "error"), {})
        text, trace = str(shown.get("evalue", "")), shown.get("traceback", [])
        lines = "\n".join(line for line in trace if isinstance(line, str))
        self.end.set_result(End("error", CellError(str(error)[:MOST_NAME], text, lines), count=count))

    def died(self, code: Any) -> None:
        """Ends it since its process has, with such an exit status."""
        if not self.end.done():
            reason = f"the context's process ended: {_status(code)}"
            self.end.set_result(End("died", CellError("DeadKernelError", reason), lost=True, count=self.count))


def _status(code: Any) -> str:
    if type(code) is int and -65 < code < 0:
        with suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit status {code}" if type(code) is int else "unknown"
