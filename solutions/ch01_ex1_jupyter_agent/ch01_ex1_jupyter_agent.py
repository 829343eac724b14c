# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercise 1.1: a machine for the agent
#
# **Goal**: build `JupyterAgent`, which gives a language model a Python kernel, files and tools, and
# comes back whatever the code in the kernel does.
#
# **Why it matters.** An agent is as dependable as its machine. If one cell that never ends can
# stop it, or one cell's output is taken for another's, the best model draws wrong conclusions from
# false observations. Chapter 1 showed how executors break; here you write one that does not.
#
# | | |
# |---|---|
# | Difficulty | ●●●●○ |
# | Importance | ●●●●● |
# | Time | 150 minutes |
# | Before | [chapter 1](../../chapters/ch01_agent_sandbox.ipynb), sections 2 to 5 |

# %% [markdown]
# ## The contract
#
# ```python
# class JupyterAgent:                      # a context manager; close() leaves nothing behind
#     def execute(self, code: str, timeout: float = 10.0) -> str
#     def read_file(self, path: str) -> str
#     def write_file(self, path: str, content: str) -> None
#     def register_tool(self, name: str, fn: Callable[..., str], schema: dict) -> None
#     def call_tool(self, name: str, arguments: dict) -> str
#     def solve(self, task: str, llm: Callable[[list[dict]], str], max_steps: int = 8) -> str
#     def close(self) -> None
#
# class MaxStepsError(RuntimeError)
# ```
#
# - **`execute`** returns what was printed, stderr in order with stdout, then the text of the last
#   value on a line of its own, without the final newline: `print(1); 2` gives `"1\n2"`.
#   - *An exception*: what was printed, then, on a line of its own, `Error: <name>: <message>`.
#   - *Longer than `timeout` seconds*: the cell is interrupted; the error is
#     `Error: TimeoutError: …`. If the cell ignores that, its kernel is replaced, and the error says
#     `state lost`. It says so only then.
#   - *A kernel that died*, in this cell or since the last one: `Error: DeadKernelError: …`, which
#     says `state lost`. The call after that works in a new kernel.
#   - *Output*: the first 100,000 characters are kept; what is cut ends with `… [truncated]`.
# - **`read_file`, `write_file`**: text in UTF-8, exactly as it is. Relative paths start in the
#   folder in which the kernel starts: the one in which the agent was made. They raise the usual
#   `OSError`s.
# - **`register_tool`**: `call_tool(name, arguments)` then calls `fn(**arguments)`, provided that
#   `arguments` match `schema`, a JSON Schema.
# - **`call_tool`** never raises: each failure is text that begins with `Error:`. Three tools are
#   there from the start: `python(code)`, `read_file(path)`, `write_file(path, content)`.
# - **`solve`** calls `llm(messages)` until it has an answer. The model replies with one JSON object:
#   `{"tool": name, "arguments": {…}}` or `{"answer": text}`. The first prompt names every tool, and
#   ends with the task as a user message. Each later prompt is the one before it, the model's reply
#   as an assistant message, and a user message with what came of it: the tool's result, or text
#   with `Error:` in it. Returns the answer, or raises `MaxStepsError` after `max_steps` replies
#   without one.
# - **`close`** ends the kernel and all that its cells have started; a second call does no harm.

