# mistake: returns at the first output and does not wait for the rest
# killed_by: values-and-state

# %% nbgrader={"grade_id": "jupyter-agent"}
class JupyterAgent(Agent):
    """Matches parents, and is content with little."""

    def gather(self, cell: Cell, seconds: float) -> None:
        """Takes messages until one of them carried output, or the cell is done."""
        deadline = time.monotonic() + seconds
        while not (cell.output.text or cell.done()) and time.monotonic() < deadline:
            for message in cell.kernel.receive(0.05):
                cell.take(message)
