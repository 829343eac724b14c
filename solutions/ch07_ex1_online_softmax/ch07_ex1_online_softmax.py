# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercise 7.1: softmax in one pass
#
# **Goal**: compute attention over blocks of keys, one block after the other, with a state that does
# not grow and that can be merged with others.
#
# **Why it matters.** Softmax seems to need all scores of a row at once: the largest to be safe, the
# sum to divide by. FlashAttention rests on the fact that it does not. The same few lines let a
# decoder split one long context over many processors, and ring attention over many GPUs.
#
# | | |
# |---|---|
# | Difficulty | ●●●○○ |
# | Importance | ●●●●● |
# | Time | 60 minutes |
# | Needs | a CPU |

# %% [markdown]
# ## The contract
#
# ```python
# State = tuple[Tensor, ...]   # float32, together at most rows * (dim + 2) numbers
#
# def init(rows: int, dim: int) -> State
# def update(state: State, scores: Tensor, values: Tensor, mask: Tensor | None = None) -> State
# def merge(one: State, other: State) -> State
# def finish(state: State) -> Tensor
# def attend(q: Tensor, k: Tensor, v: Tensor, block: int = 512) -> State
# ```
#
# A state stands for some keys, and holds for each row what these amount to. What its tensors are is
# up to you.
#
# - **`init`** gives the state of no keys.
# - **`update`** adds a block: `scores` [rows, keys], `values` [keys, dim], both float32 or both
#   bfloat16, and `mask` [rows, keys], a bool that is True where the row sees the key. A score of
#   -inf is a key that is not seen, either. A block may have any number of keys, 0 too.
# - **`merge`** gives the state of the keys of both, which have none in common.
# - **`finish`** gives, in float32 [rows, dim], the sum over the keys seen of
#   `softmax(scores)` times `values`; zeros for a row that has seen none.
# - **`attend`** gives the state of the queries `q` [rows, d] over the keys `k` [n, d] with values
#   `v` [n, dim]. Scores are `q @ k.T / sqrt(d)`, of `block` keys at a time. Its memory grows with
#   rows + n, not with rows × n.
#
# The order of blocks and merges does not matter, but for roundings. Scores may be as large as ±1e4;
# what comes out is exact to a few roundings of float32. No argument is changed, nothing that is
# returned shares memory with one.
#
# `torch.softmax`, `torch.logsumexp` and `scaled_dot_product_attention` are what you replace here:
# leave them out.

# %% [markdown]
# ## The criteria
#
# | criterion | points | what it asks |
# |---|---|---|
# | `one-block-is-a-softmax` | 10 | `init`, `update`, `finish` |
# | `blocks-come-in-any-order` | 15 | any cut, any order, empty blocks |
# | `large-scores-are-exact` | 10 | scores of up to ±1e4 |
# | `bfloat16-is-summed-in-float32` | 10 | inputs of few digits |
# | `masked-keys-are-not-there` | 10 | masked blocks, masked rows, no NaN |
# | `states-merge` | 15 | any tree of merges |
# | `nothing-is-changed` | 10 | arguments, memory, strides |
# | `shards-are-merged` | 10 | `attend`, on parts of the keys |
# | `memory-is-linear` | 10 | more scores than fit into memory |
#
# The criteria stand in `acceptance.py` beside this notebook. Your work is graded by the same
# functions, with other numbers. The last one is graded in a process that has 768 MiB left. Your own
# machine has more: there, code that makes all scores at once passes the check, and is not right.

# %% nbgrader={"grade": false, "grade_id": "setup", "locked": true, "schema_version": 3, "solution": false, "task": false}
import math

import torch
from torch import Tensor

from autograder.check import check

State = tuple[Tensor, ...]

# %% [markdown]
# > **What the source gets wrong.** *Claim*: a handbook's FlashAttention, about 30 lines of PyTorch,
# > computes attention block by block. *Measured*: as printed it does not run, since it transposes
# > three-dimensional tensors with `.T`. With that and a missing `unsqueeze` repaired, it runs and is
# > wrong by the factor below: the old output is multiplied by `s_old / s_new`, without the change of
# > the maximum, and what a block adds is never divided by anything. *Correction*: keep a sum that is
# > relative to the maximum, rescale it whenever the maximum moves, divide once, at the end.