# %% [markdown]
# ## The criteria
#
# | criterion | points | what it asks |
# |---|---|---|
# | `prints-come-back` | 8 | what is printed comes back as it is |
# | `values-and-state` | 8 | last values, their order with prints, variables that persist |
# | `exceptions-are-text` | 6 | an exception is text, and the next call works |
# | `files-come-back` | 8 | any text, any name, the usual errors |
# | `tools-are-checked` | 8 | arguments are validated, failures are text |
# | `solve-carries-on` | 12 | mistakes of the model are shown to it, and it goes on |
# | `deadlines-hold` | 12 | endless cells end, and the state is kept where it can be |
# | `dead-kernels-are-replaced` | 10 | a kernel that dies costs its state, not the agent |
# | `output-stays-in-its-cell` | 12 | nothing late is taken for an answer; floods are cut |
# | `close-leaves-nothing` | 8 | no process, thread or socket file remains |
# | `a-real-model-is-served` | 4 | the same with SmolLM2 on vLLM |
# | *why the printed answer fails* | 4 | your own words, read by a person |
#
# The criteria stand in `acceptance.py` beside this notebook: short functions that you can read. Your
# work is graded by the same functions, with other numbers. How you meet the contract is up to you:
# the classes below are one way. They grow from step to step, each standing on the one before, and
# the last one is `JupyterAgent`.

# %% [markdown]
# > **What the source gets wrong.** *Claim*: the reference answer of this very exercise, printed in a
# > handbook, sends the cell, takes one message from `iopub`, returns its text if it is output, and
# > else reads the exception's name from it; `print(sum([1,2,3]))` is to give `"6"`. *Measured*
# > (chapter 1, section 3): the first message is `status: busy`, a status has no exception's name, and
# > so every call raises `KeyError`. Skip the statuses, and it returns `"6\n"`, the first output of
# > several, and what an earlier cell has sent late. And a cell that takes longer than its ten
# > seconds leaves the kernel busy for all later ones. *Correction*: match each message's parent, end
# > at reply *and* idle, keep deadlines by interrupt, then by force. That is what you build here.
#
# **Question, read by a person (4 points).** One obvious repair of that answer is to gather output
# until the kernel says `idle`. It passes every test with calm cells. Describe in three to five
# sentences a sequence of two calls in which it gives a wrong answer without raising anything, and
# say which rule prevents that.

# %% [markdown] nbgrader={"grade": true, "grade_id": "why-the-printed-answer-fails", "locked": false, "points": 4, "schema_version": 3, "solution": true, "task": false}
# The first call runs `time.sleep(20); print("late")`. After ten seconds the executor gives up, but
# nothing tells the kernel, which goes on. The second call runs `print("mine")`; the kernel queues it
# behind the first cell. When that ends, its `late` and its `idle` arrive, and the executor returns
# `late` as the answer to the second call. Matching `parent_header.msg_id` prevents it; interrupting
# the first cell at its deadline keeps the second from waiting.

# %% nbgrader={"grade": false, "grade_id": "setup", "locked": true, "schema_version": 3, "solution": false, "task": false}
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL
from typing import Any, Self

import jsonschema
import zmq
from jupyter_client.manager import KernelManager

from autograder.check import check

# %% [markdown]
# ## Step 1: calm cells
#
# `Kernel` starts a process and gives you its messages; only `close` is yours. `Output` gathers text
# within bounds. `Cell` takes the messages of one request, and knows when there will be no more.
# `Executor` puts them together. Two rules: a message whose `parent_header` names another request is
# not this cell's, and a cell is done when its reply *and* its status `idle` have come, in either
# order. Under a flood of output the kernel drops messages, `idle` too, so after the reply wait for
# it for a second at most.
#
# <details><summary>Hint 1: I do not know which messages come</summary>
#
# Start a `Kernel`, `send` it `print(6); 7`, and print `msg_type`, `parent_header` and `content` of
# all that `receive(1)` returns, several times.
# </details>
# <details><summary>Hint 2: which messages matter?</summary>
#
# `stream` has `content["text"]`, `execute_result` has `content["data"]["text/plain"]`, `status` has
# `content["execution_state"]`. `execute_reply` comes on the shell channel; where its `status` is
# `"error"` it has `ename` and `evalue`.
# </details>
# <details><summary>Hint 3: what is there to close?</summary>
#
# Three things: `self.client.stop_channels()`, `self.manager.shutdown_kernel(now=True)` (which kills
# the kernel's process group and ends ZeroMQ's threads), and `self.private.cleanup()`.
# </details>


