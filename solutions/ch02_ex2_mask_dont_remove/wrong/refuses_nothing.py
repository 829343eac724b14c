# mistake: trusts the model to call what it may
# killed_by: states-lead-on

# %% nbgrader={"grade_id": "tool-states"}
class ToolStates:
    """Follows whatever is called."""

    def __init__(self, tools, states, start):
        self.then = {name: about["then"] for name, about in states.items()}
        self.sets = {
            name: actions(tools, about["mode"], about["prefixes"]) for name, about in states.items()
        }
        for name, then in self.then.items():
            for prefix, target in then.items():
                if not any(tool and tool.startswith(prefix) for tool in self.sets[name]):
                    raise MaskError(f"{name!r} leads on from {prefix!r}, which it never allows")
                if target not in states:
                    raise MaskError(f"{name!r} leads to {target!r}, which is no state")
        if start not in states:
            raise MaskError(f"{start!r} is no state")
        self.state = start

    def actions(self):
        return self.sets[self.state]

    def step(self, action):
        then = self.then[self.state]
        fitting = [prefix for prefix in then if action and action.startswith(prefix)]
        if fitting:
            self.state = then[max(fitting, key=len)]
        return self.state