# %%
def printed_attention(q: Tensor, k: Tensor, v: Tensor, block: int = 16) -> Tensor:
    """The source's loop, in our words, with two repairs that let it run."""
    m, s, o = torch.full((len(q), 1), -torch.inf), torch.zeros(len(q), 1), torch.zeros_like(q)
    for start in range(0, len(k), block):
        scores = q @ k[start : start + block].T / math.sqrt(q.shape[1])
        m_new = torch.maximum(m, scores.amax(1, keepdim=True))
        p = torch.exp(scores - m_new)
        s_new = s * torch.exp(m - m_new) + p.sum(1, keepdim=True)
        o = o * (s / s_new) + p @ v[start : start + block]
        m, s = m_new, s_new
    return o


def naive_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """All scores at once, in float64."""
    weights = (q.double() @ k.double().T / math.sqrt(q.shape[1])).exp()
    return weights @ v.double() / weights.sum(1, keepdim=True)


torch.manual_seed(0)
q, k, v = (torch.randn(128, 64) for _ in range(3))
wanted = naive_attention(q, k, v)
ratio = printed_attention(q, k, v).norm() / wanted.norm()
print(f"the printed output is {ratio:.0f} times as large as the right one")

# %% [markdown]
# ## Step 1: three functions
#
# Take one row by hand, scores 1, 2, 3 in blocks (1, 2) and (3). After the first block the largest
# score is 2. What do you know about the sum of weights, relative to that? And after the second,
# relative to 3?
#
# <details><summary>Hint 1</summary>
#
# exp(s - 3) is exp(s - 2) times exp(2 - 3), for each s: one factor repairs a whole sum.
# </details>
# <details><summary>Hint 2</summary>
#
# Three tensors: the maximum `m` [rows], the sum of weights `s` [rows] (papers call it `l`), the
# weighted sum of values `o` [rows, dim]. `s` and `o` get the same factor. Divide in `finish` only.
# </details>
# <details><summary>Hint 3: nearly there</summary>
#
# `m_new` is the largest of `m` and the block's scores, `kept = exp(m - m_new)`,
# `p = exp(scores - m_new)`; then `s * kept + p.sum(1)` and `o * kept + p @ values`. A block without
# keys has no maximum: `torch.cat([m[:, None], scores], 1).amax(1)` has one.
# </details>


# %% nbgrader={"grade": false, "grade_id": "state", "locked": false, "schema_version": 3, "solution": true, "task": false}
def init(rows: int, dim: int) -> State:
    """Returns the state of no keys."""
    ### BEGIN SOLUTION
    return torch.full((rows,), -torch.inf), torch.zeros(rows), torch.zeros(rows, dim)
    ### END SOLUTION


def finish(state: State) -> Tensor:
    """Returns the weighted means [rows, dim]; zeros for a row that has seen no key."""
    ### BEGIN SOLUTION
    _, s, o = state
    return o / torch.where(s == 0, 1.0, s)[:, None]
    ### END SOLUTION


# %% nbgrader={"grade": false, "grade_id": "update", "locked": false, "schema_version": 3, "solution": true, "task": false}
def update(state: State, scores: Tensor, values: Tensor, mask: Tensor | None = None) -> State:
    """Returns the state of the keys before and of a block."""
    ### BEGIN SOLUTION
    m, s, o = state
    scores = scores.float()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    m_new = torch.cat([m[:, None], scores], dim=1).amax(dim=1)
    base = torch.where(m_new == -torch.inf, 0.0, m_new)
    kept = torch.exp(m - base)
    p = torch.exp(scores - base[:, None])
    return m_new, s * kept + p.sum(dim=1), o * kept[:, None] + p @ values.float()
    ### END SOLUTION


# %%
scores, values = torch.tensor([[1.0, 2.0, 3.0]]), torch.eye(3)
state = update(update(init(1, 3), scores[:, :2], values[:2]), scores[:, 2:], values[2:])
finish(state)

# %% [markdown]
# Expected output: `tensor([[0.0900, 0.2447, 0.6652]])`, the softmax of 1, 2, 3.

# %% nbgrader={"grade": true, "grade_id": "one-block-is-a-softmax", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("one-block-is-a-softmax", init, update, finish)

# %% nbgrader={"grade": true, "grade_id": "blocks-come-in-any-order", "locked": true, "points": 15, "schema_version": 3, "solution": false, "task": false}
check("blocks-come-in-any-order", init, update, finish)

