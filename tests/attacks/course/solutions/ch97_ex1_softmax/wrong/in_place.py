# mistake: works in its argument
# killed_by: is-pure

# %% nbgrader={"grade_id": "softmax"}
def softmax(x):
    x -= x.amax(-1, keepdim=True)
    x.exp_()
    return x / x.sum(-1, keepdim=True)
