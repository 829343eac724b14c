"""The values that may cross the wire: plain data and raw tensors, of exactly these types; no class is rebuilt by name.

`None`, `bool`, `int`, `float`, `str`, lists and dictionaries with plain string keys stand as themselves in JSON. The
rest is an object with one key that begins with `$`: `$tuple`, `$bytes`, `$dict`, `$tensor`, `$callback` for a function
of the judge, and `$handle` for an object that is in the notebook's process already. Bytes and tensors travel beside the
JSON as blobs.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

MAX_DEPTH = 32
"""Lists within lists, and so on."""

MAX_DIGITS = 4300
"""Digits of an integer: Python reads no more from text."""

MAX_KEYS = 1000
"""Entries of a dictionary with other keys than text. Numbers can be chosen so that all of them collide."""

MAX_DIMENSIONS = 64
"""Of a tensor: as many as numpy has. Sizes without end, each of thousands of digits, would take minutes to multiply."""

DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")
"""Of tensors, by torch's names."""

_PLAIN = (type(None), bool, int, float, str)
_BOUND = 10**MAX_DIGITS


class ValueRefused(TypeError):  # noqa: N818 - it says what happened to the value
    """A value is of a type that may not cross the wire, or nested too deeply."""


@dataclass(frozen=True)
class Handle:
    """An object that stays in the notebook's process; the judge holds its number.

    Attributes:
        number: By which the process knows it.
        label: How it was made, for evidence.
    """

    number: int
    label: str


def encode(value: Any, blobs: list[bytes], callback: Callable[[Callable[..., Any]], int] | None = None) -> Any:
    """Returns a value as JSON data that shares nothing with it.

    Args:
        value: Plain data, tensors, and where `callback` is given functions and handles.
        blobs: The bytes of tensors are appended to it.
        callback: Keeps a function and returns the number by which it can be called.

    Raises:
        ValueRefused: The value, or one in it, is of another type: also of a subclass.
    """
    return _encode(value, blobs, callback, 0)


