"""Acceptance criteria of exercise 97.1: a softmax."""

import random
from typing import Any

import torch

from autograder.acceptance import Work, criterion
from autograder.numeric import close, pure
from autograder.shrinking import for_all

PRELOAD = ("torch",)


def drawn(rng: random.Random, rows: int, columns: int) -> torch.Tensor:
    """Logits of up to ±1e4."""
    generator = torch.Generator().manual_seed(rng.getrandbits(32))
    return torch.randn(rows, columns, generator=generator) * rng.choice([1.0, 30.0, 1e4])


def right(got: Any, x: torch.Tensor) -> None:
    """Compares with the softmax in fp64."""
    close(got, x.double().softmax(-1), torch.float32, terms=x.shape[-1], hint="Is the maximum subtracted?")


@criterion(hint=("What is exp(1000)?", "Subtract each row's maximum first."), seconds=20, numeric="softmax")
def matches_the_oracle(work: Work, rng: random.Random) -> None:
    """`softmax(x)` is right for any shape, and for logits of up to 1e4."""

    def case(rng: random.Random) -> None:
        x = drawn(rng, rng.randrange(1, 5), rng.randrange(2, 40))
        right(work.call("softmax", x), x)

    for_all(work, rng, case)


@criterion(hint="The same question has the same answer, and nothing else changes.", seconds=20, numeric="softmax")
def is_pure(work: Work, rng: random.Random) -> None:
    """`softmax` changes nothing but what it returns."""
    pure(work, "softmax", [(drawn(rng, rows, 7),) for rows in (2, 3, 3)], right)