# %% nbgrader={"grade": false, "grade_id": "kernel", "locked": false, "schema_version": 3, "solution": true, "task": false}
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
        self.send("import sys; sys.stderr = sys.stdout")  # each has a buffer: two lose the order

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
        ### BEGIN SOLUTION
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.private.cleanup()
        ### END SOLUTION


# %% nbgrader={"grade": false, "grade_id": "output", "locked": false, "schema_version": 3, "solution": true, "task": false}
LIMIT = 100_000  # characters
CUT = "… [truncated]"


class Output:
    """Text that is gathered piece by piece, and cut at LIMIT characters."""

    def __init__(self) -> None:
        self.text = ""
        self.cut = False

    def add(self, text: str) -> None:
        """Adds what was printed, as far as there is room for it."""
        ### BEGIN SOLUTION
        room = LIMIT - len(self.text)
        self.text += text[:room]
        self.cut = self.cut or len(text) > room
        ### END SOLUTION

    def add_line(self, text: str) -> None:
        """Adds text on a line of its own."""
        ### BEGIN SOLUTION
        if self.text and not self.text.endswith("\n"):
            self.add("\n")
        self.add(text + "\n")
        ### END SOLUTION

    def finished(self, error: str) -> str:
        """Returns the text, the mark if it was cut, and `Error: …` on a line of its own if any."""
        ### BEGIN SOLUTION
        text = self.text + CUT if self.cut else self.text.removesuffix("\n")
        if not error:
            return text
        return f"{text}\nError: {error[:LIMIT]}" if text else f"Error: {error[:LIMIT]}"
        ### END SOLUTION


# %% nbgrader={"grade": false, "grade_id": "cell", "locked": false, "schema_version": 3, "solution": true, "task": false}
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
        ### BEGIN SOLUTION
        if message["parent_header"].get("msg_id") != self.request:
            return
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
        ### END SOLUTION

    def done(self) -> bool:
        """Whether all has come: the reply, and `idle` too unless that seems to be lost."""
        ### BEGIN SOLUTION
        if self.replied_at is None:
            return False
        return self.idle or time.monotonic() > self.replied_at + IDLE_GRACE
        ### END SOLUTION


# %% nbgrader={"grade": false, "grade_id": "executor", "locked": false, "schema_version": 3, "solution": true, "task": false}
class Executor:
    """Executes cells in a kernel of its own. `execute` and `gather` are yours."""

    def __init__(self) -> None:
        self.folder = Path.cwd()
        self.kernel: Kernel | None = None

    def execute(self, code: str, timeout: float = 10.0) -> str:
        """Returns what the cell printed, its value, its error: see the contract."""
        ### BEGIN SOLUTION
        cell = self.start(code)
        self.gather(cell, timeout)
        return cell.output.finished(cell.error)
        ### END SOLUTION

    def start(self, code: str) -> Cell:
        """Sends a cell to the kernel, to a new one where there is none."""
        self.kernel = self.kernel or Kernel(self.folder)
        return Cell(self.kernel, code)

    def gather(self, cell: Cell, seconds: float) -> None:
        """Gives the cell its messages until it is done or the time is over."""
        ### BEGIN SOLUTION
        deadline = time.monotonic() + seconds
        while not cell.done() and (left := deadline - time.monotonic()) > 0:
            for message in cell.kernel.receive(min(left, 0.05)):
                cell.take(message)
        ### END SOLUTION

    def close(self) -> None:
        """Ends the kernel, if there is one."""
        kernel, self.kernel = self.kernel, None
        if kernel is not None:
            kernel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


# %% nbgrader={"grade": true, "grade_id": "prints-come-back", "locked": true, "points": 8, "schema_version": 3, "solution": false, "task": false}
check("prints-come-back", Executor)

# %% nbgrader={"grade": true, "grade_id": "values-and-state", "locked": true, "points": 8, "schema_version": 3, "solution": false, "task": false}
check("values-and-state", Executor)

