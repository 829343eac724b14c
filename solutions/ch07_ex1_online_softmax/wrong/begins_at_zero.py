# mistake: begins with a maximum of 0, so that rows of low scores come to nothing
# killed_by: large-scores-are-exact

# %% nbgrader={"grade_id": "state"}
def init(rows, dim):
    """A maximum that nobody has seen."""
    return torch.zeros(rows), torch.zeros(rows), torch.zeros(rows, dim)


def finish(state):
    """Divides."""
    _, s, o = state
    return o / torch.where(s == 0, 1.0, s)[:, None]
