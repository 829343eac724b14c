# mistake: runs each cell in a process of its own, so that nothing persists
# killed_by: values-and-state

# %% nbgrader={"grade_id": "jupyter-agent"}
import sys


class JupyterAgent(Agent):
    """A fresh interpreter for every cell."""

    def execute(self, code: str, timeout: float = 10.0) -> str:
        """Returns what the process printed."""
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout
        )
        return done.stdout.removesuffix("\n")
