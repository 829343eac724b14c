# mistake: a softmax for each block, and the mean of what they give
# killed_by: blocks-come-in-any-order

# %% nbgrader={"grade_id": "state"}
def init(rows, dim):
    """No blocks."""
    return torch.zeros(rows), torch.zeros(rows, dim)


def finish(state):
    """The mean over blocks."""
    return state[1] / state[0].clamp(min=1)[:, None]


# %% nbgrader={"grade_id": "update"}
def update(state, scores, values, mask=None):
    """Adds one block's softmax."""
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    block = torch.nn.functional.scaled_dot_product_attention(
        scores.float(), torch.eye(scores.shape[1]), values.float(), scale=1.0
    )
    return state[0] + 1, state[1] + block
