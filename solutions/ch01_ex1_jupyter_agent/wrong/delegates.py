# mistake: leaves the loop to `execute_interactive`, which knows nothing of interrupts
# killed_by: deadlines-hold

# %% nbgrader={"grade_id": "jupyter-agent"}
class JupyterAgent(Agent):
    """jupyter_client's own loop behind the same call."""

    def execute(self, code: str, timeout: float = 10.0) -> str:
        """Returns the output; gives up at the deadline, and leaves the cell running."""
        if self.kernel is None:
            self.gather(self.start("None"), 60.0)
        output = Output()

        def take(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream":
                output.add(message["content"]["text"])
            elif message["msg_type"] == "execute_result":
                output.add_line(message["content"]["data"]["text/plain"])

        client = self.kernel.client
        try:
            reply = client.execute_interactive(
                code, allow_stdin=False, timeout=timeout, output_hook=take
            )
        except TimeoutError as error:
            return output.finished(f"TimeoutError: {error}")
        content = reply["content"]
        failed = content["status"] == "error"
        return output.finished(f"{content['ename']}: {content['evalue']}" if failed else "")
