"""The wire's inner end: answers the judge's questions about what a notebook has defined.

A question names one of four verbs. `new` calls something and keeps the result here, under a number, a handle; `call`
calls something and gives its value; `get` gives the value of a name or an attribute; `drop` forgets a handle. The
target is a name in the notebook or a handle. A function among the arguments is a callback: calling it here asks the
judge, who may put further questions before giving the answer. `new` without a target keeps its argument: a value that
the judge can pass to several calls, and look at after them.

This runs in the student's process and is in the student's power. It decides nothing.
"""

import builtins
import linecache
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from autograder.values import ValueRefused, decode, encode

MAX_TEXT = 4000
"""Characters of an exception's text that are passed on."""


class Channel(Protocol):
    """Carries messages: `workbook.sandbox.isolation.channel.Channel`, or a loop within a process."""

    def send(self, message: dict[str, Any], blobs: Sequence[bytes] = ()) -> None:
        """Sends a message."""

    def receive(self, timeout: float | None = None) -> tuple[dict[str, Any], list[bytes]]:
        """Waits for a message."""


class Responder:
    """Answers the questions of one judge about one namespace."""

    def __init__(self, namespace: dict[str, Any], channel: Channel) -> None:
        """Prepares to answer.

        Args:
            namespace: What the notebook has defined, by name.
            channel: To the judge.
        """
        self._namespace = namespace
        self._channel = channel
        self._handles: dict[int, Any] = {}
        self._kept = 0
        self._questions = 0  # being answered, each inside the one before
        self._turn = threading.RLock()  # one callback at a time, and none while an answer is sent
        self._process = os.getpid()

    def answer(self, message: dict[str, Any], blobs: Sequence[bytes]) -> None:
        """Answers a question: sends its value, its handle, or what was raised."""
        self._questions += 1
        sent: list[bytes] = []
        try:
            answer = self._carry_out(message, blobs, sent)
        except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt too are only answers
            sent.clear()
            answer = {"refused": str(error)} if type(error) is ValueRefused else {"error": self._described(error)}
        with self._turn:
            self._questions -= 1
            try:
                self._channel.send({"id": message["id"], **answer}, sent)
            except Exception as error:  # noqa: BLE001 - the channel has bounds of its own
                self._channel.send({"id": message["id"], "refused": str(error)})

    def _carry_out(self, message: dict[str, Any], blobs: Sequence[bytes], sent: list[bytes]) -> dict[str, Any]:
        verb, target = message["verb"], message["target"]
        if verb == "drop":
            self._handles.pop(target, None)
            return {"value": None}
        found = self._find(target)
        if message.get("name") is not None:
            found = getattr(found, message["name"])
        if verb == "get":
            return {"value": encode(found, sent)}
        arguments = decode(message["arguments"], blobs, self._callback, self._handles.__getitem__)
        keywords = decode(message["keywords"], blobs, self._callback, self._handles.__getitem__)
        result = found(*arguments, **keywords)
        if verb == "call":
            return {"value": encode(result, sent)}
        self._kept += 1
        self._handles[self._kept] = result
        return {"handle": self._kept}

    def _find(self, target: str | int | None) -> Any:
        if target is None:
            return _itself
        if isinstance(target, int):
            return self._handles[target]
        try:
            return self._namespace[target]
        except KeyError:
            raise NameError(f"the notebook does not define {target}") from None

    def _callback(self, number: int) -> Callable[..., Any]:
        def callback(*arguments: Any, **keywords: Any) -> Any:
            return self._ask(number, list(arguments), keywords)

        return callback

    def _ask(self, number: int, arguments: list[Any], keywords: dict[str, Any]) -> Any:
        if os.getpid() != self._process:
            raise RuntimeError("this function can be called only in the process that was given it")
        sent: list[bytes] = []
        question = {"callback": number, "arguments": encode(arguments, sent), "keywords": encode(keywords, sent)}
        with self._turn:
            if not self._questions:
                raise RuntimeError("this function can be called only until the call that was given it returns")
            self._channel.send(question, sent)
            while True:
                message, blobs = self._channel.receive(None)
                if "verb" not in message:
                    break
                self.answer(message, blobs)
        if "error" in message:
            raise _rebuilt(message["error"])
        return decode(message["value"], blobs, self._callback)

    def _described(self, error: BaseException) -> dict[str, Any]:
        try:
            text = str(error)
        except Exception as unprintable:  # noqa: BLE001 - a student's exception may do anything
            text = f"(its text cannot be had: {type(unprintable).__name__})"
        names = [kind.__name__ for kind in type(error).__mro__ if kind is not object]
        return {"names": names, "message": text[:MAX_TEXT], "where": self._where(error)}

    @staticmethod
    def _where(error: BaseException) -> str:
        """Returns the innermost line of the notebook that the exception has passed."""
        where = ""
        trace = error.__traceback__
        while trace is not None:
            code = trace.tb_frame.f_code
            if trace.tb_frame.f_globals.get("__name__") == "__main__":  # a notebook's cells
                line = linecache.getline(code.co_filename, trace.tb_lineno).strip()
                where = f"in {code.co_name}, line {trace.tb_lineno} of its cell: {line}"
            trace = trace.tb_next
        return where[:MAX_TEXT]


def _itself(value: Any) -> Any:
    return value


def _rebuilt(error: dict[str, Any]) -> Exception:
    """Returns what a callback has raised, as the built-in exception of that name or as a RuntimeError."""
    kind = getattr(builtins, str(error["name"]), None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            return kind(error["message"])
        except TypeError:  # UnicodeDecodeError and the like want more
            pass
    return RuntimeError(f"{error['name']}: {error['message']}")
