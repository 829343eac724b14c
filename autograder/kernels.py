"""A student's Triton kernel as a criterion sees it: cut out of the notebook, compiled and run away from all else of it.

One text, by its hash, is compiled and run. A kernel is compiled before it is run, with the very types and constants of
the run: the interpreter accepts what the compiler rejects, and what the compiler leaves out must not be run either.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from autograder.acceptance import Failed, NotRun
from autograder.asker import MAX_TEXT
from autograder.kernel_bench import KernelBench
from autograder.lifting import Cells, LiftedKernel, Refused
from autograder.values import ValueRefused, decode, encode

if TYPE_CHECKING:
    import torch

RUN_ARCH = 80
"""What a kernel is compiled for before it is run."""

LONGEST = 3600.0
"""Seconds that a question may take where the deadline interrupts by itself."""

Counting = Callable[[], AbstractContextManager[None]]

_TYPES = {
    "bool": "i1",
    "uint8": "u8",
    "float16": "fp16",
    "bfloat16": "bf16",
    "float32": "fp32",
    "float64": "fp64",
    **{f"int{bits}": f"i{bits}" for bits in (8, 16, 32, 64)},
}

_INTEGERS = {"i32": range(-(1 << 31), 1 << 31), "i64": range(-(1 << 63), 1 << 63), "u64": range(1 << 64)}


@dataclass(frozen=True)
class Cubin:
    """GPU code that was compiled from a kernel.

    Attributes:
        arch: 80 for sm_80, and so on.
        source: The sha256 of the kernel's text.
        sha256: Of the code.
        data: The code, an ELF file.
    """

    arch: int
    source: str
    sha256: str
    data: bytes


class Kernels:
    """The kernels of one notebook."""

    def __init__(self, bench: KernelBench, cells: Sequence[str]) -> None:
        """Takes where they are compiled and run, and the notebook's code cells, in order."""
        self._bench = bench
        self._sources = cells

    @cached_property
    def _cells(self) -> Cells:
        return Cells(self._sources)

    def get(
        self, name: str, left: Callable[[], float], note: Callable[[str, str], None], counting: Counting = nullcontext
    ) -> "Kernel":
        """Cuts a kernel out.

        Args:
            name: Of the `@triton.jit` function.
            left: Gives the seconds that are left for what it is asked.
            counting: Makes a block that is counted in them.
            note: Takes down what was asked, and what came.

        Raises:
            Failed: There is no such kernel, or it cannot be lifted.
        """
        try:
            return Kernel(self._cells.lift(name), self._bench, left, note, counting)
        except Refused as error:
            raise Failed(str(error)) from error


