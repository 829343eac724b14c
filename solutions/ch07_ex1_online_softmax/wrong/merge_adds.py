# mistake: adds sums that are relative to different maxima
# killed_by: states-merge

# %% nbgrader={"grade_id": "merge"}
def merge(one, other):
    """Adds up."""
    return torch.maximum(one[0], other[0]), one[1] + other[1], one[2] + other[2]
