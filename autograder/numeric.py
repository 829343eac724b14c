"""What criteria of numeric work share: tolerances that follow from arithmetic, and what a pure function must not do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import permutations
from typing import TYPE_CHECKING, Any

from autograder.acceptance import Failed, Proxy, Work, equal, same
from autograder.asker import AnswerRaised
from autograder.values import Handle

if TYPE_CHECKING:
    import torch

FACTOR = 8.0
"""Roundings of the result's type that a right answer may be off by, before its sums are counted."""


def close(
    got: Any,
    wanted: torch.Tensor,
    dtype: torch.dtype,
    *,
    terms: int = 1,
    scale: torch.Tensor | None = None,
    hint: str = "",
) -> None:
    """Fails the criterion unless a tensor is what an oracle in fp64 says, as far as its type can hold it.

    The bound is `FACTOR * eps(dtype) * sqrt(terms) * scale`: rounding errors of a sum of n terms grow with sqrt(n)
    where they are independent (Higham, "Accuracy and Stability of Numerical Algorithms", section 2.6). Integers are
    exact.

    Args:
        got: What the work gave.
        wanted: What it should be, float64.
        dtype: The type that it should have.
        terms: How many terms are summed up for one element.
        scale: How large the terms are; None for the largest finite magnitude that is wanted along the last dimension.
            Where large terms cancel, the sum of their magnitudes.
        hint: What mistake looks like that.

    Raises:
        Failed: It is no tensor of that type and shape, or off by more, or has NaN or infinity at other places.
    """
    import torch

    if type(got) is not torch.Tensor:
        raise Failed(f"expected a tensor, got a value of type {type(got).__name__}", hint)
    if got.dtype != dtype:
        raise Failed(f"expected a tensor of {dtype}, got {got.dtype}", hint)
    if got.shape != wanted.shape:
        raise Failed(f"expected shape {tuple(wanted.shape)}, got {tuple(got.shape)}", hint)
    if not got.numel():
        return
    exact, rounded = got.double(), wanted.to(dtype).double()  # what is too large for the type is infinite in it
    finite = rounded.isfinite()
    odd = ~finite & ~((exact == rounded) | (exact.isnan() & rounded.isnan()))
    if scale is None:
        largest = torch.where(finite, wanted.abs(), 0.0)
        scale = largest.amax(-1, keepdim=True) if wanted.ndim else largest
    eps = torch.finfo(dtype).eps if dtype.is_floating_point else 0.0
    bound = (FACTOR * eps * math.sqrt(terms) * scale).expand(wanted.shape)
    off = torch.where(finite, (exact - wanted).abs(), 0.0)
    wrong = odd | ~(off <= bound)  # not the other way round: NaN is not below anything
    if wrong.any():
        place = tuple(int(index) for index in wrong.nonzero()[0])
        at = f" at {list(place)}" if place else ""
        raise Failed(
            f"{int(wrong.sum())} of {wrong.numel()} numbers are off by more than rounding: expected "
            f"{wanted[place].item():.6g}{at} and at most {bound[place].item():.3g} beside it, got "
            f"{exact[place].item():.6g}",
            hint,
        )


def pure(
    work: Work, name: str, cases: Sequence[tuple[Any, ...]], check: Callable[..., None], *, in_place: bool = False
) -> None:
    """Fails the criterion unless a function gives right results, the same each time, and touches nothing else.

    Each case is asked twice, with the others in between, and once more with the very tensors of another, which now hold
    other numbers. What is passed must come back as it was; what is given must not change when the function is called
    again or when its arguments are changed, nor with another of its results.

    Args:
        work: The student's work.
        name: The function in it.
        cases: Arguments, plain values and tensors; two of them have the same types and shapes, and other numbers.
        check: Called with a result and the arguments that it is of.
        in_place: The contract lets the function change its arguments.

    Raises:
        Failed: It is not pure, or `check` has failed.
        ValueError: No two cases have the same types and shapes.
    """
    pairs = [(one, other) for one, other in permutations(range(len(cases)), 2) if _alike(cases[one], cases[other])]
    if not pairs:
        raise ValueError("two cases must have the same types and shapes, and other numbers")
    asked = [_Case(work, name, case) for case in cases]
    for case in asked:
        check(case.value, *case.arguments)
    for case in reversed(asked):
        again = work.call(name, *case.arguments)
        if not same(again, case.value):
            raise Failed(
                f"the same question got another answer the second time: {_shown(case.value)}, then {_shown(again)}",
                "Is something kept from an earlier call, found again by an id, an address or a count?",
            )
    for case in asked:
        case.same_result("after other calls", "Does the result live in a buffer that the next call uses, too?")
        if not in_place:
            case.same_arguments()
    for first, second in pairs[:2]:
        wanted = asked[second].value
        if not same(asked[first].ask_with(cases[second]), wanted):
            raise Failed(
                f"the same tensors with other numbers in them got another answer than those numbers: {_shown(wanted)}",
                "Is something kept from an earlier call, found again by an id or an address?",
            )
    for case in asked:
        case.overwrite_arguments()
        case.same_result("after its arguments were changed", "The result shares memory with an argument: copy it.")
    for number, case in enumerate(asked, 1):
        case.overwrite_result()
        for other in asked[number:]:
            other.same_result("after another result was changed", "Two results share memory: make each its own.")
        if not same(work.call(name, *case.arguments), case.value):
            raise Failed(
                "a result was changed by who had asked for it, and the next who asked the same was given the change",
                "Is a result kept, and given again? Give a copy.",
            )


