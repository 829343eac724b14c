"""What the author of an exercise writes acceptance criteria with.

A criterion is a short function with a docstring that students read. It puts questions to a student's work through a
`Work`, and states what it expects:

    @criterion(hint="Is the sum taken over all of the list?")
    def adds_up(work: Work, rng: random.Random) -> None:
        \"\"\"`total(numbers)` is the sum of the numbers.\"\"\"
        numbers = [rng.randrange(1000) for _ in range(10)]
        equal(work.call("total", numbers), sum(numbers))

The judge runs it against a process of its own with a secret seed; a student's `check` runs the same function against
the student's own objects with a public one.
"""

from __future__ import annotations

import math
import random
import reprlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from autograder.asker import AnswerRaised, Asker, CriterionEnded, Footprint
from autograder.values import Handle, tensor_bytes

if TYPE_CHECKING:
    from autograder.cuda_kernels import CudaKernel, CudaKernels
    from autograder.kernels import Kernel, Kernels
    from autograder.language_model import LanguageModel

__all__ = ["Failed", "NotRun", "Work", "criterion", "equal", "expect", "fails_with"]

SECONDS = 60.0
"""What a criterion may take, unless it says otherwise."""

SETTLING = 5.0
"""Seconds that what is being closed may take to be gone."""

EXCHANGES = 6
"""How many of the last questions a failed criterion shows."""

LOOKS = 3
"""How many times in a row nothing may be seen, for a look takes a moment in which a process may become another."""

LISTED = 10
"""How many of the things that were left behind are named."""

Run = Callable[["Work", random.Random], float | None]