# %% nbgrader={"grade": true, "grade_id": "exceptions-are-text", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check("exceptions-are-text", Executor)

# %%
with Executor() as executor:
    for code in ("print(sum([1,2,3]))", "print(6); 7", "1 / 0"):
        print(f"{code:20}{executor.execute(code)!r}")

# %% [markdown]
# Expected output:
#
# ```
# print(sum([1,2,3])) '6'
# print(6); 7         '6\n7'
# 1 / 0               'Error: ZeroDivisionError: division by zero'
# ```

# %% [markdown]
# ## Step 2: files
#
# The kernel's folder is an ordinary folder, and an agent needs no cell to reach it. Text must come
# back as it was written.
#
# <details><summary>Hint 1</summary>
#
# Write `"a\r\nb"` and read it again. What does Python's text mode do to it?
# </details>
# <details><summary>Hint 2</summary>
#
# `Path.read_bytes`, `Path.write_bytes`, and UTF-8 said explicitly. `folder / path` is `path` itself
# where that is absolute.
# </details>


# %% nbgrader={"grade": false, "grade_id": "files", "locked": false, "schema_version": 3, "solution": true, "task": false}
class Workspace(Executor):
    """An executor and the files of its folder."""

    def read_file(self, path: str) -> str:
        """Returns a file's text. Raises OSError, FileNotFoundError for one."""
        ### BEGIN SOLUTION
        return (self.folder / path).read_bytes().decode("utf-8")
        ### END SOLUTION

    def write_file(self, path: str, content: str) -> None:
        """Makes a file of this text, in place of what was there. Raises OSError."""
        ### BEGIN SOLUTION
        (self.folder / path).write_bytes(content.encode("utf-8"))
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "files-come-back", "locked": true, "points": 8, "schema_version": 3, "solution": false, "task": false}
check("files-come-back", Workspace)

# %% [markdown]
# ## Step 3: tools
#
# A tool's caller is a model, which makes mistakes of every kind, and learns from them only what it
# is told. So arguments are validated before the tool sees them, and each failure becomes text.
#
# <details><summary>Hint 1</summary>
#
# `jsonschema.validate(arguments, schema)` raises `jsonschema.ValidationError`, whose `message` says
# what is wrong in words that a model can use.
# </details>
# <details><summary>Hint 2</summary>
#
# `write_file` returns nothing, and a tool returns text: what should the model read after a file
# was written?
# </details>


# %% nbgrader={"grade": false, "grade_id": "tools", "locked": false, "schema_version": 3, "solution": true, "task": false}
def text_arguments(*names: str) -> dict[str, Any]:
    """The JSON Schema of arguments that are all text, and all required."""
    properties = {name: {"type": "string"} for name in names}
    rules = {"required": list(names), "additionalProperties": False}
    return {"type": "object", "properties": properties, **rules}


class Toolbox(Workspace):
    """An executor with tools, the first of which are its own methods."""

    def __init__(self) -> None:
        super().__init__()
        self.tools: dict[str, tuple[Callable[..., str], dict[str, Any]]] = {}
        self.register_tool("python", self.execute, text_arguments("code"))
        self.register_tool("read_file", self.read_file, text_arguments("path"))
        self.register_tool("write_file", self.save, text_arguments("path", "content"))

    def save(self, path: str, content: str) -> str:
        """`write_file` as a tool."""
        self.write_file(path, content)
        return f"saved {path}"

    def register_tool(self, name: str, fn: Callable[..., str], schema: dict[str, Any]) -> None:
        """Makes `fn` known as a tool; `schema` is the JSON Schema of its arguments."""
        self.tools[name] = (fn, schema)

    def call_tool(self, name: str, arguments: dict[str, Any]) -> str:
        """Returns what the tool returns, or text that begins with `Error:`. Never raises."""
        ### BEGIN SOLUTION
        try:
            fn, schema = self.tools[name]
            jsonschema.validate(arguments, schema)
            return fn(**arguments)
        except jsonschema.ValidationError as error:
            return f"Error: wrong arguments for {name}: {error.message}"
        except Exception as error:
            return f"Error: {type(error).__name__}: {error}"
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "tools-are-checked", "locked": true, "points": 8, "schema_version": 3, "solution": false, "task": false}
check("tools-are-checked", Toolbox)

