# mistake: never rescales what came before when the maximum moves
# killed_by: blocks-come-in-any-order

# %% nbgrader={"grade_id": "update"}
def update(state, scores, values, mask=None):
    """Adds what is relative to different maxima."""
    m, s, o = state
    scores = scores.float()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    m_new = torch.cat([m[:, None], scores], dim=1).amax(dim=1)
    base = torch.where(m_new == -torch.inf, 0.0, m_new)
    p = torch.exp(scores - base[:, None])
    return m_new, s + p.sum(dim=1), o + p @ values.float()
