"""The wire's outer end: puts the judge's questions to a notebook's process, and answers its callbacks.

All that comes back is untrusted. An answer is plain data of known types, or the criterion fails.
"""

from __future__ import annotations

import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from autograder.alarm import DeadlinePassed, alarm
from autograder.values import Handle, ValueRefused, decode, encode

NO_ANSWER = "there was no answer in time"

DIED = "the process died"

MAX_TEXT = 4000
"""Characters of a text from the other side that are kept."""


class CriterionEnded(Exception):  # noqa: N818 - it says what happened
    """Ends a criterion, wherever it is raised: also in a callback, under the student's code."""


class AnswerRaised(Exception):  # noqa: N818 - it says what happened
    """The student's code raised an exception.

    Attributes:
        names: Its class and the classes above it.
        message: Its text.
        where: The line of the notebook that raised it, where that is known.
    """

    def __init__(self, names: Sequence[str], message: str, where: str = "") -> None:
        super().__init__(": ".join(filter(None, [names[0], message])) + (f" ({where})" if where else ""))
        self.names = tuple(names)
        self.message = message
        self.where = where


class AnswerRefused(Exception):  # noqa: N818 - it says what happened
    """The student's code gave something that is no plain value."""


class WorkerLost(CriterionEnded):
    """The notebook's process cannot be asked any more: it died, it did not answer in time, or broke the protocol."""


@dataclass(frozen=True)
class Footprint:
    """What a notebook's process has running and lying about, seen from outside of it.

    Attributes:
        processes: Names of the processes that it has started and that live, by process id.
        threads: How many it has.
        sockets: Paths of socket files.
        unseen: How many processes and threads it has beyond those that were found one by one; at most 0 for none.
    """

    processes: dict[int, str]
    threads: int
    sockets: frozenset[str]
    unseen: int = 0


