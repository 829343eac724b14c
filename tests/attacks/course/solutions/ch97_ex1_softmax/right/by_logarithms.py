# differs: subtracts the logarithm of the sum

# %% nbgrader={"grade_id": "softmax"}
def softmax(x):
    return (x - x.logsumexp(-1, keepdim=True)).exp()
