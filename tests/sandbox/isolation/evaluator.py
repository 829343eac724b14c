"""An entry module that does, in its box, whatever it is told: nothing that a test tries there is out of bounds."""

import sys
from typing import Any

from workbook.sandbox.isolation.channel import Channel


def prepare() -> None:
    """Nothing to prepare."""


def run(channel: Channel) -> None:
    """Executes each message's statements, evaluates its expression, and answers with the value's text and type."""
    names: dict[str, Any] = {"channel": channel}
    while True:
        message, names["blobs"] = channel.receive()
        try:
            exec(message["statements"], names)
            value = eval(message["expression"], names)  # noqa: S307  # this is what boxes are for
            answer = {"value": value if isinstance(value, int | float | str | list | dict | None) else repr(value)}
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # whatever it was, the test is told
            answer = {"raised": type(error).__name__, "text": str(error)}
        sys.stdout.flush()
        channel.send(answer)