class Asker(ABC):
    """Puts questions to one process that has executed a notebook."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[..., Any]] = []
        self._ended_by: CriterionEnded | None = None  # raised by a callback
        self._questions = 0

    @abstractmethod
    def deadline(self, seconds: float) -> AbstractContextManager[None]:
        """Returns a block of which every question must be answered within `seconds` of its begin; they nest."""

    def left(self) -> float:
        """Returns the seconds until the deadline; infinity where the deadline interrupts by itself."""
        return math.inf

    def counting(self) -> AbstractContextManager[None]:
        """Returns a block that counts in the deadlines; what is asked counts in any case."""
        return nullcontext()

    @abstractmethod
    def footprint(self) -> Footprint:
        """Returns what runs and lies about now."""

    @abstractmethod
    def _exchange(self, message: dict[str, Any], blobs: Sequence[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        """Sends a question and returns its answer, having answered the callbacks in between.

        Raises:
            WorkerLost: There is no answer.
        """

    def ask(
        self,
        verb: str,
        target: str | Handle | None,
        name: str | None = None,
        arguments: Sequence[Any] = (),
        keywords: dict[str, Any] | None = None,
        label: str = "",
    ) -> Any:
        """Puts a question.

        Args:
            verb: "new", "call", "get" or "drop".
            target: A name in the notebook, an object that stays there, or for "new" None: the argument itself stays.
            name: An attribute of the target: a method, for "new" and "call".
            arguments: Plain values, tensors, handles, and functions, which become callbacks.
            keywords: Likewise.
            label: Of the handle that "new" returns.

        Returns:
            A plain value; of "new" a Handle.

        Raises:
            AnswerRaised: The student's code raised an exception.
            AnswerRefused: It gave no plain value.
            WorkerLost: There is no answer.
            ValueRefused: An argument cannot be passed: a mistake in the criterion.
        """
        blobs: list[bytes] = []
        self._questions += 1
        message = {
            "id": self._questions,
            "verb": verb,
            "target": target.number if isinstance(target, Handle) else target,
            "name": name,
            "arguments": encode(list(arguments), blobs, self._keep),
            "keywords": encode(dict(keywords or {}), blobs, self._keep),
        }
        answer, found = self._exchange(message, blobs)
        if self._ended_by is not None:
            ended_by, self._ended_by = self._ended_by, None
            raise ended_by
        return self._read(verb, answer, found, label)

    def _keep(self, function: Callable[..., Any]) -> int:
        self._callbacks.append(function)
        return len(self._callbacks) - 1

    def _read(self, verb: str, answer: dict[str, Any], blobs: Sequence[bytes], label: str) -> Any:
        if verb == "new" and type(answer.get("handle")) is int:
            return Handle(answer["handle"], label)
        if verb != "new" and "value" in answer and "handle" not in answer:
            try:
                return decode(answer["value"], blobs)
            except ValueRefused as error:
                raise AnswerRefused(str(error)) from error
        if "refused" in answer:
            raise AnswerRefused(str(answer["refused"])[:MAX_TEXT])
        raised = answer.get("error")
        if isinstance(raised, dict) and isinstance(raised.get("names"), list) and raised["names"]:
            names = [str(name)[:100] for name in raised["names"][:20]]
            raise AnswerRaised(names, str(raised.get("message"))[:MAX_TEXT], str(raised.get("where", ""))[:MAX_TEXT])
        raise AnswerRefused("the answer is malformed")

    def has_lent(self, number: object) -> bool:
        """Returns whether a function has been passed along under this number."""
        return type(number) is int and 0 <= number < len(self._callbacks)

    def answer_callback(self, message: dict[str, Any], blobs: Sequence[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        """Calls the function that a callback names; returns the answer to send.

        What the function raises is raised in the student's code. A CriterionEnded (an unmet expectation, for one) is
        raised by `ask` as well, once the student's code has returned.
        """
        sent: list[bytes] = []
        try:
            number = message["callback"]
            if not self.has_lent(number):
                raise LookupError("there is no such callback")
            arguments, keywords = decode(message["arguments"], blobs), decode(message["keywords"], blobs)
            if self._ended_by is not None:
                raise RuntimeError("the criterion has ended")
            value = encode(self._callbacks[number](*arguments, **keywords), sent, self._keep)
        except CriterionEnded as error:
            self._ended_by = error
            return {"error": {"name": "RuntimeError", "message": "the criterion has ended"}}, []
        except Exception as error:  # noqa: BLE001 - it goes to where the function was called
            return {"error": {"name": type(error).__name__, "message": str(error)}}, []
        return {"value": value}, sent


class BoxAsker(Asker):
    """Asks a worker in a box."""

    def __init__(self, box: Any) -> None:
        """Takes a `workbook.sandbox.isolation.server.Box` in which a notebook has been executed."""
        super().__init__()
        self._box = box
        self._left: list[float] = []  # seconds of each deadline that is open
        self.lost = ""  # why it cannot be asked any more

    @contextmanager
    def deadline(self, seconds: float) -> Iterator[None]:
        """See Asker. What the judge does by itself between two questions does not count: it is not the student's."""
        self._left.append(seconds)
        try:
            yield
        finally:
            self._left.pop()

    def left(self) -> float:
        """See Asker."""
        return min(self._left)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """See Asker."""
        began = time.monotonic()
        try:
            yield
        finally:
            took = time.monotonic() - began
            self._left = [left - took for left in self._left]

    def _exchange(self, message: dict[str, Any], blobs: Sequence[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        from workbook.sandbox.isolation.channel import ChannelClosed, ChannelError
        from workbook.sandbox.isolation.server import BoxDied

        if self.lost:
            raise WorkerLost(self.lost)
        try:
            with self.counting():
                self._box.send(message, blobs)
            while True:
                with self.counting():  # callbacks, too: a student's code may call them for ever
                    if self.left() <= 0:
                        raise TimeoutError
                    answer, found = self._box.receive(self.left())
                    if "callback" in answer:
                        if not self.has_lent(answer["callback"]):  # only what bypasses the wire can ask for that
                            raise ChannelError("a call of a function that was never lent")
                        self._box.send(*self.answer_callback(answer, found))
                if answer.get("id") == message["id"] and "callback" not in answer:
                    return answer, found
                if not {"callback", "message"} & answer.keys():  # what is printed comes as a kernel's message
                    raise ChannelError("an answer to no question")
        except TimeoutError:
            self.lost = NO_ANSWER
        except BoxDied as error:
            self.lost = f"{DIED}: {error.reason}"
        except (ChannelError, ChannelClosed) as error:
            self.lost = f"the process broke the protocol: {error}"
        raise WorkerLost(self.lost)

    def footprint(self) -> Footprint:
        """See Asker."""
        from autograder.footprint import box_footprint

        return box_footprint(self._box)


class LocalAsker(Asker):
    """Asks about objects in this process: the same questions, for a student's own check."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        """Takes the objects by name."""
        from autograder.wire import Responder

        super().__init__()
        self._loop = _Loop(self)
        self._responder = Responder(namespace, self._loop)

    def deadline(self, seconds: float) -> AbstractContextManager[None]:
        """See Asker. Off the main thread, and where the system has no alarm, there is no deadline."""
        return alarm(seconds)

    def _exchange(self, message: dict[str, Any], blobs: Sequence[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        self._responder.answer(message, blobs)
        answer, found = self._loop.answers.pop()
        if "error" in answer and answer["error"]["names"][0] == DeadlinePassed.__name__:
            raise WorkerLost(NO_ANSWER)
        return answer, found

    def footprint(self) -> Footprint:
        """See Asker."""
        from autograder.footprint import own_footprint

        return own_footprint()


class _Loop:
    """A channel between two ends in one process."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._callbacks = threading.local()  # a callback is answered in the thread that calls it
        self.answers: list[tuple[dict[str, Any], list[bytes]]] = []

    def send(self, message: dict[str, Any], blobs: Sequence[bytes] = ()) -> None:
        if "callback" in message:
            self._callbacks.answer = self._asker.answer_callback(message, blobs)
        else:
            self.answers.append((message, list(blobs)))

    def receive(self, timeout: float | None = None) -> tuple[dict[str, Any], list[bytes]]:  # noqa: ARG002
        answer: tuple[dict[str, Any], list[bytes]] = self._callbacks.answer
        return answer