# %% [markdown]
# ## Step 4: the loop
#
# The model writes, you carry out, the result goes back, until there is an answer or the steps run
# out. A reply that is no JSON, or neither a call nor an answer, takes a step like any other; what
# was wrong with it is the next observation.
#
# <details><summary>Hint 1: what can a reply be?</summary>
#
# Not JSON; JSON but no object; an object with neither `tool` nor `answer`; a call without
# `arguments`; a call; an answer. Only the last ends the loop.
# </details>
# <details><summary>Hint 2: how do I tell these apart?</summary>
#
# Python's `match` takes dictionaries apart: `case {"tool": str(name), "arguments": arguments}`.
# </details>
# <details><summary>Hint 3: the small model loses the thread</summary>
#
# Let each observation name its tool, as in chapter 1: `{"tool": "python", "result": "…"}`. (The
# criteria do not ask for it.)
# </details>


# %% nbgrader={"grade": false, "grade_id": "agent", "locked": false, "schema_version": 3, "solution": true, "task": false}
class MaxStepsError(RuntimeError):
    """The model has not answered within the steps that it had."""


class Agent(Toolbox):
    """A machine for a language model: a kernel, files, tools, and the loop that uses them."""

    def solve(self, task: str, llm: Callable[..., str], max_steps: int = 8) -> str:
        """Asks `llm(messages)` until it answers; returns the answer. Raises MaxStepsError."""
        ### BEGIN SOLUTION
        tools = "\n".join(f"- {name}: {json.dumps(self.tools[name][1])}" for name in self.tools)
        form = 'Reply with one JSON object: {"tool": name, "arguments": {…}} or {"answer": text}.'
        system = f"{form} The tools and their arguments:\n{tools}"
        messages = [{"role": "system", "content": system}, {"role": "user", "content": task}]
        for _ in range(max_steps):
            reply = llm(messages)
            answer, observation = self.act(reply)
            if answer is not None:
                return answer
            messages.append({"role": "assistant", "content": reply})
            messages.append({"role": "user", "content": observation})
        raise MaxStepsError(f"no answer in {max_steps} steps")
        ### END SOLUTION

    def act(self, reply: str) -> tuple[str | None, str]:
        """Carries out what the model wrote; returns its answer if it is one, and what came of it."""
        ### BEGIN SOLUTION
        try:
            action = json.loads(reply)
        except (ValueError, RecursionError) as error:
            return None, f"Error: the reply is not JSON: {error}"
        match action:
            case {"answer": str(answer)}:
                return answer, ""
            case {"tool": str(name), "arguments": arguments}:
                result = {"tool": name, "result": self.call_tool(name, arguments)}
                return None, json.dumps(result, ensure_ascii=False)
        return None, "Error: the reply is neither a tool call with arguments nor an answer"
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "solve-carries-on", "locked": true, "points": 12, "schema_version": 3, "solution": false, "task": false}
check("solve-carries-on", Agent)

