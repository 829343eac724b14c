# differs: one tensor for the state, values with a column of ones, base-2 exponentials as kernels have them

# %% nbgrader={"grade_id": "state"}
LOG2E = math.log2(math.e)


def init(rows, dim):
    """Columns: the weighted values, the sum, the maximum."""
    state = torch.zeros(rows, dim + 2)
    state[:, -1] = -torch.inf
    return (state,)


def finish(state):
    """Divides where there is something to divide by."""
    sums = state[0][:, -2:-1]
    return torch.where(sums > 0, state[0][:, :-2] / sums, torch.zeros(()))


# %% nbgrader={"grade_id": "update"}
def rescaled(sums, top, new):
    """Sums relative to another maximum; what has no keys stays zero."""
    return sums * torch.where(top == -torch.inf, 0.0, torch.exp2((top - new) * LOG2E))


def update(state, scores, values, mask=None):
    """Values and ones are summed up alike."""
    scores, values = scores.to(torch.float32), values.to(torch.float32)
    if mask is not None:
        scores = torch.where(mask, scores, torch.tensor(-torch.inf))
    if scores.shape[1] == 0:
        return (state[0].clone(),)
    top = state[0][:, -1:]
    new = torch.maximum(top, scores.max(dim=1, keepdim=True).values)
    weights = torch.where(scores == -torch.inf, 0.0, torch.exp2((scores - new) * LOG2E))
    block = weights @ torch.cat([values, torch.ones(len(values), 1)], dim=1)
    return (torch.cat([rescaled(state[0][:, :-1], top, new) + block, new], dim=1),)


# %% nbgrader={"grade_id": "merge"}
def merge(one, other):
    """Both on the larger maximum."""
    a, b = one[0], other[0]
    new = torch.maximum(a[:, -1:], b[:, -1:])
    sums = rescaled(a[:, :-1], a[:, -1:], new) + rescaled(b[:, :-1], b[:, -1:], new)
    return (torch.cat([sums, new], dim=1),)
