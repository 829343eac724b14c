# mistake: raises what the cell raised, where it is to be returned as text
# killed_by: exceptions-are-text

# %% nbgrader={"grade_id": "jupyter-agent"}
class JupyterAgent(Agent):
    """An executor whose caller must be ready for everything."""

    def execute(self, code: str, timeout: float = 10.0) -> str:
        """Returns the output, or raises."""
        cell = self.start(code)
        self.gather(cell, timeout)
        if cell.error:
            raise RuntimeError(cell.error)
        return cell.output.finished("")
