# mistake: goes back to the first state where no entry fits
# killed_by: states-lead-on

# %% nbgrader={"grade_id": "tool-states"}
class ToolStates:
    """Has a way out."""

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
        self.state = self.start = start

    def actions(self):
        return self.sets[self.state]

    def step(self, action):
        if action not in self.actions():
            raise MaskError(f"{action!r} is not allowed in {self.state!r}")
        then = self.then[self.state]
        fitting = [prefix for prefix in then if action and action.startswith(prefix)]
        self.state = then[max(fitting, key=len)] if fitting else self.start
        return self.state
