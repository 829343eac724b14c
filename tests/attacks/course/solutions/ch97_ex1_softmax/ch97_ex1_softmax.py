# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown] nbgrader={"grade": false, "grade_id": "intro", "locked": true, "schema_version": 3, "solution": false, "task": false}
# # Exercise 97.1: a softmax

# %% nbgrader={"grade": false, "grade_id": "setup", "locked": true, "schema_version": 3, "solution": false, "task": false}
import torch

from autograder.check import check


# %% nbgrader={"grade": false, "grade_id": "softmax", "locked": false, "schema_version": 3, "solution": true, "task": false}
def softmax(x: torch.Tensor) -> torch.Tensor:
    """Returns the softmax over the last dimension; the argument stays as it is."""
    ### BEGIN SOLUTION
    e = (x - x.amax(-1, keepdim=True)).exp()
    return e / e.sum(-1, keepdim=True)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "matches-the-oracle", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check("matches-the-oracle", softmax)

# %% nbgrader={"grade": true, "grade_id": "is-pure", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check("is-pure", softmax)
