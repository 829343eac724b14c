# mistake: the source's version: old output times s / s_new, new terms never divided
# killed_by: one-block-is-a-softmax

# %% nbgrader={"grade_id": "state"}
def init(rows, dim):
    """Nothing seen."""
    return torch.full((rows,), -torch.inf), torch.zeros(rows), torch.zeros(rows, dim)


def finish(state):
    """Takes the output for finished."""
    return state[2].clone()


# %% nbgrader={"grade_id": "update"}
def update(state, scores, values, mask=None):
    """Rescales by the sums alone."""
    m, s, o = state
    m_new = torch.maximum(m, scores.amax(1))
    p = torch.exp(scores - m_new[:, None])
    s_new = s * torch.exp(m - m_new) + p.sum(1)
    return m_new, s_new, o * (s / s_new)[:, None] + p @ values
