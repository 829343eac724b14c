"""What tests of boxes share: a box that does what it is told."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from workbook.sandbox.isolation.box import Box
from workbook.sandbox.isolation.server import ForkServer

EVALUATOR = {"evaluator.py": Path(__file__).with_name("evaluator.py")}


class RaisedError(Exception):
    """What was executed in a box raised: the name of the exception's class, and its text."""


def evaluator_server(**options: Any) -> ForkServer:
    return ForkServer("evaluator", library=EVALUATOR, **options)


def ask(
    box: Box,
    expression: str,
    statements: str = "",
    *,
    timeout: float = 60,
    on_output: Callable[[str, bytes], None] | None = None,
) -> Any:
    """Executes statements in a box, and gives the value of an expression after them."""
    box.send({"statements": statements, "expression": expression})
    return answer(box, timeout, on_output)


def answer(box: Box, timeout: float = 60, on_output: Callable[[str, bytes], None] | None = None) -> Any:
    """Waits for the answer to what a box was sent."""
    message: Mapping[str, Any] = box.receive(timeout, on_output)[0]
    if "raised" in message:
        raise RaisedError(f"{message['raised']}: {message['text']}")
    return message["value"]


def answers(box: Box) -> Iterator[Any]:
    """What a box answers, one after the other, until it dies or raises."""
    while True:
        yield answer(box)
