# mistake: looks at the sets, and not at where states lead
# killed_by: a-broken-machine-is-refused

# %% nbgrader={"grade_id": "tool-states"}
class ToolStates:
    """Trusts its author."""

    def __init__(self, tools, states, start):
        self.then = {name: about["then"] for name, about in states.items()}
        self.sets = {
            name: actions(tools, about["mode"], about["prefixes"]) for name, about in states.items()
        }
        if start not in states:
            raise MaskError(f"{start!r} is no state")
        self.state = start

    def actions(self):
        return self.sets[self.state]

    def step(self, action):
        if action not in self.actions():
            raise MaskError(f"{action!r} is not allowed in {self.state!r}")
        then = self.then[self.state]
        fitting = [prefix for prefix in then if action and action.startswith(prefix)]
        if fitting:
            self.state = then[max(fitting, key=len)]
        return self.state
