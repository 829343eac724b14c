# mistake: replaces a kernel that died between two cells and does not say that the state is lost
# killed_by: dead-kernels-are-replaced

# %% nbgrader={"grade_id": "jupyter-agent"}
GRACE = 2.0  # seconds that an interrupted cell has to end


class JupyterAgent(Agent):
    """An agent that comes back, whatever the model's code does."""

    def execute(self, code: str, timeout: float = 10.0) -> str:
        """Returns what the cell printed, its value, its error: see the contract."""
        cell = self.start(code)
        self.gather(cell, timeout)
        if cell.done():
            return cell.output.finished(cell.error)
        if not cell.kernel.manager.is_alive():
            return self.give_up(cell, "DeadKernelError: the kernel has died")
        why = f"TimeoutError: interrupted after {timeout:g} s"
        cell.kernel.manager.interrupt_kernel()
        self.gather(cell, GRACE)
        return cell.output.finished(why) if cell.done() else self.give_up(cell, f"{why} in vain")

    def gather(self, cell: Cell, seconds: float) -> None:
        """Gives the cell its messages until it is done, the time is over, or the kernel dies."""
        deadline = time.monotonic() + seconds
        while not cell.done() and (left := deadline - time.monotonic()) > 0:
            alive = cell.kernel.manager.is_alive()
            super().gather(cell, min(left, 0.1))  # once more after a death: its last words
            if not alive:
                return

    def start(self, code: str) -> Cell:
        """Sends a cell to the kernel, a new one where there is none or the old one has died."""
        if self.kernel is not None and not self.kernel.manager.is_alive():
            self.close()
        return super().start(code)

    def give_up(self, cell: Cell, why: str) -> str:
        """Ends the kernel, so that the next cell starts a new one; returns the cell's answer."""
        self.close()
        return cell.output.finished(f"{why}; state lost")
