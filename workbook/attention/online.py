"""Softmax-weighted sums of values in one pass over blocks of keys, with states that can be merged.

A state is what the keys seen so far amount to, row by row: the largest score `m`, and relative to it the sum of the
weights `s` and the weighted sum of the values `o`. It has the same size however many keys there were, and states of
different keys can be merged in any order, wherever they were made (Milakov and Gimelshein, arXiv 1805.02867; Dao et
al., arXiv 2205.14135).
"""

import torch
from torch import Tensor

State = tuple[Tensor, Tensor, Tensor]
"""`m` [rows], `s` [rows] and `o` [rows, dim], all in float32."""

BLOCK = 512


def init(rows: int, dim: int) -> State:
    """Returns the state of no keys at all."""
    return torch.full((rows,), -torch.inf), torch.zeros(rows), torch.zeros(rows, dim)


def update(state: State, scores: Tensor, values: Tensor, mask: Tensor | None = None) -> State:
    """Returns the state of the keys in `state` and those of a block.

    Args:
        state: Of the keys before; it is not changed.
        scores: [rows, keys]; -inf for a key that is not seen.
        values: [keys, dim].
        mask: [rows, keys], True where a row sees a key; None where each sees all.
    """
    scores = scores.float()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    m, s, o = state
    top = torch.cat([m[:, None], scores], dim=1).amax(dim=1)
    base = top.masked_fill(top == -torch.inf, 0.0)  # -inf less -inf would be NaN
    weights, kept = torch.exp(scores - base[:, None]), torch.exp(m - base)
    return top, s * kept + weights.sum(dim=1), o * kept[:, None] + weights @ values.float()


def merge(one: State, other: State) -> State:
    """Returns the state of the keys of both."""
    top = torch.maximum(one[0], other[0])
    base = top.masked_fill(top == -torch.inf, 0.0)
    a, b = torch.exp(one[0] - base), torch.exp(other[0] - base)
    return top, one[1] * a + other[1] * b, one[2] * a[:, None] + other[2] * b[:, None]


def finish(state: State) -> Tensor:
    """Returns the weighted means [rows, dim]; zeros for a row that has seen no key."""
    _, s, o = state
    return o / s.masked_fill(s == 0, 1.0)[:, None]


def attend(q: Tensor, k: Tensor, v: Tensor, block: int = BLOCK) -> State:
    """Returns the state of queries [rows, d] over all keys [n, d] and values [n, dim], a block of keys at a time."""
    q = q.float() * q.shape[1] ** -0.5
    state = init(len(q), v.shape[1])
    for start in range(0, len(k), block):
        some = slice(start, start + block)
        state = update(state, q @ k[some].float().T, v[some])
    return state
