# mistake: stops reading when it has enough, and takes what is left over for the next cell's answer
# killed_by: output-stays-in-its-cell

# %% nbgrader={"grade_id": "cell"}
IDLE_GRACE = 1.0  # seconds


class Cell:
    """One request, and what has come back for it."""

    def __init__(self, kernel: Kernel, code: str) -> None:
        self.kernel = kernel
        self.request = kernel.send(code)
        self.output = Output()
        self.error = ""
        self.idle = False
        self.replied_at: float | None = None  # in seconds of time.monotonic

    def take(self, message: dict[str, Any]) -> None:
        """Takes a message of either channel; another request's is ignored."""
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            self.output.add(content["text"])
        elif kind == "execute_result":
            self.output.add_line(content["data"]["text/plain"])
        elif kind == "status":
            self.idle = content["execution_state"] == "idle"
        elif kind == "execute_reply":
            self.replied_at = time.monotonic()
            if content["status"] == "error":
                self.error = f"{content['ename']}: {content['evalue']}"

    def done(self) -> bool:
        """Whether all has come: the reply, and `idle` too unless that seems to be lost."""
        if self.output.cut:
            return True
        if self.replied_at is None:
            return False
        return self.idle or time.monotonic() > self.replied_at + IDLE_GRACE


# %% nbgrader={"grade_id": "executor"}
class Executor:
    """Executes cells in a kernel of its own. `execute` and `gather` are yours."""

    def __init__(self) -> None:
        self.folder = Path.cwd()
        self.kernel: Kernel | None = None

    def execute(self, code: str, timeout: float = 10.0) -> str:
        """Returns what the cell printed, its value, its error: see the contract."""
        cell = self.start(code)
        self.gather(cell, timeout)
        return cell.output.finished(cell.error)

    def start(self, code: str) -> Cell:
        """Sends a cell to the kernel, to a new one where there is none."""
        if self.kernel is None:
            self.kernel = Kernel(self.folder)
            seen: set[str] = set()  # of what preparing the kernel causes
            while not {"execute_reply", "idle"} <= seen:
                for message in self.kernel.receive(1.0):
                    if message["parent_header"].get("msg_type") == "execute_request":
                        state = message["content"].get("execution_state", "")
                        seen |= {message["msg_type"], state}
        return Cell(self.kernel, code)

    def gather(self, cell: Cell, seconds: float) -> None:
        """Gives the cell its messages until it is done or the time is over."""
        deadline = time.monotonic() + seconds
        while not cell.done() and (left := deadline - time.monotonic()) > 0:
            for message in cell.kernel.receive(min(left, 0.05)):
                cell.take(message)

    def close(self) -> None:
        """Ends the kernel, if there is one."""
        kernel, self.kernel = self.kernel, None
        if kernel is not None:
            kernel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
