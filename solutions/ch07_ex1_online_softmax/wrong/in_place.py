# mistake: saves memory by changing the state that it was given
# killed_by: nothing-is-changed

# %% nbgrader={"grade_id": "update"}
def update(state, scores, values, mask=None):
    """Adds into the state."""
    m, s, o = state
    scores = scores.float()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    m_new = torch.cat([m[:, None], scores], dim=1).amax(dim=1)
    base = torch.where(m_new == -torch.inf, 0.0, m_new)
    kept = torch.exp(m - base)
    p = torch.exp(scores - base[:, None])
    s.mul_(kept).add_(p.sum(dim=1))
    o.mul_(kept[:, None]).addmm_(p, values.float())
    m.copy_(m_new)
    return m, s, o
