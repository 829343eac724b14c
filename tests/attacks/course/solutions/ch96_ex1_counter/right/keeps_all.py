# differs: keeps all steps

# %% nbgrader={"grade_id": "counter"}
class Counter:
    def __init__(self, tell):
        self.steps, self.tell = [], tell

    def up(self, step):
        self.steps.append(step)
        self.tell(sum(self.steps))
        return sum(self.steps)
