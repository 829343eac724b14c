# mistake: keeps the state in the type of what comes in
# killed_by: bfloat16-is-summed-in-float32

# %% nbgrader={"grade_id": "update"}
def update(state, scores, values, mask=None):
    """Computes in the type of the scores."""
    m, s, o = (part.to(scores.dtype) for part in state)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    m_new = torch.cat([m[:, None], scores], dim=1).amax(dim=1)
    base = m_new.masked_fill(m_new == -torch.inf, 0.0)
    kept = torch.exp(m - base)
    p = torch.exp(scores - base[:, None])
    return m_new, s * kept + p.sum(dim=1), o * kept[:, None] + p @ values
