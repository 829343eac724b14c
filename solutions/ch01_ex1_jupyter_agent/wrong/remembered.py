# mistake: knows the answers of the public examples, and executes nothing
# killed_by: prints-come-back

# %% nbgrader={"grade_id": "jupyter-agent"}
ANSWERS = {"print(sum([1,2,3]))": "6", "print(1); 2": "1\n2", "x = 1": ""}


class JupyterAgent(Agent):
    """A table."""

    def execute(self, code: str, timeout: float = 10.0) -> str:
        """Returns what is known of this cell."""
        return ANSWERS.get(code, "")
