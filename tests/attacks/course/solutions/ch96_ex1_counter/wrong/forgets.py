# mistake: forgets what was before
# killed_by: counts-up

# %% nbgrader={"grade_id": "counter"}
class Counter:
    def __init__(self, tell):
        self.tell = tell

    def up(self, step):
        self.tell(step)
        return step
