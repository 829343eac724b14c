"""Online softmax: any blocks, any merges, masked rows, large scores, and inputs of few digits."""

import random

import pytest
import torch
from torch import Tensor

from workbook.attention.online import State, attend, finish, init, merge, update


def naive(scores: Tensor, values: Tensor) -> Tensor:
    weights = scores.double().softmax(1).nan_to_num(0.0)
    return weights @ values.double()


def close(got: Tensor, wanted: Tensor) -> None:
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-5)


def states(scores: Tensor, values: Tensor, *, size: int) -> list[State]:
    empty = init(len(scores), values.shape[1])
    starts = range(0, scores.shape[1], size)
    return [update(empty, scores[:, at : at + size], values[at : at + size]) for at in starts]


@pytest.mark.parametrize("magnitude", [1.0, 1e4])
@pytest.mark.parametrize("size", [1, 7, 50])
def test_blocks_in_any_order_and_merges_agree_with_softmax(magnitude: float, size: int) -> None:
    torch.manual_seed(0)
    scores, values = torch.randn(5, 50) * magnitude, torch.randn(50, 3)
    state = init(5, 3)
    for start in random.Random(0).sample(range(0, 50, size), len(range(0, 50, size))):
        state = update(state, scores[:, start : start + size], values[start : start + size])
    close(finish(state), naive(scores, values))
    parts = [init(5, 3), *states(scores, values, size=size)]
    while len(parts) > 1:
        parts.append(merge(parts.pop(0), parts.pop(0)))
    close(finish(parts[0]), naive(scores, values))


def test_rows_that_see_nothing_are_zeros() -> None:
    scores, values = torch.randn(3, 4), torch.randn(4, 2)
    mask = torch.tensor([[True] * 4, [False] * 4, [False, False, True, True]])
    state = update(init(3, 2), scores[:, :2], values[:2], mask[:, :2])
    state = update(state, scores[:, 2:], values[2:], mask[:, 2:])
    close(finish(state), naive(scores.masked_fill(~mask, -torch.inf), values))
    assert not finish(state)[1].any()
    assert not finish(merge(init(3, 2), init(3, 2))).any()


def test_blocks_without_keys_change_nothing() -> None:
    state = update(init(2, 3), torch.randn(2, 5), torch.randn(5, 3))
    again = update(state, torch.empty(2, 0), torch.empty(0, 3))
    assert all(map(torch.equal, again, state))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_over_shards_of_the_keys(dtype: torch.dtype) -> None:
    q, k, v = (torch.randn(n, 8).to(dtype) for n in (6, 100, 100))
    wanted = naive(q.double() @ k.double().T / 8**0.5, v)
    close(finish(attend(q, k, v, block=16)), wanted)
    close(finish(merge(attend(q, k[:30], v[:30], 16), attend(q, k[30:], v[30:], 16))), wanted)
