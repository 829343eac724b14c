# mistake: reads the block's memory as if its rows always lay one behind the other
# killed_by: nothing-is-changed

# %% nbgrader={"grade_id": "update"}
def update(state, scores, values, mask=None):
    """Takes strides for granted."""
    m, s, o = state
    rows, keys = scores.shape
    scores = torch.as_strided(scores, (rows, keys), (keys, 1)).float()
    values = torch.as_strided(values, values.shape, (values.shape[1], 1)).float()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    m_new = torch.cat([m[:, None], scores], dim=1).amax(dim=1)
    base = torch.where(m_new == -torch.inf, 0.0, m_new)
    kept = torch.exp(m - base)
    p = torch.exp(scores - base[:, None])
    return m_new, s * kept + p.sum(dim=1), o * kept[:, None] + p @ values
