# mistake: rounds the weights to the type of the values before it multiplies
# killed_by: bfloat16-is-summed-in-float32

# %% nbgrader={"grade_id": "update"}
def update(state, scores, values, mask=None):
    """Converts too late."""
    m, s, o = state
    scores = scores.float()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    m_new = torch.cat([m[:, None], scores], dim=1).amax(dim=1)
    base = torch.where(m_new == -torch.inf, 0.0, m_new)
    kept = torch.exp(m - base)
    p = torch.exp(scores - base[:, None])
    product = (p.to(values.dtype) @ values).float()
    return m_new, s * kept + p.sum(dim=1), o * kept[:, None] + product
