# mistake: keeps the logarithm of the sum in place of maximum and sum: near 1e4 it has three decimals
# killed_by: large-scores-are-exact

# %% nbgrader={"grade_id": "state"}
def init(rows, dim):
    """No weight, no output."""
    return torch.full((rows,), -torch.inf), torch.zeros(rows, dim)


def finish(state):
    """It is divided already."""
    return state[1].clone()


# %% nbgrader={"grade_id": "update"}
def update(state, scores, values, mask=None):
    """Merges with the state of the block."""
    scores = scores.float()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    if not scores.shape[1]:
        return merge(state, init(len(scores), values.shape[1]))
    top = scores.amax(dim=1)
    base = torch.where(top == -torch.inf, 0.0, top)
    p = torch.exp(scores - base[:, None])
    total = p.sum(dim=1)
    mean = p @ values.float() / torch.where(total == 0, 1.0, total)[:, None]
    return merge(state, (base + total.log(), mean))


# %% nbgrader={"grade_id": "merge"}
def merge(one, other):
    """Weighs two outputs by their sums."""
    total = torch.logaddexp(one[0], other[0])
    base = torch.where(total == -torch.inf, 0.0, total)
    a, b = torch.exp(one[0] - base), torch.exp(other[0] - base)
    return total, one[1] * a[:, None] + other[1] * b[:, None]
