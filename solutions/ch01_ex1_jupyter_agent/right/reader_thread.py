# differs: over TCP; a thread reads output into a queue; the tools and the loop are written another way, too

# %% nbgrader={"grade_id": "executor"}
import contextlib
import queue
import threading

from jupyter_client.manager import start_new_kernel


class Executor:
    """A kernel that is there from the start; its output is read whether somebody waits or not."""

    def __init__(self) -> None:
        self.folder = Path.cwd()
        self.begin()

    def begin(self) -> None:
        """Starts a kernel and the thread that reads from it."""
        self.manager, self.client = start_new_kernel(
            cwd=str(self.folder), stdout=DEVNULL, stderr=DEVNULL
        )
        self.published: queue.Queue[dict[str, Any]] = queue.Queue()
        self.open = True
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        self.client.execute("import sys; sys.stderr = sys.stdout", silent=True)

    def read(self) -> None:
        """Passes on what the kernel publishes, in pieces that are not too large to keep."""
        while self.open:
            with contextlib.suppress(queue.Empty):
                message = self.client.get_iopub_msg(timeout=0.1)
                if message["msg_type"] == "stream":
                    message["content"]["text"] = message["content"]["text"][: LIMIT + 1]
                self.published.put(message)

    def close(self) -> None:
        """Ends the thread, then the kernel."""
        if self.open:
            self.open = False
            self.reader.join()
            self.client.stop_channels()
            self.manager.shutdown_kernel(now=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def execute(self, code: str, timeout: float = 10.0) -> str:
        """Returns what the cell printed, its value, its error."""
        request = self.client.execute(code, allow_stdin=False, stop_on_error=False)
        output, error, late = Output(), "", ""
        replied, idle, deadline = 0.0, False, time.monotonic() + timeout
        while not (replied and (idle or time.monotonic() > replied + 1)):
            with contextlib.suppress(queue.Empty):
                message = self.published.get(timeout=0.02)
                if message["parent_header"].get("msg_id") == request:
                    idle = idle or message["content"].get("execution_state") == "idle"
                    self.note(message, output)
            with contextlib.suppress(queue.Empty):
                reply = self.client.get_shell_msg(timeout=0)
                if reply["parent_header"].get("msg_id") == request:
                    replied, content = time.monotonic(), reply["content"]
                    if content["status"] == "error":
                        error = f"{content['ename']}: {content['evalue']}"
            if self.published.empty() and not self.manager.is_alive():
                return self.replace(output, "DeadKernelError: the process is gone")
            if not replied and time.monotonic() > deadline:
                if late:
                    return self.replace(output, late)
                late, deadline = f"TimeoutError: over {timeout:g} s", time.monotonic() + 2
                self.manager.interrupt_kernel()
        return output.finished(late or error)

    def note(self, message: dict[str, Any], output: Output) -> None:
        """Takes the text out of a message."""
        content = message["content"]
        if message["msg_type"] == "stream":
            output.add(content["text"])
        elif message["msg_type"] == "execute_result":
            output.add_line(content["data"]["text/plain"])

    def replace(self, output: Output, why: str) -> str:
        """Puts a new kernel in the place of this one."""
        self.close()
        self.begin()
        return output.finished(f"{why}; state lost")


# %% nbgrader={"grade_id": "files"}
class Workspace(Executor):
    """Files, opened in the way of old."""

    def read_file(self, path: str) -> str:
        """Returns a file's text."""
        with self.folder.joinpath(path).open(encoding="utf-8", newline="") as file:
            return file.read()

    def write_file(self, path: str, content: str) -> None:
        """Makes a file of this text."""
        with self.folder.joinpath(path).open("w", encoding="utf-8", newline="") as file:
            file.write(content)


# %% nbgrader={"grade_id": "tools"}
class Toolbox(Workspace):
    """Tools behind a validator each; the three built-in ones are registered like others."""

    def __init__(self) -> None:
        super().__init__()
        self.tools: dict[str, Any] = {}
        for fn, names in ((self.python, ["code"]), (self.read_file, ["path"])):
            self.register_tool(fn.__name__, fn, {"required": names})
        self.register_tool("write_file", self.write, {"required": ["path", "content"]})

    def python(self, code: str) -> str:
        """`execute` as a tool."""
        return self.execute(code)

    def write(self, path: str, content: str) -> str:
        """`write_file` as a tool."""
        self.write_file(path, content)
        return f"{len(content)} characters written"

    def register_tool(self, name: str, fn: Callable[..., str], schema: dict[str, Any]) -> None:
        """Makes `fn` known as a tool."""
        self.tools[name] = (fn, jsonschema.Draft202012Validator({"type": "object", **schema}))

    def call_tool(self, name: str, arguments: dict[str, Any]) -> str:
        """Returns what the tool returns, or what is wrong."""
        if name not in self.tools:
            return f"Error: the tools are {', '.join(self.tools)}"
        fn, validator = self.tools[name]
        wrong = [error.message for error in validator.iter_errors(arguments)]
        if wrong:
            return f"Error: {'; '.join(wrong)}"
        try:
            return fn(**arguments)
        except Exception as error:
            return f"Error: {error!r}"


# %% nbgrader={"grade_id": "agent"}
class MaxStepsError(RuntimeError):
    """Out of steps."""


class Agent(Toolbox):
    """The loop, with observations in plain words."""

    def solve(self, task: str, llm: Callable[..., str], max_steps: int = 8) -> str:
        """Lets the model work until it answers."""
        prompt = ({"role": "user", "content": f"Use {', '.join(self.tools)}, in JSON."},)
        prompt += ({"role": "user", "content": task},)
        for _ in range(max_steps):
            reply = llm(list(prompt))
            told = "Error: write one JSON object, with tool and arguments, or with answer"
            with contextlib.suppress(ValueError, TypeError, KeyError):
                action = json.loads(reply)
                if "answer" in action:
                    return action["answer"]
                told = (
                    f"{action['tool']} says: {self.call_tool(action['tool'], action['arguments'])}"
                )
            said = {"role": "assistant", "content": reply}
            prompt += (said, {"role": "user", "content": told})
        raise MaxStepsError


# %% nbgrader={"grade_id": "jupyter-agent"}
class JupyterAgent(Agent):
    """All of it is there already."""
