# mistake: leaves the maximum out, since softmax does not depend on it
# killed_by: large-scores-are-exact

# %% nbgrader={"grade_id": "update"}
def update(state, scores, values, mask=None):
    """Sums of plain exponentials."""
    m, s, o = state
    scores = scores.float()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    p = torch.exp(scores)
    return torch.zeros_like(m), s + p.sum(dim=1), o + p @ values.float()
