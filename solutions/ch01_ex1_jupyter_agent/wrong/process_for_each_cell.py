# mistake: runs each cell in a process of its own, so that nothing persists
# killed_by: values-and-state

# %% nbgrader={"grade_id": "jupyter-agent"}
import subprocess
import sys


class JupyterAgent(Agent):
    """A fresh interpreter for every cell."""

    def execute(self, code: str, timeout: float = 10.0) -> str:
        """Returns what the process printed."""
        command = [sys.executable, "-c", code]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run(command, check=False, text=True, timeout=timeout, **pipes)
        return done.stdout.removesuffix("\n")
