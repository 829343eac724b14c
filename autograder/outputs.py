"""Makes a cell's outputs of the messages that came from a box: nbclient's own code, behind bounds."""

import json
from collections import Counter
from typing import Any

import nbformat
from nbclient import NotebookClient

MAX_OUTPUT = 1 << 20
"""Bytes of one cell's outputs, about; what it changes in other cells' outputs counts too."""

_OUTPUT = 100  # bytes of an output beside what it shows: a million outputs of a letter each would be gigabytes

TRUNCATED = "\n… [truncated]\n"


class NotebookOutputs:
    """The outputs of a notebook's cells, as its messages come."""

    def __init__(self, notebook: Any) -> None:
        """Takes a notebook whose cells have no outputs yet."""
        self.client = NotebookClient(notebook)
        self.client.reset_execution_trackers()
        self.shown: Counter[str] = Counter()  # by display id: in how many outputs it is

    def cell(self, index: int) -> "CellOutputs":
        """Begins with the next cell."""
        self.client.clear_before_next_output = False
        return CellOutputs(self, index)


class CellOutputs:
    """The outputs of one cell, bounded, and valid whatever the messages are.

    Attributes:
        problem: What was wrong with the first message that was malformed; empty if none was.
    """

    def __init__(self, notebook: NotebookOutputs, index: int) -> None:
        self._notebook = notebook
        self._index = index
        self._cell = notebook.client.nb.cells[index]
        self._stream: tuple[str, list[str]] = ("stdout", [])  # texts that will be one output
        self._kept = 0  # bytes, until the outputs are cleared
        self._updates = 0  # bytes, for good: they may have gone to other cells
        self._full = False
        self._failed = False
        self.problem = ""

    def add(self, message: dict[str, Any]) -> None:
        """Takes a message, `{"msg_type": ..., "content": ...}`, as `cells.execute` delivers them."""
        try:
            self._add(message["msg_type"], message["content"])
        except Exception as error:  # noqa: BLE001 - of nbclient, nbformat, json: whatever the message has led to
            self._malformed(error)

    def error(self, name: str, text: str) -> None:
        """Adds an error that no message tells of."""
        self.flush()
        error = nbformat.v4.new_output("error", ename=name, evalue=text, traceback=[f"{name}: {text}"])
        self._cell.outputs.append(error)

    def flush(self) -> None:
        """Completes the outputs with what is held back."""
        name, texts = self._stream
        self._stream = (name, [])
        if texts:
            try:
                self._process("stream", {"name": name, "text": "".join(texts)})
            except Exception as error:  # noqa: BLE001
                self._malformed(error)

    def _add(self, kind: str, content: dict[str, Any]) -> None:
        if kind == "stream":
            self._print(content["name"], content["text"])
            return
        if kind == "clear_output":
            self._kept, self._full = 0, False
        else:
            size = _written(content)
            if not self._fits(kind, content, size):
                return
        self.flush()
        self._process(kind, content)

    def _fits(self, kind: str, content: dict[str, Any], size: int) -> bool:
        if kind == "error" and not self._failed and size < MAX_OUTPUT // 8:
            self._failed = True
            return True  # what has ended the cell is worth more than what came before it
        display = (content.get("transient") or {}).get("display_id")
        updated = size * self._notebook.shown[display] if display else 0
        kept = 0 if kind == "update_display_data" else size + _OUTPUT
        if display and kept and not self._notebook.shown[display]:
            updated += _OUTPUT + len(str(display))  # an id stays known for good, also when its output is cleared
        if self._full or self._kept + self._updates + kept + updated > MAX_OUTPUT:
            self._truncate()
            return False
        self._kept += kept
        self._updates += updated
        if display and kept:
            self._notebook.shown[display] += 1
        return True

    def _print(self, name: str, text: str) -> None:
        if name not in ("stdout", "stderr"):
            raise ValueError(f"there is no stream {name[:20]!r}")
        data = text.encode(errors="replace")
        left = MAX_OUTPUT - self._kept - self._updates
        if self._full or not data:
            return
        if name != self._stream[0]:
            self.flush()
            self._stream = (name, [])
            self._kept += _OUTPUT
        self._stream[1].append(data[:left].decode(errors="ignore"))
        self._kept += len(data)
        if len(data) > left:
            self._truncate()

    def _truncate(self) -> None:
        if not self._full:
            self._full = True
            self._stream[1].append(TRUNCATED)

    def _process(self, kind: str, content: dict[str, Any]) -> None:
        message = {"msg_type": kind, "header": {"msg_type": kind}, "parent_header": {}, "content": content}
        try:
            self._notebook.client.process_message(message, self._cell, self._index)
        finally:
            self._cell.execution_count = None  # not for a message to say

    def _malformed(self, error: Exception) -> None:
        text = str(error).splitlines()
        self.problem = self.problem or f"{type(error).__name__}: {text[0] if text else ''}"[:500]


def _written(content: dict[str, Any]) -> int:
    """About how many bytes some content is in a notebook's file, where each item of a list has an indented line."""
    size = len(json.dumps(content, ensure_ascii=False, allow_nan=False).encode())
    if size <= MAX_OUTPUT:
        size = len(json.dumps(content, ensure_ascii=False, indent=1).encode())
    return size
