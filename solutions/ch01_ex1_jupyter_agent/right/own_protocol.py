# differs: no Jupyter at all: a Python process that reads cells and writes answers as lines of JSON

# %% nbgrader={"grade_id": "kernel"}
WORKER = r"""
import ast, json, os, signal, sys
requests, answers = os.fdopen(os.dup(0)), os.dup(1)
for descriptor in (0, 1, 2):
    os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
sys.argv = [""]
variables = {"__name__": "__main__"}

def send(**message):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # never half of a line
    line = json.dumps({"cell": cell, **message}).encode() + b"\n"
    while line:
        line = line[os.write(answers, line):]
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

class Printed:
    room = 0
    def write(self, text):
        if self.room >= 0:
            send(text=text[: self.room + 1])
        Printed.room -= len(text)
        return len(text)
    def flush(self):
        pass

sys.stdout = sys.stderr = Printed()

def execute(code):
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), variables)
    value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), variables) if last else None
    if value is not None:
        send(value=repr(value))

for cell, line in enumerate(requests, 1):
    request = json.loads(line)
    Printed.room = request["limit"]
    try:
        try:
            execute(request["code"])
        except BaseException as error:
            send(error=f"{type(error).__name__}: {error}")
        send(done=True)
    except KeyboardInterrupt:
        send(done=True)
"""


# %% nbgrader={"grade_id": "cell"}
import contextlib
import os
import select
import signal
import subprocess
import sys


class Process:
    """A process that executes cells: they go to its stdin, answers come from its stdout."""

    def __init__(self, folder: Path) -> None:
        pipe, command = subprocess.PIPE, [sys.executable, "-c", WORKER]
        self.popen = subprocess.Popen(
            command, bufsize=0, cwd=folder, stdin=pipe, stdout=pipe, start_new_session=True
        )
        self.cells, self.rest = 0, b""

    def send(self, code: str) -> None:
        """Sends the next cell; raises OSError if nobody is there."""
        self.cells += 1
        self.popen.stdin.write(json.dumps({"code": code, "limit": LIMIT}).encode() + b"\n")

    def messages(self, seconds: float) -> list[dict[str, Any]]:
        """Returns this cell's messages that have come; waits so many seconds at most."""
        if not select.select([self.popen.stdout], [], [], seconds)[0]:
            return []
        *lines, self.rest = (self.rest + os.read(self.popen.stdout.fileno(), 65536)).split(b"\n")
        return [message for message in map(json.loads, lines) if message["cell"] == self.cells]

    def close(self) -> None:
        """Kills the process and its group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        self.popen.stdin.close()
        self.popen.stdout.close()


# %% nbgrader={"grade_id": "executor"}
class Executor:
    """Starts a process when it needs one."""

    def __init__(self) -> None:
        self.folder = Path.cwd()
        self.process: Process | None = None

    def close(self) -> None:
        """Ends the process, if there is one."""
        process, self.process = self.process, None
        if process is not None:
            process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def execute(self, code: str, timeout: float = 10.0) -> str:
        """Returns what the cell printed, its value, its error."""
        output, self.error, why = Output(), "", f"TimeoutError: {timeout:g} s are over"
        self.process = self.process or Process(self.folder)
        try:
            self.process.send(code)
            if self.gather(output, timeout):
                return output.finished(self.error)
            self.process.popen.send_signal(signal.SIGINT)
            if self.gather(output, 2.0):
                return output.finished(why)
        except OSError:
            why = "DeadKernelError: the process has ended"
        self.close()
        return output.finished(f"{why}; state lost")

    def gather(self, output: Output, seconds: float) -> bool:
        """Returns whether the cell ends within these seconds; raises OSError if its process does."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            alive = self.process.popen.poll() is None
            for message in self.process.messages(min(left, 0.05) if alive else 0):
                output.add(message.get("text", ""))
                if "value" in message:
                    output.add_line(message["value"])
                self.error = message.get("error", self.error)
                if "done" in message:
                    return True
            if not alive:
                raise OSError("nobody will answer")
        return False


# %% nbgrader={"grade_id": "jupyter-agent"}
class JupyterAgent(Agent):
    """All of it is there already."""