# %% [markdown]
# ## Step 5: rough cells
#
# A cell may take too long, may ignore that it is interrupted, may end the process. `JupyterAgent`
# comes back from all of these, and tells whether variables survived. Keep the order: interrupt,
# wait, kill. Give an interrupted cell two seconds: it may have something to clean up, and what it
# still prints belongs to its own answer. And look at the process while you wait: on the wire a
# death never shows.
#
# <details><summary>Hint 1: where do I begin?</summary>
#
# With `gather`: besides the cell's end and the deadline, there is now a third reason to stop. In
# `execute`, ask after `gather` which of the three it was.
# </details>
# <details><summary>Hint 2: which calls of jupyter_client?</summary>
#
# `cell.kernel.manager.is_alive()` and `cell.kernel.manager.interrupt_kernel()`. To replace a kernel,
# close it: `start` makes a new one when it is next needed.
# </details>
# <details><summary>Hint 3: nearly there</summary>
#
# `execute` has four ends: the cell is done; the kernel is dead; the cell is done after the
# interrupt; it is not. The second and the last close the kernel, and say `state lost`.
# </details>

# %% nbgrader={"grade": false, "grade_id": "jupyter-agent", "locked": false, "schema_version": 3, "solution": true, "task": false}
GRACE = 2.0  # seconds that an interrupted cell has to end


class JupyterAgent(Agent):
    """An agent that comes back, whatever the model's code does."""

    def execute(self, code: str, timeout: float = 10.0) -> str:
        """Returns what the cell printed, its value, its error: see the contract."""
        ### BEGIN SOLUTION
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
        ### END SOLUTION

    def gather(self, cell: Cell, seconds: float) -> None:
        """Gives the cell its messages until it is done, the time is over, or the kernel dies."""
        ### BEGIN SOLUTION
        deadline = time.monotonic() + seconds
        while not cell.done() and (left := deadline - time.monotonic()) > 0:
            alive = cell.kernel.manager.is_alive()
            super().gather(cell, min(left, 0.1))  # once more after a death: its last words
            if not alive:
                return
        ### END SOLUTION

    def give_up(self, cell: Cell, why: str) -> str:
        """Ends the kernel, so that the next cell starts a new one; returns the cell's answer."""
        ### BEGIN SOLUTION
        self.close()
        return cell.output.finished(f"{why}; state lost")
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "deadlines-hold", "locked": true, "points": 12, "schema_version": 3, "solution": false, "task": false}
check("deadlines-hold", JupyterAgent)

# %% nbgrader={"grade": true, "grade_id": "dead-kernels-are-replaced", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("dead-kernels-are-replaced", JupyterAgent)

# %% nbgrader={"grade": true, "grade_id": "output-stays-in-its-cell", "locked": true, "points": 12, "schema_version": 3, "solution": false, "task": false}
check("output-stays-in-its-cell", JupyterAgent)

# %% [markdown]
# What the cells that broke the handbook's answer give now, in one agent, with `timeout=1.0` (the
# words after the errors' names are yours):
#
# ```
# print(sum([1,2,3]))     '6'
# while True: pass        'Error: TimeoutError: interrupted after 1 s'
# import os; os._exit(1)  'Error: DeadKernelError: the kernel has died; state lost'
# print(6); 7             '6\n7'
# ```
#
# Where it stops holding: a *thread* that an earlier cell has left running prints into whatever cell
# runs now, for ipykernel (7.4) gives its output that cell's parent; and a cell can read the key that
# signs the kernel's messages and forge any of them. What comes out of a kernel is untrusted text.
#
# ## Step 6: nothing left, and a real model
#
# Nothing to write, if `close` was right. The first check looks, from outside, for what is left when
# your agent has been closed. The second loads SmolLM2 on vLLM, which takes up to a minute, and asks
# for mechanics only: each reply of the model is carried out, each result is in its next prompt.

# %% nbgrader={"grade": true, "grade_id": "close-leaves-nothing", "locked": true, "points": 8, "schema_version": 3, "solution": false, "task": false}
check("close-leaves-nothing", JupyterAgent)

# %% nbgrader={"grade": true, "grade_id": "a-real-model-is-served", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check("a-real-model-is-served", JupyterAgent)

# %% [markdown]
# ## What you have now
#
# An executor that gives each cell its own answer, an agent that survives its model and its code, and
# the seven rules of chapter 1 in your own words. It is not yet a sandbox: the kernel is a process of
# yours, and reads what you can read.
