"""What a cell gave back: its outputs, collected from kernel messages within bounds, and the result made of them."""

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from workbook.sandbox.process import Message

TRUNCATED = "… [truncated]"

Output = dict[str, Any]
Status = Literal["ok", "error", "timeout", "died"]


@dataclass(frozen=True)
class CellError:
    """Why a cell did not end well.

    Attributes:
        name: the exception's class, or "TimeoutError", or "DeadKernelError".
        message: the exception's text.
        traceback: as IPython formats it, without colours; "" where no exception was raised.
    """

    name: str
    message: str
    traceback: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.name}: {self.message}" if self.message else self.name


@dataclass(frozen=True)
class Result:
    """What came of executing a cell. All of it is the word of the code that ran, which can forge any message.

    Attributes:
        outputs: nbformat's outputs (stream, display_data, execute_result, error), in order.
        status: "ok"; "error", an exception; "timeout", interrupted or killed at its deadline; "died", the kernel ended.
        error: why, unless the status is "ok".
        state_lost: what earlier cells defined is gone; the next cell runs in a new kernel.
        truncated: output beyond the limits was dropped.
        seconds: from request to result.
        execution_count: the kernel's count of cells, None where it never said.
    """

    outputs: list[Output]
    status: Status
    error: CellError | None
    state_lost: bool
    truncated: bool
    seconds: float
    execution_count: int | None

    @property
    def text(self) -> str:
        """What a reader of plain text sees: streams and values in order, then the error; no newline at the end."""
        parts = [_plain(output) for output in self.outputs]
        if self.truncated:
            parts.append((TRUNCATED, False))
        if self.error is not None:
            parts.append((f"Error: {self.error}", True))
        text = ""
        for part, own_line in parts:
            text += "\n" + part if own_line and text and not text.endswith("\n") else part
            text += "\n" if own_line else ""
        return text.removesuffix("\n")


def _plain(output: Output) -> tuple[str, bool]:
    """The text of an output, and whether it stands on lines of its own."""
    if output["output_type"] == "stream":
        return output["text"].replace("\r\n", "\n"), False  # IPython runs `!command` in a terminal
    plain = output.get("data", {}).get("text/plain", "")
    return plain, bool(plain)


@dataclass
class _Held:
    output: Output
    size: int


class Outputs:
    """Turns one cell's messages into a list of outputs, as nbclient does, holding no more than it is allowed.

    What arrives after the first output that did not fit is dropped.

    Args:
        most_bytes: of message content, all outputs together.
        most_outputs: entries of the list; consecutive messages of one stream share an entry.
    """

    def __init__(self, most_bytes: int, most_outputs: int) -> None:
        self.truncated = False
        self._most_bytes = most_bytes
        self._most_outputs = most_outputs
        self._held: list[_Held] = []
        self._by_display_id: dict[str, list[_Held]] = {}
        self._clear_before_next = False

    @property
    def list(self) -> list[Output]:
        """The outputs so far."""
        return [held.output for held in self._held]

    def add(self, message: Message) -> None:
        """Takes an iopub message; ignores those that are no output, and malformed ones."""
        match message.type:
            case "stream" | "display_data" | "execute_result" | "error":
                if self._clear_before_next:
                    self._clear()
                self._append(message)
            case "update_display_data":
                self._update(message)
            case "clear_output":
                if message.content.get("wait"):
                    self._clear_before_next = True
                else:
                    self._clear()

    def bounded(self, error: CellError) -> CellError:
        """The error, its texts cut where they are longer than all output may be."""
        message, traceback = error.message[: self._most_bytes], error.traceback[: self._most_bytes]
        if (message, traceback) == (error.message, error.traceback):
            return error
        self.truncated = True
        return CellError(error.name, message + TRUNCATED, traceback)

    def _append(self, message: Message) -> None:
        if self.truncated:
            return
        room = self._most_bytes - sum(held.size for held in self._held)
        size = len(message.packed)
        if size > room and message.type != "stream":
            self.truncated = True  # not even parsed
            return
        output = output_from_message(message)
        if output is None:
            return
        if message.type == "stream":
            text = output["text"].encode("utf-8", "replace")
            size = min(len(text), room)
            output["text"] = text[:size].decode("utf-8", "ignore")
            self.truncated = len(text) > room
            last = self._held[-1] if self._held else None
            if last is not None and last.output.get("name") == output["name"]:
                last.output["text"] += output["text"]
                last.size += size
                return
        if len(self._held) >= self._most_outputs:
            self.truncated = True
            return
        held = _Held(output, size)
        self._held.append(held)
        if message.type in ("display_data", "execute_result"):
            self._update(message)
            self._by_display_id.setdefault(_display_id(message), []).append(held)

    def _update(self, message: Message) -> None:
        """Replaces what this cell has displayed under the same id; a display of an earlier cell is out of reach."""
        shown = self._by_display_id.get(_display_id(message), [])
        output = output_from_message(message) if shown and _display_id(message) else None
        if output is None:
            return
        size = len(message.packed)
        if sum(held.size for held in self._held) + sum(size - held.size for held in shown) > self._most_bytes:
            self.truncated = True
            return
        for held in shown:
            held.output.update(data=output["data"], metadata=output["metadata"])
            held.size = size

    def _clear(self) -> None:
        self._held.clear()
        self._by_display_id.clear()
        self._clear_before_next = False


def _display_id(message: Message) -> str:
    transient = message.content.get("transient")
    return str(transient.get("display_id") or "") if isinstance(transient, dict) else ""


def output_from_message(message: Message) -> Output | None:
    """The nbformat output that a message stands for, None for a malformed one.

    nbformat's own `output_from_msg` validates against a schema, which takes 1.2 s to import.
    """
    content = message.content
    match message.type:
        case "stream":
            name, text = content.get("name"), content.get("text")
            if name not in ("stdout", "stderr") or not isinstance(text, str):
                return None
            return {"output_type": "stream", "name": name, "text": text}
        case "display_data" | "execute_result" | "update_display_data":
            data, metadata = content.get("data"), content.get("metadata")
            if not isinstance(data, dict):
                return None
            data = {mime: value for mime, value in data.items() if isinstance(value, str) or mime.endswith("json")}
            output: Output = {
                "output_type": message.type,
                "data": data,
                "metadata": metadata if isinstance(metadata, dict) else {},
            }
            if message.type == "execute_result":
                output["execution_count"] = execution_count(content)
            return output
        case "error":
            error = cell_error(content)
            return {
                "output_type": "error",
                "ename": error.name,
                "evalue": error.message,
                "traceback": _traceback(content),
            }
    return None


def execution_count(content: dict[str, Any]) -> int | None:
    """The number beside a cell that a message's content gives."""
    count = content.get("execution_count")
    return count if isinstance(count, int) else None


def cell_error(content: dict[str, Any]) -> CellError:
    """The exception that the content of an `error` message or an `execute_reply` describes."""
    name, message = str(content.get("ename") or "Error"), str(content.get("evalue") or "")
    return CellError(name, message, re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(_traceback(content))))


def _traceback(content: dict[str, Any]) -> list[str]:
    lines = content.get("traceback")
    return [str(line) for line in lines] if isinstance(lines, list) else []
