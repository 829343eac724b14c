# mistake: subtracts the maximum also where it is -inf, which gives NaN for ever
# killed_by: masked-keys-are-not-there

# %% nbgrader={"grade_id": "update"}
def update(state, scores, values, mask=None):
    """Fits where each row sees a key of each block."""
    m, s, o = state
    if not scores.shape[1]:
        return m.clone(), s.clone(), o.clone()
    scores = scores.float()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    m_new = torch.maximum(m, scores.amax(dim=1))
    kept = torch.exp(m - m_new)
    p = torch.exp(scores - m_new[:, None])
    return m_new, s * kept + p.sum(dim=1), o * kept[:, None] + p @ values.float()