def _encode(value: Any, blobs: list[bytes], callback: Callable[[Callable[..., Any]], int] | None, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ValueRefused(f"the value is nested more than {MAX_DEPTH} deep")
    kind = type(value)
    if kind is int and not -_BOUND < value < _BOUND:
        raise ValueRefused(f"the integer has more than {MAX_DIGITS} digits")
    if kind in _PLAIN:
        return value
    if kind is list:
        return [_encode(item, blobs, callback, depth + 1) for item in value]
    if kind is tuple:
        return {"$tuple": [_encode(item, blobs, callback, depth + 1) for item in value]}
    if kind is bytes:
        blobs.append(value)
        return {"$bytes": len(blobs) - 1}
    if kind is dict:
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {key: _encode(item, blobs, callback, depth + 1) for key, item in value.items()}
        if len(value) > MAX_KEYS:
            raise ValueRefused(f"the dictionary has more than {MAX_KEYS} keys, and they are not all plain text")
        pairs = [[_encode(part, blobs, callback, depth + 1) for part in pair] for pair in value.items()]
        return {"$dict": pairs}
    torch = sys.modules.get("torch")  # where it is not imported, no value is a tensor
    if torch is not None and kind is torch.Tensor:
        return {"$tensor": _tensor(value, blobs)}
    if callback is not None and kind is Handle:
        return {"$handle": value.number}
    if callback is not None and callable(value):
        return {"$callback": callback(value)}
    raise ValueRefused(
        f"a value of type {kind.__qualname__} cannot be passed: plain values are None, bool, int, float, str, bytes, "
        "list, tuple, dict and torch.Tensor, and no subclass of theirs"
    )


def _tensor(tensor: torch.Tensor, blobs: list[bytes]) -> dict[str, Any]:
    import torch

    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in DTYPES or tensor.layout != torch.strided or tensor.is_quantized:
        raise ValueRefused(f"a tensor of dtype {dtype} and layout {tensor.layout} cannot be passed")
    if tensor.dim() > MAX_DIMENSIONS:
        raise ValueRefused(f"a tensor of more than {MAX_DIMENSIONS} dimensions cannot be passed")
    blobs.append(tensor_bytes(tensor))
    return {"dtype": dtype, "shape": list(tensor.shape), "blob": len(blobs) - 1}


def tensor_bytes(tensor: torch.Tensor) -> bytes:
    """Returns what a tensor holds, element by element: bytes tell NaN from a number, and -0 from 0."""
    import torch

    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def decode(
    data: Any,
    blobs: Sequence[bytes],
    callback: Callable[[int], Callable[..., Any]] | None = None,
    handle: Callable[[int], Any] | None = None,
) -> Any:
    """Returns the value that `encode` has made into `data`; tensors are on the CPU. The data may come from anybody.

    Args:
        data: What `json.loads` has returned: nothing in it is of a type beyond JSON's.
        blobs: What came beside it.
        callback: Makes a function of a callback's number; without it, callbacks are refused.
        handle: Finds the object of a handle's number; without it, handles are refused.

    Raises:
        ValueRefused: It is not what `encode` makes.
    """
    try:
        return _decode(data, _Given(list(blobs), callback, handle), 0)
    except ValueRefused:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, OverflowError) as error:
        raise ValueRefused(f"a value came malformed: {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class _Given:
    """What a value is made of besides its JSON."""

    blobs: list[bytes | None]  # None for one that has been taken
    callback: Callable[[int], Callable[..., Any]] | None
    handle: Callable[[int], Any] | None


def _decode(data: Any, given: _Given, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ValueRefused(f"the value is nested more than {MAX_DEPTH} deep")
    if type(data) in _PLAIN:
        return data
    if type(data) is list:
        return [_decode(item, given, depth + 1) for item in data]
    tag = next((key for key in data if key.startswith("$")), None)
    if tag is None:
        return {key: _decode(item, given, depth + 1) for key, item in data.items()}
    (content,) = data.values()
    match tag:
        case "$tuple" if type(content) is list:
            return tuple(_decode(item, given, depth + 1) for item in content)
        case "$dict" if len(content) <= MAX_KEYS and all(type(pair) is list for pair in content):
            return {_decode(key, given, depth + 1): _decode(item, given, depth + 1) for key, item in content}
        case "$bytes":
            return _blob(content, given.blobs)
        case "$tensor":
            return _decode_tensor(content, given.blobs)
        case "$callback" if given.callback is not None and type(content) is int:
            return given.callback(content)
        case "$handle" if given.handle is not None and type(content) is int:
            return given.handle(content)
    raise ValueRefused(f"a value came with the tag {tag[:20]!r}")


def _blob(index: Any, blobs: list[bytes | None]) -> bytes:
    """Takes a blob, each once: else a few bytes of JSON, repeated, would make gigabytes of one tensor's blob."""
    if type(index) is not int or not 0 <= index < len(blobs) or (data := blobs[index]) is None:
        raise ValueRefused("a value came without its bytes")
    blobs[index] = None
    return data


def _decode_tensor(content: dict[str, Any], blobs: list[bytes | None]) -> torch.Tensor:
    import torch

    dtype, shape = content["dtype"], content["shape"]
    data = _blob(content["blob"], blobs)
    known = dtype in DTYPES and type(shape) is list and len(shape) <= MAX_DIMENSIONS
    if not known or not all(type(size) is int and 0 <= size < 2**63 for size in shape):
        raise ValueRefused("a tensor came with a dtype or shape that does not exist")
    kind: torch.dtype = getattr(torch, dtype)
    if math.prod(shape) * kind.itemsize != len(data):
        raise ValueRefused(f"a tensor came with {len(data)} bytes, its shape {shape} and dtype {dtype} need others")
    if not data:
        return torch.empty(shape, dtype=kind)
    tensor = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    # torch takes the bytes of a bool for 0 and 1 without looking, and computes nonsense with others.
    return (tensor != 0 if kind == torch.bool else tensor.view(kind)).reshape(shape)
