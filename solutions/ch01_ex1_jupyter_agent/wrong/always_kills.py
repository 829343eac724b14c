# mistake: kills at the deadline without an interrupt first, so that state is always lost
# killed_by: deadlines-hold

# %% nbgrader={"grade_id": "jupyter-agent"}
class JupyterAgent(Agent):
    """An executor without patience."""

    def execute(self, code: str, timeout: float = 10.0) -> str:
        """Returns the output; ends the kernel at the deadline."""
        cell = self.start(code)
        self.gather(cell, timeout)
        if cell.done():
            return cell.output.finished(cell.error)
        self.close()
        return cell.output.finished(f"TimeoutError: killed after {timeout:g} s; state lost")
