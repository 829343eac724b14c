"""An entry module that executes cells, and calls what they have defined."""

import functools
from typing import Any

from workbook.sandbox.isolation.channel import Channel
from workbook.sandbox.isolation.shell import HostLine, Shell


@functools.cache
def _shell() -> Shell:
    return Shell()


def prepare() -> None:
    """Builds the shell."""
    _shell()


def run(channel: Channel) -> None:
    """Answers `{"call": name}` with what the function of that name gives."""
    line = HostLine(channel)

    def answer(message: dict[str, Any], _: list[bytes]) -> None:
        try:
            value = _shell().user_ns[message["call"]]()
        except BaseException as error:  # noqa: BLE001
            line.send({"raised": f"{type(error).__name__}: {error}"})
        else:
            line.send({"value": value})

    _shell().serve(line, answer)
