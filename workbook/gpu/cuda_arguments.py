"""What a kernel on a CPU is given, as bytes, and what comes back.

A tensor is passed as the part of its storage that its elements lie in, at the same distance from a multiple of 256
bytes as on a GPU, so that a slice is as little aligned here as there. Elements between its own, of a view with strides,
are no part of it.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workbook.gpu.cuda_source import Parameter, Signature

if TYPE_CHECKING:
    import torch

ALIGNED = 256
"""To how many bytes CUDA aligns the memory that it gives."""

_SIGNED = {"uint16": "int16", "uint32": "int32", "uint64": "int64", "uint8": "int8"}


@dataclass
class Arguments:
    """The arguments of one launch.

    Attributes:
        tensors: Of each buffer, [size, distance from an aligned place, whether it has a mask].
        values: Of each parameter, [1, buffer] or [0, the bits of a number].
        blobs: The bytes of each buffer, followed by its mask where it has one.
    """

    tensors: list[list[int]] = field(default_factory=list)
    values: list[list[int]] = field(default_factory=list)
    blobs: list[bytes] = field(default_factory=list)


def packed(signature: Signature, arguments: Sequence[Any]) -> Arguments:
    """Returns the arguments as bytes.

    Raises:
        TypeError: They are not of the kernel's types; says which parameter and why.
    """
    if len(arguments) != len(signature.parameters):
        names = ", ".join(parameter.name for parameter in signature.parameters)
        raise TypeError(f"{signature.name} takes {len(signature.parameters)} arguments ({names}), not {len(arguments)}")
    made = Arguments()
    known: dict[tuple[Any, ...], int] = {}
    for parameter, value in zip(signature.parameters, arguments, strict=True):
        if not parameter.pointer:
            made.values.append([0, _bits(parameter, value)])
            continue
        _check(parameter, value)
        key = (value.data_ptr(), tuple(value.shape), value.stride(), value.dtype)
        if value.numel() == 0 or key not in known:  # given twice, it is one tensor here too
            known[key] = len(made.tensors)
            _add(made, value)
        made.values.append([1, known[key]])
    return made


def unpacked(
    signature: Signature, arguments: Sequence[Any], made: Arguments, buffers: Sequence[bytes]
) -> "dict[str, torch.Tensor]":
    """Returns the tensors by the names of their parameters, of the same layout, with the bytes that they have now."""
    import torch

    tensors = {}
    for parameter, value, (pointer, place) in zip(signature.parameters, arguments, made.values, strict=True):
        if not pointer:
            continue
        if not value.numel():
            tensors[parameter.name] = torch.empty_like(value)
            continue
        span = torch.frombuffer(bytearray(buffers[place]), dtype=torch.uint8).view(value.dtype)
        tensors[parameter.name] = span.as_strided(value.shape, value.stride())
    return tensors


def _add(made: Arguments, tensor: "torch.Tensor") -> None:
    import torch

    size = tensor.element_size()
    length = 1 + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride(), strict=True))
    offset = int(tensor.storage_offset()) * size % ALIGNED
    if not tensor.numel():
        made.tensors.append([0, offset, 0])
        made.blobs.append(b"")
        return
    span = tensor.detach().as_strided((length,), (1,))
    made.blobs.append(span.view(torch.uint8).numpy().tobytes())
    own = torch.zeros(length, dtype=torch.bool)
    own.as_strided(tensor.shape, tensor.stride()).fill_(True)
    whole = bool(own.all())
    made.tensors.append([length * size, offset, int(not whole)])
    if not whole:
        made.blobs.append(own.repeat_interleave(size).numpy().tobytes())


def _check(parameter: Parameter, value: Any) -> None:
    if type(value).__name__ not in ("Tensor", "Parameter"):
        raise TypeError(f"{parameter.name} is {parameter.type}, so it takes a tensor, not {value!r:.50}")
    if value.device.type != "cpu":
        raise TypeError(f"{parameter.name} is a tensor on {value.device}, and others are on the CPU")
    dtype = str(value.dtype).removeprefix("torch.")
    if _SIGNED.get(dtype, dtype) != _SIGNED.get(parameter.dtype, parameter.dtype):
        raise TypeError(f"{parameter.name} is {parameter.type}, so it takes torch.{parameter.dtype}, not torch.{dtype}")


def _bits(parameter: Parameter, value: Any) -> int:
    """Returns a number as the kernel finds it in memory, filled up to 8 bytes."""
    fits = isinstance(value, int | float) and (isinstance(value, int) or parameter.code in "fde")
    if not fits or not parameter.code:
        raise TypeError(f"{parameter.name} is {parameter.type}, and {value!r:.50} is no such number")
    try:
        raw = struct.pack(f"<{parameter.code}", value)
    except (struct.error, OverflowError) as error:
        raise TypeError(f"{parameter.name} is {parameter.type}, and {value!r:.50} does not fit: {error}") from error
    return int.from_bytes(raw.ljust(8, b"\0"), "little")