class Kernel:
    """A lifted kernel.

    Arguments are given as to the kernel itself: values for its parameters, by position or by name. Tensors arrive
    contiguous; another layout is passed as a kernel sees it, with strides. A tensor that is given twice becomes two.

    Attributes:
        name: Of the function.
        text: What was cut out.
        sha256: Of the text.
    """

    def __init__(
        self,
        lifted: LiftedKernel,
        bench: KernelBench,
        left: Callable[[], float],
        note: Callable[[str, str], None],
        counting: Counting = nullcontext,
    ) -> None:
        self.name, self.text, self.sha256 = lifted.name, lifted.text, lifted.sha256
        self._lifted, self._bench, self._left, self._note = lifted, bench, left, note
        self._counting = counting
        self._cubins: dict[str, Cubin] = {}

    def compile(self, arch: int, *arguments: Any, num_warps: int = 4, num_stages: int = 3, **keywords: Any) -> Cubin:
        """Compiles the kernel; needs no GPU.

        Args:
            arch: 80 for sm_80, and so on.
            *arguments: Values, of which the types count; or types as Triton writes them: "*fp16", "i32".
            num_warps: As when a kernel is started.
            num_stages: Likewise.
            **keywords: Values or types by name. Those of `tl.constexpr` parameters are values.

        Raises:
            Failed: It does not compile, or does not have these parameters.
            NotRun: Triton is missing.
            WorkerLost: The compiler crashed, or took too long.
        """
        bound = self._bound(arguments, keywords)
        constexprs = {name: value for name, value in bound.items() if self._is_constant(name, value)}
        question = {
            "verb": "compile",
            "text": self.text,
            "name": self.name,
            "signature": {name: _type(value) for name, value in bound.items() if name not in constexprs},
            "constexprs": encode(constexprs, []),
            "arch": arch,
            "options": {"num_warps": num_warps, "num_stages": num_stages},
        }
        if (known := self._cubins.get(repr(question))) is not None:
            return known
        asked = f"{self.name} for sm_{arch} with {_listed({**question['signature'], **constexprs})}"
        data = self._ask(question, [], interpret=False, asked=asked, wrong=f"does not compile for sm_{arch}")
        if not isinstance(data, bytes):
            raise Failed(f"{self.name} was compiled to something that is no code")
        self._note(asked, f"{len(data)} bytes")
        cubin = Cubin(arch, self.sha256, hashlib.sha256(data).hexdigest(), data)
        self._cubins[repr(question)] = cubin
        return cubin

    def run(self, grid: Sequence[int], *arguments: Any, **keywords: Any) -> "list[torch.Tensor]":
        """Compiles the kernel, then runs it in Triton's interpreter.

        Args:
            grid: How many programs there are, in one to three dimensions.
            *arguments: Values.
            **keywords: Values by name.

        Returns:
            What its tensors hold then, in the order of its parameters.

        Raises:
            Failed: It does not compile, raises, leaves the bounds of its tensors, or does not have these parameters.
            NotRun: Triton is missing; or it computes in bfloat16, in which the interpreter is wrong.
            WorkerLost: A process crashed, or took too long.
        """
        bound = self._bound(arguments, keywords)
        tensors = [value for value in bound.values() if _dtype(value)]
        if "tl.bfloat16" in self.text or any(_dtype(tensor) == "bfloat16" for tensor in tensors):
            raise NotRun("bfloat16 can be compiled here and not run: Triton's interpreter computes it wrongly")
        self.compile(RUN_ARCH, **bound)
        blobs: list[bytes] = []
        question = {
            "verb": "run",
            "text": self.text,
            "name": self.name,
            "grid": list(grid),
            "types": {name: _type(value) for name, value in bound.items() if self._is_number(name, value)},
            "arguments": encode(bound, blobs),
        }
        asked = f"{self.name}[{', '.join(map(str, grid))}]({_listed(bound)})"
        after = self._ask(question, blobs, interpret=True, asked=asked, wrong="fails")
        if type(after) is not list or list(map(_kind, after)) != list(map(_kind, tensors)):
            raise Failed(f"{self.name} gave back other tensors than it was given")
        self._note(asked, "")
        return after

    def _bound(self, arguments: Sequence[Any], keywords: dict[str, Any]) -> dict[str, Any]:
        """Returns the values by the names of the parameters, in their order."""
        parameters = self._lifted.parameters
        names = [parameter.name for parameter in parameters]
        bound = {parameter.name: parameter.default for parameter in parameters if parameter.optional}
        given = dict(zip(names, arguments, strict=False))
        extra = [name for name in keywords if name not in names or name in given]
        bound |= given | keywords
        missing = [name for name in names if name not in bound]
        if len(arguments) > len(names) or extra or missing:
            passed = [*(f"{len(arguments)} values by position" for _ in arguments[:1]), *keywords]
            raise Failed(f"{self.name} has the parameters {', '.join(names)}; it is given {', '.join(passed)}")
        return {name: bound[name] for name in names}

    def _is_constant(self, name: str, value: Any) -> bool:
        return value is None or any(known.constexpr for known in self._lifted.parameters if known.name == name)

    def _is_number(self, name: str, value: Any) -> bool:
        return not self._is_constant(name, value) and not _dtype(value)

    def _ask(self, question: dict[str, Any], blobs: list[bytes], *, interpret: bool, asked: str, wrong: str) -> Any:
        try:
            with self._counting():
                seconds = min(self._left(), LONGEST)
                answer, found = self._bench.ask(question, blobs, interpret=interpret, seconds=seconds)
        except Exception as error:
            self._note(asked, str(error))
            raise
        if "error" in answer:
            self._note(asked, wrong)
            raise Failed(f"{self.name} {wrong}: {str(answer['error'])[:MAX_TEXT]}")
        try:
            return decode(answer.get("value"), found)
        except ValueRefused as error:
            raise Failed(f"{self.name}: {error}") from error


def _dtype(value: Any) -> str:
    """Returns the name of a tensor's dtype; nothing for what is no tensor."""
    return str(value.dtype).removeprefix("torch.") if type(value).__name__ == "Tensor" else ""


def _kind(value: Any) -> tuple[str, tuple[int, ...]]:
    return _dtype(value), tuple(getattr(value, "shape", ()))


def _type(value: Any) -> str:
    """Returns the type of an argument as Triton writes it; a text is such a type already."""
    if isinstance(value, str):
        return value
    if (dtype := _dtype(value)) in _TYPES:
        return f"*{_TYPES[dtype]}"
    if isinstance(value, bool):
        return "i1"
    if isinstance(value, float):
        return "fp32"
    if not isinstance(value, int):
        raise TypeError(f"a kernel takes tensors and numbers, not {dtype or type(value).__name__}")
    for name, numbers in _INTEGERS.items():
        if value in numbers:
            return name
    raise TypeError(f"a kernel takes integers of up to 64 bits, not {value:#x}"[:200])


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(
        f"{name}={_dtype(value)}{list(value.shape)}" if _dtype(value) else f"{name}={value!r:.40}"
        for name, value in values.items()
    )
