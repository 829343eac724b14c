"""What tests of notebooks in boxes share."""

from pathlib import Path
from typing import Any

from workbook.sandbox.isolation.box import Box
from workbook.sandbox.isolation.cells import CellEnd, execute
from workbook.sandbox.isolation.server import ForkServer


def notebook_server() -> ForkServer:
    return ForkServer("notebook_entry", library={"notebook_entry.py": Path(__file__).with_name("notebook_entry.py")})


def run(box: Box, code: str, timeout: float = 60) -> tuple[CellEnd, list[dict[str, Any]]]:
    """Executes a cell; returns how it ended, and its messages."""
    messages: list[dict[str, Any]] = []
    end = execute(box, code, timeout, messages.append)
    return end, messages


def printed(messages: list[dict[str, Any]], name: str = "stdout") -> str:
    """All text of a stream."""
    contents = [message["content"] for message in messages if message["msg_type"] == "stream"]
    return "".join(content["text"] for content in contents if content["name"] == name)


def shown(messages: list[dict[str, Any]]) -> list[str]:
    """The messages, each in a word: a stream's text, a display's plain text, an error's name."""
    words = []
    for message in messages:
        content = message["content"]
        if "data" in content:
            words.append(content["data"].get("text/plain", "?"))
        else:
            words.append(content.get("text") or content.get("ename") or message["msg_type"])
    return words


def value(box: Box, expression: str) -> Any:
    """The value of an expression of the notebook's, as text."""
    end, messages = run(box, expression)
    assert end.error is None, messages
    return shown(messages)[-1]


def call(box: Box, definition: str, *, interrupt_after: float | None = None) -> Any:
    """Defines `question` in a cell, and calls it as a judge does: between cells."""
    end, messages = run(box, definition)
    assert end.error is None, messages
    box.send({"call": "question"})
    if interrupt_after is not None:
        try:
            box.receive(interrupt_after)
        except TimeoutError:
            box.interrupt()
        else:
            raise AssertionError("it did not wait to be interrupted")
    answer, _ = box.receive(60)
    return answer["value"] if "value" in answer else answer["raised"]
