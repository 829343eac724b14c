# mistake: interrupts at the deadline and never looks whether that helped
# killed_by: deadlines-hold

# %% nbgrader={"grade_id": "jupyter-agent"}
class JupyterAgent(Agent):
    """An executor that believes in good manners."""

    def execute(self, code: str, timeout: float = 10.0) -> str:
        """Returns the output; interrupts at the deadline."""
        cell = self.start(code)
        self.gather(cell, timeout)
        if cell.done():
            return cell.output.finished(cell.error)
        cell.kernel.manager.interrupt_kernel()
        self.gather(cell, 2.0)
        return cell.output.finished(f"TimeoutError: interrupted after {timeout:g} s")
