# mistake: rescales the first state only, as if the second always had the larger maximum
# killed_by: states-merge

# %% nbgrader={"grade_id": "merge"}
def merge(one, other):
    """Fits in one direction."""
    m = torch.maximum(one[0], other[0])
    a = torch.exp(one[0] - torch.where(m == -torch.inf, 0.0, m))
    return m, one[1] * a + other[1], one[2] * a[:, None] + other[2]
