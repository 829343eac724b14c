"""What the hostile code of attacks shares. It is executed in the box, in a cell ahead of that code."""

import functools
from collections.abc import Callable
from typing import Any

NAMES: list[str] = []  # what the answers define


def look(path: str) -> None:
    """Prints a file, or why it cannot be read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - as an attack would
            print(path, file.read(100_000))
    except OSError as error:
        print(path, error.strerror)


def wrap_calls(call: Callable[..., Any]) -> None:
    """Puts `call(function, *arguments, **keywords)` in the place of each function of the answers."""
    for name in NAMES:
        globals()[name] = functools.wraps(globals()[name])(functools.partial(call, globals()[name]))


def answer_always(value: Callable[[], Any]) -> None:
    """Has all that the answers define give `value()`, whatever is called."""

    class Giving:
        def __init__(self, *arguments: Any, **keywords: Any) -> None:
            pass

        def __call__(self, *arguments: Any, **keywords: Any) -> Any:
            return value()

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *exception: object) -> None:
            pass

        def __getattr__(self, name: str) -> Any:
            return lambda *arguments, **keywords: value()

    for name in NAMES:
        globals()[name] = Giving if isinstance(globals()[name], type) else Giving()


def host_line() -> Any:
    """Returns the worker's end of the judge's channel."""
    import gc

    return next(item for item in gc.get_objects() if type(item).__name__ == "HostLine")