class Failed(CriterionEnded):
    """The work does not meet the criterion.

    Attributes:
        message: What was expected and what came.
        hint: What mistake looks like that; may be empty.
        timed: Whether it took too long for something: on another day it may not.
    """

    def __init__(self, message: str, hint: str = "", *, timed: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.timed = timed


class NotRun(CriterionEnded):
    """The criterion cannot be run here: the machine lacks what it needs."""


@dataclass(frozen=True)
class Criterion:
    """An acceptance criterion.

    Attributes:
        id: The `grade_id` of its cell: the function's name with dashes.
        description: The function's docstring.
        hints: A ladder from vague to nearly there: a student is shown one more of it each time.
        seconds: What it may take as a whole.
        fresh: Whether it gets a process in which no other criterion has run.
        numeric: The notebook's function whose tensors it compares, if that is what it does: no decoy may meet it.
        run: The function. It may return the part of the points that is earned, from 0 to 1.
    """

    id: str
    description: str
    hints: tuple[str, ...]
    seconds: float
    fresh: bool
    numeric: str
    run: Run


def criterion(
    *, hint: str | tuple[str, ...], seconds: float = SECONDS, fresh: bool = False, numeric: str = ""
) -> Callable[[Run], Criterion]:
    """Makes a criterion of a function `(work, rng)`; its docstring is what students read.

    Args:
        hint: What a student whose work fails should think about; several from vague to nearly there.
        seconds: What it may take as a whole, on a busy machine.
        fresh: Give it a process in which no other criterion has run.
        numeric: The notebook's function (or `Class.method`) whose tensors it compares. `autograder matrix` then puts
            decoys in its place (zeros, NaN, the transpose, …), and each must fail.
    """

    def make(run: Run) -> Criterion:
        import inspect

        identity = run.__name__.replace("_", "-")
        description = inspect.getdoc(run)
        if not description:
            raise TypeError(f"criterion {identity} has no docstring: students read it")
        hints = (hint,) if isinstance(hint, str) else hint
        return Criterion(identity, description, hints, seconds, fresh, numeric, run)

    return make


class Work:
    """A student's work: what their notebook has defined, in a process that only answers questions.

    Attributes:
        exchanges: The last questions, with their answers.
        measured: What the criterion has measured, a line each; shown whether it is met or not.
        asked_model: Whether the language model was asked for.
    """

    def __init__(
        self,
        asker: Asker,
        llm: Callable[[], LanguageModel],
        kernels: Kernels | None = None,
        cuda_kernels: CudaKernels | None = None,
    ) -> None:
        """Takes who puts the questions, what gives the language model, and the notebook's kernels."""
        self._asker = asker
        self._llm = llm
        self._kernels = kernels
        self._cuda_kernels = cuda_kernels
        self.exchanges: list[str] = []
        self.measured: list[str] = []
        self.asked_model = False

    def new(self, name: str, *arguments: Any, **keywords: Any) -> Proxy:
        """Calls something that the notebook defines, a class for one, and leaves the result in its process."""
        handle = self.ask("new", name, None, arguments, keywords)
        return Proxy(self, handle)

    def call(self, name: str, *arguments: Any, **keywords: Any) -> Any:
        """Calls a function that the notebook defines; returns the plain value that it gives."""
        return self.ask("call", name, None, arguments, keywords)

    def get(self, target: str | Proxy, attribute: str | None = None) -> Any:
        """Returns the plain value of a name in the notebook, or of an attribute."""
        return self.ask("get", target, attribute)

    def keep(self, value: Any) -> Proxy:
        """Leaves a value in the notebook's process, where it can be an argument of calls, and looked at after them."""
        return Proxy(self, self.ask("new", None, None, (value,)))

    def drop(self, proxy: Proxy) -> None:
        """Lets go of an object in the notebook's process."""
        self.ask("drop", proxy)

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Fails the criterion if what is asked in the block is not answered within `seconds` of the block's begin."""
        with self._asker.deadline(seconds):
            yield

    @contextmanager
    def nothing_left(self) -> Iterator[None]:
        """Fails the criterion if the block leaves a process, a thread or a socket file behind, seen from outside."""
        before = self._asker.footprint()
        yield
        deadline = time.monotonic() + SETTLING
        looks = 0
        while looks < LOOKS:
            left = _left(before, self._asker.footprint())
            looks = 0 if left else looks + 1
            if left and time.monotonic() > deadline:
                more = f" and {len(left) - LISTED} more" if len(left) > LISTED else ""
                raise Failed(f"left behind: {', '.join(left[:LISTED])}{more}", timed=True)
            time.sleep(0.05)

    def llm(self) -> LanguageModel:
        """Returns the language model: SmolLM2 on vLLM, one for all that is graded in a run.

        Raises:
            NotRun: vLLM or the weights are missing.
        """
        self.asked_model = True
        return self._llm()

    def kernel(self, name: str) -> Kernel:
        """Cuts a `@triton.jit` function out of the notebook, to be compiled and run away from all else of it.

        Raises:
            Failed: The notebook has no such kernel, or it cannot be lifted.
            NotRun: There are only objects here, and no notebook.
        """
        if self._kernels is None:
            raise NotRun("kernels are cut out of a notebook, and there is none")
        return self._kernels.get(name, self._asker.left, self._note, self._asker.counting)

    def cuda(self, name: str, kernel: str | None = None) -> CudaKernel:
        """Cuts the text of a CUDA kernel out of the notebook, to be compiled and run away from all else of it.

        Args:
            name: What a cell assigns the text to: a constant.
            kernel: The `__global__` function in it; may be left out where there is one.

        Raises:
            Failed: The notebook has no such text, or it holds what it may not.
            NotRun: There are only objects here, and no notebook.
        """
        if self._cuda_kernels is None:
            raise NotRun("kernels are cut out of a notebook, and there is none")
        return self._cuda_kernels.get(name, kernel, self._asker.left, self._note, self._asker.counting)

    def ask(
        self,
        verb: str,
        target: str | Proxy | Handle | None,
        name: str | None = None,
        arguments: Sequence[Any] = (),
        keywords: dict[str, Any] | None = None,
    ) -> Any:
        """Puts a question, and notes it with its answer. See `autograder.asker.Asker.ask`."""
        target, *arguments = (item._handle if isinstance(item, Proxy) else item for item in (target, *arguments))
        if target is None:
            return self._asker.ask(verb, target, name, arguments, keywords, label=_short(*arguments))
        asked = target.label if isinstance(target, Handle) else target
        asked += f".{name}" if name else ""
        if verb in ("new", "call"):
            given = [_short(item) for item in arguments] + [f"{k}={_short(v)}" for k, v in (keywords or {}).items()]
            asked += f"({', '.join(given)})"
        try:
            answer = self._asker.ask(verb, target, name, arguments, keywords, label=asked)
        except Exception as error:
            said = "raised " if isinstance(error, AnswerRaised) else ""
            self._note(asked, said + _clip(str(error)))
            raise
        if name not in ("__enter__", "__exit__"):  # nobody has asked for these by name
            self._note(asked, "" if verb in ("new", "drop") else _short(answer))
        return answer

    def _note(self, asked: str, came: str) -> None:
        self.exchanges = [*self.exchanges, f"{asked} → {came}" if came else asked][-EXCHANGES:]


class Proxy:
    """An object in the notebook's process. `proxy.method(…)` calls its method there and returns the plain value."""

    def __init__(self, work: Work, handle: Handle) -> None:
        self._work = work
        self._handle = handle

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def method(*arguments: Any, **keywords: Any) -> Any:
            return self._work.ask("call", self._handle, name, arguments, keywords)

        return method

    def __enter__(self) -> Self:
        entered = self._work.ask("new", self._handle, "__enter__")
        return type(self)(self._work, Handle(entered.number, self._handle.label))

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        try:
            self._work.ask("new", self._handle, "__exit__", (None, None, None))
        except (AnswerRaised, CriterionEnded):
            if kind is None:  # what has ended the block already says more
                raise


def equal(got: Any, wanted: Any, hint: str = "") -> None:
    """Fails the criterion unless the two are of the same type and value, in all their parts; tensors bit by bit.

    Args:
        got: What the work gave.
        wanted: What it should be.
        hint: What mistake looks like that.

    Raises:
        Failed: They differ.
    """
    if not same(got, wanted):
        raise Failed(f"expected {_short(wanted)}, got {_short(got)}", hint)


def expect(condition: bool, message: str, hint: str = "") -> None:
    """Fails the criterion unless the condition holds.

    Args:
        condition: What should hold.
        message: What was expected and what came.
        hint: What mistake looks like that.

    Raises:
        Failed: It does not.
    """
    if not condition:
        raise Failed(message, hint)


@contextmanager
def fails_with(name: str, hint: str = "") -> Iterator[None]:
    """Fails the criterion unless the block raises an exception of that class in the student's code.

    Args:
        name: The class, or one above it.
        hint: What it means if nothing is raised, or something else.

    Raises:
        Failed: Nothing was raised, or an exception of another class.
    """
    try:
        yield
    except AnswerRaised as error:
        if name in error.names:
            return
        raise Failed(f"expected {name}, got {error}", hint) from error
    raise Failed(f"expected {name}, nothing was raised", hint)


def same(got: Any, wanted: Any) -> bool:
    """Returns whether two values are of the same type and value, in all their parts; tensors bit by bit."""
    if type(got) is not type(wanted):
        return False
    if isinstance(wanted, list | tuple):
        return len(got) == len(wanted) and all(map(same, got, wanted))
    if isinstance(wanted, dict):
        keys = {(type(key), key) for key in got} == {(type(key), key) for key in wanted}  # True is not 1
        return keys and all(same(got[key], wanted[key]) for key in wanted)
    if isinstance(wanted, float) and math.isnan(wanted):
        return math.isnan(got)
    torch = sys.modules.get("torch")  # where it is not imported, no value is a tensor
    if torch is not None and type(wanted) is torch.Tensor:
        return got.dtype == wanted.dtype and got.shape == wanted.shape and tensor_bytes(got) == tensor_bytes(wanted)
    return bool(got == wanted)


def _left(before: Footprint, after: Footprint) -> list[str]:
    left = [f"process {name} ({pid})" for pid, name in after.processes.items() if pid not in before.processes]
    if after.threads > before.threads:
        left.append(f"threads: {after.threads - before.threads}")
    if after.unseen > 0:
        left.append(f"processes that are gone before they can be named: {after.unseen}")
    return left + [f"socket {path}" for path in sorted(after.sockets - before.sockets)]


class _Repr(reprlib.Repr):
    """Shows values in a line. Of a tensor: torch's own way would take most of the time of many a criterion."""

    def repr_Tensor(self, tensor: Any, _level: int) -> str:  # noqa: N802 - reprlib takes the class's name
        numbers = tensor.detach().flatten()[: self.maxlist].tolist()
        shown = [f"{number:.6g}" if isinstance(number, float) else str(number) for number in numbers]
        more = ", …" if tensor.numel() > len(shown) else ""
        shape = " × ".join(map(str, tensor.shape)) or "a number"
        return f"tensor({shape}, {str(tensor.dtype).removeprefix('torch.')}: {', '.join(shown)}{more})"


_REPR = _Repr()
_REPR.maxstring = _REPR.maxother = 300
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = 12


def _short(value: Any) -> str:
    if isinstance(value, Handle):
        return value.label
    if callable(value):
        return f"<{getattr(value, '__name__', 'function')} of the judge>"
    return _clip(_REPR.repr(value))


def _clip(text: str) -> str:
    return text if len(text) <= 600 else text[:600] + " … [shortened]"
