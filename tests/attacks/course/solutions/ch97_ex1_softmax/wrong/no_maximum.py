# mistake: subtracts no maximum
# killed_by: matches-the-oracle

# %% nbgrader={"grade_id": "softmax"}
def softmax(x):
    return x.exp() / x.exp().sum(-1, keepdim=True)
