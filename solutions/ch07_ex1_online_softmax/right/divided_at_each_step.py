# differs: the output is divided at each step; a block becomes a state and is merged; attend merges a tree of tiles

# %% nbgrader={"grade_id": "state"}
def init(rows, dim):
    """No keys."""
    return torch.full((rows, 1), -torch.inf), torch.zeros(rows, 1), torch.zeros(rows, dim)


def finish(state):
    """Nothing is left to do."""
    return state[2].clone()


# %% nbgrader={"grade_id": "update"}
def update(state, scores, values, mask=None):
    """Merges with the block's own state."""
    seen = scores != -torch.inf if mask is None else mask & (scores != -torch.inf)
    scores = scores.float().masked_fill(~seen, -torch.inf)
    top = torch.nn.functional.pad(scores, (0, 1), value=-torch.inf).amax(dim=1, keepdim=True)
    weights = (scores - top).exp().masked_fill(~seen, 0.0)
    total = weights.sum(dim=1, keepdim=True)
    return merge(state, (top, total, weights @ values.float() / total.clamp(min=1.0)))


# %% nbgrader={"grade_id": "merge"}
def merge(one, other):
    """Weighs two means by their sums."""
    top = torch.maximum(one[0], other[0])
    a, b = (s[1] * (s[0] - top).exp().masked_fill(s[1] == 0, 0.0) for s in (one, other))
    total = a + b
    mean = (one[2] * a + other[2] * b) / total.clamp(min=1.0)
    return top, total, mean


# %% nbgrader={"grade_id": "attend"}
def attend(q, k, v, block=512):
    """Tiles of rows, halves of keys."""

    def over(rows, start, end):
        if end - start <= block:
            scores = rows @ k[start:end].float().T
            return update(init(len(rows), v.shape[1]), scores, v[start:end])
        middle = (start + end) // 2
        return merge(over(rows, start, middle), over(rows, middle, end))

    tiles = [over(rows, 0, len(k)) for rows in (q.float() / math.sqrt(q.shape[1])).split(4096)]
    return tuple(torch.cat(parts) for parts in zip(*tiles, strict=True))
