# mistake: masks with -1e9 in place of -inf, so that a row that sees nothing gets the mean of all
# killed_by: masked-keys-are-not-there

# %% nbgrader={"grade_id": "update"}
def update(state, scores, values, mask=None):
    """Almost minus infinity."""
    m, s, o = state
    scores = scores.float().clamp(min=-1e9)
    if mask is not None:
        scores = scores.masked_fill(~mask, -1e9)
    m_new = torch.cat([m[:, None], scores], dim=1).amax(dim=1)
    base = torch.where(m_new == -torch.inf, 0.0, m_new)
    kept = torch.exp(m - base)
    p = torch.exp(scores - base[:, None])
    return m_new, s * kept + p.sum(dim=1), o * kept[:, None] + p @ values.float()
