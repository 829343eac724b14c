# mistake: works out a state's set only when it is entered
# killed_by: a-broken-machine-is-refused

# %% nbgrader={"grade_id": "tool-states"}
class ToolStates:
    """Lazy."""

    def __init__(self, tools, states, start):
        self.then = {name: about["then"] for name, about in states.items()}
        self.tools, self.states = tools, states
        for name, then in self.then.items():
            for target in then.values():
                if target not in states:
                    raise MaskError(f"{name!r} leads to {target!r}, which is no state")
        if start not in states:
            raise MaskError(f"{start!r} is no state")
        self.state = start

    def actions(self):
        about = self.states[self.state]
        return actions(self.tools, about["mode"], about["prefixes"])

    def step(self, action):
        if action not in self.actions():
            raise MaskError(f"{action!r} is not allowed in {self.state!r}")
        then = self.then[self.state]
        fitting = [prefix for prefix in then if action and action.startswith(prefix)]
        if fitting:
            self.state = then[max(fitting, key=len)]
        return self.state