class _Case:
    """A call of which the arguments and the result stay in the notebook's process."""

    def __init__(self, work: Work, name: str, arguments: tuple[Any, ...]) -> None:
        self._work, self._name, self.arguments = work, name, arguments
        self._kept = [work.keep(argument) for argument in arguments]
        self._result = work.new(name, *self._kept)
        self.value = work.get(self._result)

    def same_arguments(self) -> None:
        for kept, argument in zip(self._kept, self.arguments, strict=True):
            equal(self._work.get(kept), argument, "The function changes its argument in place: work on a copy.")

    def same_result(self, when: str, hint: str) -> None:
        now = self._work.get(self._result)
        if not same(now, self.value):
            raise Failed(f"a result has changed {when}: it was {_shown(self.value)}, it is {_shown(now)}", hint)

    def ask_with(self, arguments: tuple[Any, ...]) -> Any:
        """Puts other numbers into the tensors that were passed, and passes them again."""
        for kept, argument in zip(self._kept, arguments, strict=True):
            for path, tensor in _tensors(argument):
                self._work.ask("new", _part(self._work, kept, path), "copy_", (tensor,))
        return self._work.call(self._name, *self._kept)

    def overwrite_arguments(self) -> None:
        for kept, argument in zip(self._kept, self.arguments, strict=True):
            for path, tensor in _tensors(argument):
                _overwrite(self._work, _part(self._work, kept, path), tensor)

    def overwrite_result(self) -> None:
        """Changes the tensors in the result, one after the other, and looks at those that are not changed yet."""
        tensors = list(_tensors(self.value))
        for number, (path, tensor) in enumerate(tensors, 1):
            with suppress(AnswerRaised):  # one of which a number stands in several places cannot be written to
                _overwrite(self._work, _part(self._work, self._result, path), tensor)
            if number < len(tensors):
                now = dict(_tensors(self._work.get(self._result)))
                if not all(same(now.get(path), tensor) for path, tensor in tensors[number:]):
                    raise Failed("two tensors of one result share memory", "Make each its own.")


def _tensors(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], torch.Tensor]]:
    """Yields the tensors in a value, each with the keys and indices that lead to it."""
    if type(value).__name__ == "Tensor":
        yield path, value
    elif isinstance(value, list | tuple | dict):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _tensors(part, (*path, key))


def _part(work: Work, whole: Proxy, path: tuple[Any, ...]) -> Proxy | Handle:
    part: Proxy | Handle = whole
    for key in path:
        part = work.ask("new", part, "__getitem__", (key,))
    return part


def _overwrite(work: Work, target: Proxy | Handle, tensor: torch.Tensor) -> None:
    number = int(not tensor.any())  # one that is not there: NaN would do for floating point alone
    work.ask("new", work.ask("new", target, "detach"), "fill_", (number,))


def _alike(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether two cases differ in nothing but the numbers in their tensors."""
    return _form(one) == _form(other) and not same(one, other)


def _form(value: Any) -> Any:
    if type(value).__name__ == "Tensor":
        return value.dtype, value.shape
    if isinstance(value, dict):
        return {key: _form(part) for key, part in value.items()}
    return [type(value), *map(_form, value)] if isinstance(value, list | tuple) else value


def _shown(value: Any) -> str:
    return f"{value!r:.200}"
