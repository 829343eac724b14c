# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown] nbgrader={"grade": false, "grade_id": "intro", "locked": true, "schema_version": 3, "solution": false, "task": false}
# # Exercise 96.1: a counter

# %% nbgrader={"grade": false, "grade_id": "setup", "locked": true, "schema_version": 3, "solution": false, "task": false}
from autograder.check import check


# %% nbgrader={"grade": false, "grade_id": "counter", "locked": false, "schema_version": 3, "solution": true, "task": false}
class Counter:
    """Counts up, and tells each number on."""

    def __init__(self, tell):
        ### BEGIN SOLUTION
        self.total, self.tell = 0, tell
        ### END SOLUTION

    def up(self, step: int) -> int:
        """Returns the sum of all steps, after it has been told on."""
        ### BEGIN SOLUTION
        self.total += step
        self.tell(self.total)
        return self.total
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "counts-up", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check("counts-up", Counter)

# %% nbgrader={"grade": true, "grade_id": "tells-on", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check("tells-on", Counter)
