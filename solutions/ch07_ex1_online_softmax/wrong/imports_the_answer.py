# mistake: takes the workbook's own functions
# killed_by: one-block-is-a-softmax

# %% nbgrader={"grade_id": "update"}
def update(state, scores, values, mask=None):
    """The workbook's update."""
    import workbook.attention.online

    return workbook.attention.online.update(state, scores, values, mask)
