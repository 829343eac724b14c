"""Decoys: what a lazy or a lucky function might give instead of a right tensor. No numeric criterion may take one.

Each stands in front of the reference's function, calls it, and gives something else of the same form.
"""

from collections.abc import Iterator

_DECOYS = {
    "zeros": ("zeros of the right shape and type", "torch.zeros_like(right)"),
    "constant": (
        "the mean of the result everywhere",
        "torch.full_like(right, right.double().mean().nan_to_num().item())",
    ),
    "input": ("the first tensor that it was given", "given[0].clone() if given else torch.zeros_like(right)"),
    "nan": ("NaN everywhere; of integers, the largest", "torch.full_like(right, largest(right.dtype))"),
    "transpose": (
        "the result transposed; of a vector, reversed",
        "right.mT.contiguous() if right.ndim > 1 else right.flip(-1)",
    ),
    "dtype": (
        "the right numbers in a wider type",
        "right.to(torch.float64 if right.dtype == torch.float32 else torch.float32)",
    ),
}

_CODE = """
import functools

import torch


def largest(dtype):
    return float("nan") if dtype.is_floating_point else 1 if dtype == torch.bool else torch.iinfo(dtype).max


def wrong(right, decoy):
    # Of a single number, or of a symmetric matrix, a decoy may happen to be right: then it is another.
    if decoy.dtype != right.dtype or not torch.equal(decoy, right) or not right.numel():
        return decoy
    return ~right if right.dtype == torch.bool else right + 1


def decoy(function):
    @functools.wraps(function)
    def decoyed(*arguments, **keywords):
        values = [*arguments, *keywords.values()]
        given = [value for value in values if isinstance(value, torch.Tensor)]
        given = [value.detach().clone() for value in given]  # as they were before the call

        def instead(right):
            if isinstance(right, tuple | list):
                return type(right)(map(instead, right))
            return wrong(right, {instead}) if isinstance(right, torch.Tensor) else right

        return instead(function(*arguments, **keywords))

    return decoyed


{function} = decoy({function})
"""


def decoys(function: str) -> Iterator[tuple[str, str, str]]:
    """Yields the decoys of a function, or of a `Class.method`: name, what it gives, and the cell that makes it so."""
    for name, (about, instead) in _DECOYS.items():
        yield name, about, _CODE.replace("{function}", function).replace("{instead}", instead).strip()
