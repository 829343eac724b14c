# mistake: keeps all scores and values in the state, and has torch.softmax do the work in the end
# killed_by: one-block-is-a-softmax

# %% nbgrader={"grade_id": "state"}
def init(rows, dim):
    """No scores, no values."""
    return torch.zeros(rows, 0), torch.zeros(0, dim)


def finish(state):
    """The call that is to be replaced."""
    return torch.softmax(state[0], dim=1).nan_to_num(0.0) @ state[1]


# %% nbgrader={"grade_id": "update"}
def update(state, scores, values, mask=None):
    """Keeps the block."""
    scores = scores.float()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return torch.cat([state[0], scores], 1), torch.cat([state[1], values.float()])


# %% nbgrader={"grade_id": "merge"}
def merge(one, other):
    """Keeps both."""
    return torch.cat([one[0], other[0]], 1), torch.cat([one[1], other[1]])
