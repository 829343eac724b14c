# mistake: tells nobody
# killed_by: tells-on

# %% nbgrader={"grade_id": "counter"}
class Counter:
    def __init__(self, tell):
        self.total = 0

    def up(self, step):
        self.total += step
        return self.total
