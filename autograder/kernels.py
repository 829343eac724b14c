"""A student's Triton kernel as a criterion sees it: cut out of the notebook, compiled and run away from all else of it.

One text, by its hash, is compiled and run. A kernel is compiled before it is run, with the very types and constants of
the run: the interpreter accepts what the compiler rejects, and what the compiler leaves out must not be run either.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

from autograder.acceptance import Failed, NotRun
from autograder.asker import MAX_TEXT
from autograder.kernel_bench import KernelBench
from autograder.kernel_boxes import LONGEST, RUN_ARCH, Counting
from autograder.lifting import Cells, LiftedKernel, Refused
from autograder.values import ValueRefused, decode, encode
from workbook.gpu.code import GpuCode
from workbook.gpu.triton_compile import gpu_code
from workbook.gpu.triton_compiler import packed
from workbook.gpu.triton_counts import Counts
from workbook.gpu.triton_signature import dtype_of, type_of

if TYPE_CHECKING:
    import torch


class Ran(tuple["torch.Tensor", ...]):
    """What a kernel's tensors hold after a run, in the order of its parameters.

    Attributes:
        counts: What the kernel has done: bytes by the names of its parameters, and floating-point operations.
    """

    counts: Counts

    def __new__(cls, tensors: "Iterable[torch.Tensor]", counts: Counts) -> "Ran":
        """Takes tensors and counts."""
        ran = super().__new__(cls, tensors)
        ran.counts = counts
        return ran


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

    Arguments are given as to the kernel itself: values for its parameters, by position or by name. A tensor may be a
    view: it arrives with its strides, and what lies between its elements is out of its bounds. A tensor that is given
    twice becomes two.

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
        self._codes: dict[str, GpuCode] = {}

    def compile(
        self,
        arch: int,
        *arguments: Any,
        num_warps: int = 4,
        num_stages: int = 3,
        aligned: Collection[str] = (),
        constants: Collection[str] = (),
        **keywords: Any,
    ) -> GpuCode:
        """Compiles the kernel; needs no GPU.

        Args:
            arch: 80 for sm_80, and so on.
            *arguments: Values, of which the types count; or types as Triton writes them: "*fp16", "i32".
            num_warps: As when a kernel is started.
            num_stages: Likewise.
            aligned: Parameters that 16 divides: addresses, strides, sizes. A launch on a GPU finds out by itself.
            constants: Parameters whose values are compiled in, besides those that are `tl.constexpr`. A launch on a GPU
                does that with the number 1.
            **keywords: Values or types by name. Those of `tl.constexpr` parameters are values.

        Raises:
            Failed: It does not compile, or does not have these parameters.
            NotRun: Triton is missing.
            WorkerLost: The compiler crashed, or took too long.
        """
        bound = self._bound(arguments, keywords)
        constexprs = {
            name: value for name, value in bound.items() if name in constants or self._is_constant(name, value)
        }
        question: dict[str, Any] = {
            "verb": "compile",
            "text": self.text,
            "name": self.name,
            "signature": {name: type_of(value) for name, value in bound.items() if name not in constexprs},
            "constexprs": {name: packed(value) for name, value in constexprs.items()},
            "aligned": sorted(aligned),
            "arch": arch,
            "options": {"num_warps": num_warps, "num_stages": num_stages},
        }
        if unknown := [name for name in question["aligned"] if name not in bound]:
            raise Failed(f"{self.name} has no {', '.join(unknown)}, of which 16 could be a divisor")
        if unknown := [name for name in constants if name not in bound]:
            raise Failed(f"{self.name} has no {', '.join(unknown)}, which could be a constant")
        if (known := self._codes.get(repr(question))) is not None:
            return known
        asked = f"{self.name} for sm_{arch} with {_listed({**question['signature'], **constexprs})}"
        made = self._ask(question, [], asked=asked, wrong=f"does not compile for sm_{arch}")
        try:
            code = gpu_code(self.name, arch, self.text, made if isinstance(made, dict) else {})
        except TypeError:
            raise Failed(f"{self.name} was compiled to something that is no code") from None
        self._note(asked, f"{len(code.cubin)} bytes")
        self._codes[repr(question)] = code
        return code

    def run(self, grid: Sequence[int], *arguments: Any, shuffle: int | None = None, **keywords: Any) -> Ran:
        """Compiles the kernel, then runs it on the CPU (`workbook.gpu.triton_cpu`).

        Args:
            grid: How many programs there are, in one to three dimensions.
            *arguments: Values.
            shuffle: A seed, from which the order of the programs is drawn; else they run by their numbers.
            **keywords: Values by name.

        Returns:
            What its tensors hold then, in the order of its parameters, and what it has done.

        Raises:
            Failed: It does not compile, raises, leaves the bounds of its tensors, or does not have these parameters.
            NotRun: Triton is missing, or another version than the one whose insides are known.
            WorkerLost: A process crashed, or took too long.
        """
        bound = self._bound(arguments, keywords)
        tensors = {name: value for name, value in bound.items() if dtype_of(value)}
        self.compile(RUN_ARCH, **bound)
        views = {name: value for name, value in tensors.items() if value.numel() and not value.is_contiguous()}
        blobs: list[bytes] = []
        question = {
            "verb": "run",
            "text": self.text,
            "name": self.name,
            "grid": list(grid),
            "shuffle": shuffle,
            "views": {name: [list(view.shape), list(view.stride())] for name, view in views.items()},
            "arguments": encode(bound | {name: _flat(view) for name, view in views.items()}, blobs),
        }
        asked = f"{self.name}[{', '.join(map(str, grid))}]({_listed(bound)})"
        answer = self._ask(question, blobs, asked=asked, wrong="fails")
        after = answer.get("tensors") if isinstance(answer, dict) else None
        if type(after) is not list or list(map(_kind, after)) != list(map(_kind, tensors.values())):
            raise Failed(f"{self.name} gave back other tensors than it was given")
        try:
            ran = Ran(after, _counts(answer["counts"]))
        except (TypeError, KeyError):
            raise Failed(f"{self.name} gave back no counts") from None
        self._note(asked, "")
        return ran

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

    def _ask(self, question: dict[str, Any], blobs: list[bytes], *, asked: str, wrong: str) -> Any:
        try:
            with self._counting():
                seconds = min(self._left(), LONGEST)
                answer, found = self._bench.ask(question, blobs, seconds=seconds)
        except Exception as error:
            self._note(asked, str(error))
            raise
        if "not run" in answer:
            self._note(asked, why := str(answer["not run"])[:MAX_TEXT])
            raise NotRun(why.removeprefix("not run: "))
        if "error" in answer:
            self._note(asked, wrong)
            raise Failed(f"{self.name} {wrong}: {str(answer['error'])[:MAX_TEXT]}")
        try:
            return decode(answer.get("value"), found)
        except ValueRefused as error:
            raise Failed(f"{self.name}: {error}") from error


def _kind(value: Any) -> tuple[str, tuple[int, ...]]:
    return dtype_of(value), tuple(getattr(value, "shape", ()))


def _flat(tensor: "torch.Tensor") -> "torch.Tensor":
    """Returns the memory from a tensor's first element to its last."""
    span = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.detach().as_strided((span,), (1,))


def _counts(data: Any) -> Counts:
    """Returns counts of what a process has sent; it is not trusted.

    Raises:
        TypeError: It is something else.
    """
    counts = Counts()
    for name, empty in vars(counts).items():
        value = data.get(name) if isinstance(data, dict) else None
        if isinstance(empty, Counter) and isinstance(value, dict) and all(type(part) is int for part in value.values()):
            setattr(counts, name, Counter(value))
        elif type(empty) is int and type(value) is int:
            setattr(counts, name, value)
        else:
            raise TypeError("these are no counts")
    return counts


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(
        f"{name}={dtype_of(value)}{list(value.shape)}" if dtype_of(value) else f"{name}={value!r:.40}"
        for name, value in values.items()
    )