# %% nbgrader={"grade": true, "grade_id": "large-scores-are-exact", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("large-scores-are-exact", init, update, finish)

# %% [markdown]
# ## Step 2: what real inputs bring
#
# Nothing new to write: make the functions above stand inputs of few digits, and rows that see
# nothing. Causal masks and padding make whole blocks that a row does not see, and the first block
# may be one of them.
#
# <details><summary>Hint 1</summary>
#
# Masked scores are -inf, and exp(-inf) is 0, as it should be. The maximum of nothing is -inf, too.
# </details>
# <details><summary>Hint 2</summary>
#
# `base = torch.where(m_new == -torch.inf, 0.0, m_new)`, and subtract `base` wherever you subtract the
# new maximum. A large negative number in place of -inf does not do: a row of nothing but such
# numbers has an average.
# </details>

# %% nbgrader={"grade": true, "grade_id": "bfloat16-is-summed-in-float32", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("bfloat16-is-summed-in-float32", init, update, finish)

# %% nbgrader={"grade": true, "grade_id": "masked-keys-are-not-there", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("masked-keys-are-not-there", init, update, finish)

# %% [markdown]
# ## Step 3: merge
#
# Two processors have each seen half of the keys. `merge` is `update` with a block that somebody has
# summed up already.
#
# <details><summary>Hint 1</summary>
#
# Each of the two may have the larger maximum, row by row; each may have seen nothing.
# </details>
# <details><summary>Hint 2</summary>
#
# With `base` made from the larger maximum: `s` is `s1 * exp(m1 - base) + s2 * exp(m2 - base)`, and
# `o` likewise.
# </details>


# %% nbgrader={"grade": false, "grade_id": "merge", "locked": false, "schema_version": 3, "solution": true, "task": false}
def merge(one: State, other: State) -> State:
    """Returns the state of the keys of both."""
    ### BEGIN SOLUTION
    m = torch.maximum(one[0], other[0])
    base = torch.where(m == -torch.inf, 0.0, m)
    a, b = torch.exp(one[0] - base), torch.exp(other[0] - base)
    return m, one[1] * a + other[1] * b, one[2] * a[:, None] + other[2] * b[:, None]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "states-merge", "locked": true, "points": 15, "schema_version": 3, "solution": false, "task": false}
check("states-merge", init, update, finish, merge)

# %% nbgrader={"grade": true, "grade_id": "nothing-is-changed", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("nothing-is-changed", init, update, finish, merge)

# %% [markdown]
# ## Step 4: attention
#
# Now the loop: FlashAttention's, without the GPU. It returns a state, so that whoever holds other
# keys can merge theirs. The last check takes several seconds.
#
# <details><summary>Hint</summary>
#
# `for start in range(0, len(k), block)`, and slices: the last one may be shorter. Scores are computed
# in float32, whatever `q` and `k` are.
# </details>


# %% nbgrader={"grade": false, "grade_id": "attend", "locked": false, "schema_version": 3, "solution": true, "task": false}
def attend(q: Tensor, k: Tensor, v: Tensor, block: int = 512) -> State:
    """Returns the state of the queries over all keys, a block of keys at a time."""
    ### BEGIN SOLUTION
    q = q.float() / math.sqrt(q.shape[1])
    state = init(len(q), v.shape[1])
    for start in range(0, len(k), block):
        keys, values = k[start : start + block], v[start : start + block]
        state = update(state, q @ keys.float().T, values)
    return state
    ### END SOLUTION


# %%
off = (finish(attend(q, k, v, block=16)) - wanted).abs().max().item()
print(f"off by at most {off:.0e}")

# %% [markdown]
# Expected output: a few times 1e-07.

# %% nbgrader={"grade": true, "grade_id": "shards-are-merged", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("shards-are-merged", init, update, finish, merge, attend)

# %% nbgrader={"grade": true, "grade_id": "memory-is-linear", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("memory-is-linear", init, update, finish, merge, attend)

# %% [markdown]
# ## What you have now
#
# The heart of FlashAttention: exact attention without the matrix of scores. What a kernel adds is
# where things lie: a block of scores stays in registers and shared memory, and is never written to
# the GPU's memory. Where it stops holding: the same operations in another order round differently,
# so two ways to split the keys agree to a few roundings, not bit by bit. A server that changes its
# split with the batch changes its outputs, too.
