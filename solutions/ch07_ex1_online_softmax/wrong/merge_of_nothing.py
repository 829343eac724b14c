# mistake: gives NaN where neither state has seen a key of a row
# killed_by: states-merge

# %% nbgrader={"grade_id": "merge"}
def merge(one, other):
    """Fits where one of them has."""
    m = torch.maximum(one[0], other[0])
    a, b = torch.exp(one[0] - m), torch.exp(other[0] - m)
    return m, one[1] * a + other[1] * b, one[2] * a[:, None] + other[2] * b[:, None]
