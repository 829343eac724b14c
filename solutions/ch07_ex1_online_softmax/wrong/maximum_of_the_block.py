# mistake: takes the block's maximum for the maximum so far
# killed_by: blocks-come-in-any-order

# %% nbgrader={"grade_id": "update"}
def update(state, scores, values, mask=None):
    """Forgets that an earlier block may have had a larger score."""
    m, s, o = state
    if not scores.shape[1]:
        return m.clone(), s.clone(), o.clone()
    scores = scores.float()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    m_new = scores.amax(dim=1)
    base = torch.where(m_new == -torch.inf, 0.0, m_new)
    kept = torch.exp(m - base).clamp(max=1.0)
    p = torch.exp(scores - base[:, None])
    return m_new, s * kept + p.sum(dim=1), o * kept[:, None] + p @ values.float()
