# mistake: never looks at the process, and waits for a dead kernel until the deadline
# killed_by: dead-kernels-are-replaced
# dies_of: timeout

# %% nbgrader={"grade_id": "jupyter-agent"}
class JupyterAgent(Agent):
    """An executor that knows deadlines only."""

    def execute(self, code: str, timeout: float = 10.0) -> str:
        """Returns the output; interrupts at the deadline, then kills."""
        cell = self.start(code)
        self.gather(cell, timeout)
        if cell.done():
            return cell.output.finished(cell.error)
        why = f"TimeoutError: interrupted after {timeout:g} s"
        cell.kernel.manager.interrupt_kernel()
        self.gather(cell, 2.0)
        if cell.done():
            return cell.output.finished(why)
        self.close()
        return cell.output.finished(f"{why} in vain; state lost")
