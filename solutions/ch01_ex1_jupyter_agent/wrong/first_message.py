# mistake: takes the first message for the answer, as the printed reference answer does
# killed_by: prints-come-back

# %% nbgrader={"grade_id": "executor"}
from jupyter_client.manager import start_new_kernel


class Executor:
    """One cell out, one message back."""

    def __init__(self) -> None:
        self.folder = Path.cwd()
        self.manager, self.client = start_new_kernel(stderr=DEVNULL)

    def execute(self, code: str, timeout: float = 10.0) -> str:
        """Returns the first message's text, or else its exception's name."""
        self.client.execute(code)
        message = self.client.get_iopub_msg(timeout=timeout)
        if message["msg_type"] == "stream":
            return message["content"]["text"]
        return f"Error: {message['content']['ename']}"

    def close(self) -> None:
        """Ends the kernel."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


# %% nbgrader={"grade_id": "jupyter-agent"}
class JupyterAgent(Agent):
    """Nothing more."""
