# mistake: leaves stdout and stderr their own buffers, so that their order is lost
# killed_by: values-and-state

# %% nbgrader={"grade_id": "kernel"}
class Kernel:
    """A kernel's process and the channels to it. All but `close` is given."""

    def __init__(self, folder: Path) -> None:
        self.private = tempfile.TemporaryDirectory(prefix="kernel-")
        path = f"{self.private.name}/kernel"  # the defaults would collide between kernels
        self.manager = KernelManager(transport="ipc", ip=path, connection_file=f"{path}.json")
        options = {"extra_arguments": ["--HistoryManager.enabled=False"], "cwd": str(folder)}
        self.manager.start_kernel(stdout=DEVNULL, stderr=DEVNULL, **options)
        self.client = self.manager.client()
        self.client.start_channels(hb=False, stdin=False, control=False)
        try:
            self.client.wait_for_ready(timeout=60)
        except RuntimeError:
            self.close()
            raise

    def send(self, code: str) -> str:
        """Asks for a cell; returns the request's id, which its messages have as parent."""
        return str(self.client.execute(code, allow_stdin=False, stop_on_error=False))

    def receive(self, seconds: float) -> list[dict[str, Any]]:
        """Returns messages of both channels; waits for the first so many seconds at most."""
        sockets = [self.client.shell_channel.socket, self.client.iopub_channel.socket]
        ready, _, _ = zmq.select(sockets, [], [], seconds)
        return [self.client.session.recv(socket)[1] for socket in ready]

    def close(self) -> None:
        """Kills the process, and removes sockets, threads and files."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.private.cleanup()
