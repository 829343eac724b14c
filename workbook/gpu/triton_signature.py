"""The types of a kernel's arguments, as Triton writes them; it need not be installed for that."""

from typing import Any

_TYPES = {
    "bool": "i1",
    "float16": "fp16",
    "bfloat16": "bf16",
    "float32": "fp32",
    "float64": "fp64",
    "uint8": "u8",
    **{f"int{bits}": f"i{bits}" for bits in (8, 16, 32, 64)},
    "float8_e4m3fn": "fp8e4nv",
    "float8_e5m2": "fp8e5",
}

_INTEGERS = {"i32": range(-(1 << 31), 1 << 31), "i64": range(-(1 << 63), 1 << 63), "u64": range(1 << 64)}


def dtype_of(value: Any) -> str:
    """Returns the name of a tensor's dtype; nothing for what is no tensor."""
    return str(value.dtype).removeprefix("torch.") if type(value).__name__ in ("Tensor", "Parameter") else ""


def type_of(value: Any) -> str:
    """Returns the type of an argument; a text is such a type already.

    Args:
        value: A tensor, a number, or a type: "*fp16" for a pointer, "i32", "fp32".

    Raises:
        TypeError: A kernel takes no such argument.
    """
    if isinstance(value, str):
        return value
    if (dtype := dtype_of(value)) in _TYPES:
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
