"""Acceptance criteria of exercise 1.1: a machine for the agent."""

import json
import operator
import random
import re
import string
from typing import Any

from autograder.acceptance import Proxy, Work, criterion, equal, expect, fails_with

HIDES: tuple[str, ...] = ("workbook.sandbox.kernel", "workbook.sandbox.process")
HIDES += ("workbook.sandbox.outputs", "workbook.sandbox.capture", "workbook.sandbox.agent")
PRELOAD = ("jsonschema", "jupyter_client")
NEEDS = ("model",)

LIMIT = 100_000  # characters of output that are kept
CUT = "… [truncated]"
KILL = "import os, signal; os.kill({}, signal.SIGKILL)"
STUBBORN = """
import time
while True:
    try: time.sleep(60)
    except BaseException: pass
"""
FLOOD = """
for first in range(0, 200_000, 50):
    print('\\n'.join(map(str, range(first, first + 50))))
"""
SLOW_TO_END = """
import time
try: time.sleep(60)
finally: time.sleep(1); print('late')
"""


@criterion(
    hint=(
        "Print all that the kernel sends. What comes first, and what carries output?",
        "Gather the text of every `stream` until the cell has ended, then cut one newline.",
    )
)
def prints_come_back(work: Work, rng: random.Random) -> None:
    """`execute("print(sum([1,2,3]))")` is `"6"`: what is printed, less the final newline."""
    a, b, spaced = number(rng), number(rng), f"  {word(rng)} \n"
    with work.new("JupyterAgent") as agent:
        equal(agent.execute("print(sum([1,2,3]))"), "6")
        equal(agent.execute(f"print({a} * {b})"), str(a * b), "Is it computed, or remembered?")
        hint = "Only the final newline goes: `removesuffix`, not `strip`."
        equal(agent.execute(f"print({spaced!r})"), spaced, hint)
        equal(agent.execute("x = 1"), "", "A cell may print nothing, and yet it ends.")


@criterion(
    hint=(
        "The value comes in a message of its own; prints come in any number of them.",
        "It is `execute_result`, with `text/plain`. What was printed before it may lack a newline.",
    )
)
def values_and_state(work: Work, rng: random.Random) -> None:
    """Variables persist; the last value has its own line; stdout, stderr and value are in order."""
    a, b, text = number(rng), number(rng), word(rng)
    with work.new("JupyterAgent") as agent:
        agent.execute(f"a = {a}")
        equal(agent.execute("a + 1"), str(a + 1), "Do both cells run in the same process?")
        equal(agent.execute(repr(text)), repr(text))
        equal(agent.execute(f"print({a}); {b}"), f"{a}\n{b}")
        hint = "The value needs a line of its own."
        equal(agent.execute(f"print({a}, end=''); {b}"), f"{a}\n{b}", hint)
        pause = f"import time; print({a}, flush=True); time.sleep(0.3); print({b})"
        equal(agent.execute(pause), f"{a}\n{b}", "The first output is not all of it.")
        order = f"import sys; print(1); print({a}, file=sys.stderr); print(3)"
        hint = "A kernel has one buffer for stdout and one for stderr: make them one."
        equal(agent.execute(order), f"1\n{a}\n3", hint)


@criterion(
    hint=(
        "Where does a kernel say that a cell has raised something?",
        "The reply has the exception's name (`ename`) and its text (`evalue`).",
    )
)
def exceptions_are_text(work: Work, rng: random.Random) -> None:
    """An exception is `Error: <name>: <message>` after what was printed; the next call works."""
    a, text, name = number(rng), word(rng), word(rng).title()
    raising = f"class {name}(Exception): pass\nprint({a}, end='')\nraise {name}({a})"
    with work.new("JupyterAgent") as agent:
        equal(agent.execute("1 / 0"), "Error: ZeroDivisionError: division by zero")
        equal(agent.execute(f"raise ValueError({text!r})"), f"Error: ValueError: {text}")
        hint = "The error needs a line of its own."
        equal(agent.execute(raising), f"{a}\nError: {name}: {a}", hint)
        begins(agent.execute("def broken(:"), "Error: SyntaxError: ")
        equal(agent.execute(f"print({a})"), str(a), "Was something of the failed cell left over?")


@criterion(
    hint=(
        "Use the file itself, not a cell that you write around its name and text.",
        "Read and write bytes, and say UTF-8: text mode changes `\\r\\n`.",
    )
)
def files_come_back(work: Work, rng: random.Random) -> None:
    """Any text comes back as it was, from any name; a missing file is a `FileNotFoundError`."""
    texts = {
        'it\'s "quoted" \\ ü.txt': f"'{word(rng)}' \"{word(rng)}\" '''\"\"\" \\ \\n {{x}} %s",
        "unicode.txt": f"ü – 漢字 😀 {word(rng)}",
        "lines.txt": f"{word(rng)}\n\n{word(rng)}\r\n{word(rng)}\r\t\n",
        "large.txt": word(rng) * 125_000,
        "empty.txt": "",
    }
    folder = f"files-{word(rng)}"
    with work.new("JupyterAgent") as agent:
        agent.execute(f"import os, shutil; os.mkdir({folder!r})")
        try:
            for name, text in texts.items():
                path = f"{folder}/{name}"
                agent.write_file(path, text)
                hint = "Python's text mode changes the ends of lines, and guesses the encoding."
                equal(agent.read_file(path), text, hint)
                size = agent.execute(f"os.path.getsize({path!r})")
                equal(size, str(len(text.encode())), "Do files and cells use the same folder?")
            absolute = agent.execute(f"print(os.path.abspath({folder!r}), end='/lines.txt')")
            equal(agent.read_file(absolute), texts["lines.txt"], "A path may be absolute.")
            with fails_with("FileNotFoundError"):
                agent.read_file(f"{folder}/missing.txt")
            with fails_with("FileNotFoundError"):
                agent.write_file(f"{folder}/missing/file.txt", "6")
            with fails_with("OSError", "A folder is not a file."):
                agent.read_file(folder)
        finally:
            agent.execute(f"shutil.rmtree({folder!r})")


@criterion(
    hint=(
        "Whatever fails between name and result becomes text that begins with `Error:`.",
        "Three things can fail: finding the tool, `jsonschema.validate`, the call. Catch all three.",
    )
)
def tools_are_checked(work: Work, rng: random.Random) -> None:
    """Tools get only arguments that match their schema; each failure is text, the tool's own too."""
    a, b, text = number(rng), number(rng), word(rng)
    calls: list[Any] = []

    def add(**arguments: Any) -> str:
        calls.append(arguments)
        return str(a + b)

    def broken(**_: Any) -> str:
        raise ValueError(f"out of {text}")

    schema = fields(a={"type": "integer"}, b={"type": "integer", "minimum": 0})
    unfit: list[Any] = [{"a": a}, {"a": str(a), "b": b}, {"a": a, "b": -1}, [a, b], None]
    with work.new("JupyterAgent") as agent:
        agent.register_tool("add", add, schema)
        agent.register_tool("broken", broken, {"type": "object"})
        equal(agent.call_tool("add", {"a": a, "b": b}), str(a + b))
        equal(calls, [{"a": a, "b": b}], "The arguments go to the function by their names.")
        for arguments in [*unfit, {"a": a, "b": b, "c": 1}]:
            hint = "Validate the arguments against the schema before you call."
            begins(agent.call_tool("add", arguments), "Error:", hint)
        equal(len(calls), 1, "A tool must not see arguments that do not match its schema.")
        begins(agent.call_tool(text, {}), "Error:", "There is no such tool.")
        begins(failed := agent.call_tool("broken", {}), "Error:")
        expect(f"out of {text}" in failed, f"{failed!r:.300} does not have the exception's text")

        path = f"{text}.txt"
        equal(agent.call_tool("python", {"code": f"print({a} * {b})"}), str(a * b))
        saved = agent.call_tool("write_file", {"path": path, "content": text})
        expect(type(saved) is str and "Error:" not in saved, f"writing a file gave {saved!r:.300}")
        equal(agent.call_tool("read_file", {"path": path}), text)
        agent.execute(f"import os; os.remove({path!r})")
        begins(agent.call_tool("read_file", {"path": path}), "Error:", "The file is missing.")


@criterion(
    hint=(
        "Each reply is a step; what came of it stands in the next prompt.",
        "A reply that is no action is a step, too: append it, and a user message with its error.",
    ),
    seconds=120,
)
def solve_carries_on(work: Work, rng: random.Random) -> None:
    """With scripted models: a run without mistakes, one full of them, and one that never ends."""
    n, text, task = number(rng), word(rng), f"Find the {word(rng)}."
    name, code, reason = word(rng), word(rng), word(rng)

    def code_of(name: str, known: str = name) -> str:
        if name != known:
            raise LookupError(reason)
        return code

    look_up, again = call("code_of", name=name), call("python", code="n = n + 1; n")
    with work.new("JupyterAgent") as agent:
        agent.register_tool("code_of", code_of, fields(name={"type": "string"}))
        first = call("python", code=f"n = {n}\nprint(n * 3)")
        right = Script(first, look_up, again, again, answer(text))
        equal(agent.solve(task, right), text)
        right.begins_with(task, "python", "read_file", "write_file", "code_of")
        right.was_told(str(n * 3), code, str(n + 1), str(n + 2))

        not_json = rng.choice(['{"tool": "python", ', "I think that it is 6.", ""])
        no_action = rng.choice(["[]", '"python"', "{}", '{"tool": "python"}'])
        unknown, fails = call(text, name=name), call("code_of", name=text)
        unfit = call("code_of", nickname=name)
        errs = Script(not_json, no_action, unknown, fails, unfit, look_up, answer(text))
        equal(agent.solve(task, errs), text, "A mistake does not end the run: the model is told.")
        errs.was_told("Error:", "Error:", "Error:", reason, "Error:", code)

        endless = Script(*[look_up] * 5)
        with fails_with("MaxStepsError"):
            agent.solve(task, endless, max_steps=3)
        equal(len(endless.prompts), 3, "`max_steps` counts the replies of the model.")
        late = Script(look_up, answer(text))
        equal(agent.solve(task, late, max_steps=2), text, "The last step may be the answer.")


@criterion(
    hint=(
        "In this order: wait, interrupt, wait a little, kill.",
        "After the interrupt gather on for two seconds. Only a kernel that was closed lost its state.",
    ),
    seconds=120,
)
def deadlines_hold(work: Work, rng: random.Random) -> None:
    """An endless cell ends, its state is kept; where that fails the state is lost, and it is said."""
    a = number(rng)
    with work.new("JupyterAgent") as agent:
        agent.execute(f"a = {a}")
        with work.within(10):
            ended = agent.execute(f"print({a})\nwhile True: pass", timeout=1.0)
        begins(ended, f"{a}\nError: TimeoutError: ")
        hint = "Interrupt before you kill, and give the cell time to end."
        expect("state lost" not in ended, "it says `state lost`", hint)
        equal(agent.execute("a"), str(a), "Is the cell given the time to end after the interrupt?")
        with work.within(10):
            ended = agent.execute(STUBBORN, timeout=1.0)
        begins(ended, "Error: TimeoutError: ")
        hint = "Kill what ignores the interrupt, and say what that costs."
        expect("state lost" in ended, "it does not say `state lost`", hint)
        begins(agent.execute("a"), "Error: NameError: ", "Its state was said to be lost.")
        equal(agent.execute(f"print({a})"), str(a), "After the kill, is there a new kernel?")


@criterion(
    hint=(
        "A dead kernel sends nothing: look at the process while you wait.",
        "Wait in short steps, `manager.is_alive()` in between; then close it and say `state lost`.",
    ),
    seconds=120,
)
def dead_kernels_are_replaced(work: Work, rng: random.Random) -> None:
    """A kernel that exits, crashes or is killed: an error within 10 s, and the next call works."""
    exits, crashes = "import os; os._exit(1)", "import ctypes; ctypes.string_at(0)"
    with work.new("JupyterAgent") as agent:
        for code in (exits, crashes):
            a = number(rng)
            equal(agent.execute(f"print({a})"), str(a), "After a death, is there a new kernel?")
            with work.within(10):
                says_dead(agent.execute(code, timeout=60.0))
        pid = agent.execute("import os; os.getpid()")  # of the process that executes the cells
        with work.new("JupyterAgent") as other:
            other.execute(KILL.format(pid))
        with work.within(10):
            hint = "It may die between two cells. Its state is lost then too: say so."
            says_dead(agent.execute("6", timeout=60.0), hint)
        equal(agent.execute(f"print({a})"), str(a))


@criterion(
    hint=(
        "Compare each message's parent with your request; keep no more than the limit.",
        "Count what is kept, not what came, and read on: the cell ends at its reply and its idle.",
    ),
    seconds=120,
)
def output_stays_in_its_cell(work: Work, rng: random.Random) -> None:
    """What an earlier cell sends late is no answer; 200,000 lines come back, and come back cut."""
    with work.new("JupyterAgent") as agent:
        agent.execute(SLOW_TO_END, timeout=1.0)
        answers_for_itself(agent, rng)
        flood = agent.execute(FLOOD, timeout=60.0)
        expect(type(flood) is str and flood.endswith(CUT), f"a flood does not end with `{CUT}`")
        kept = flood.removesuffix(CUT)
        expect(len(kept) <= LIMIT, f"{len(kept):,} characters are kept, not {LIMIT:,}")
        whole = "\n".join(map(str, range(200_000)))
        expect(kept == whole[:LIMIT], f"what is kept are not the first {LIMIT:,} characters")
        answers_for_itself(agent, rng)
        endless = str(agent.execute("while True: print('and on ' * 100)", timeout=1.0))
        expect(f"{CUT}\nError: TimeoutError: " in endless, f"after `{CUT}` the error is missing")
        answers_for_itself(agent, rng)


@criterion(
    hint=(
        "What does a kernel start, and who ends that if the kernel is dead already?",
        "Kill the process group, wait for it, close sockets, remove the folder.",
    ),
    fresh=True,
)
def close_leaves_nothing(work: Work, rng: random.Random) -> None:
    """`close` leaves no process, thread or socket file, not of a kernel that died before either."""
    child = "import subprocess; child = subprocess.Popen(['sleep', '600'])"
    with work.new("JupyterAgent") as first:  # what is made once and for all does not count
        answers_for_itself(first, rng)
    with work.nothing_left():
        with work.new("JupyterAgent") as agent:
            agent.execute(child)
            agent.execute("import os; os._exit(1)")
            equal(agent.execute(f"{child}; child.poll()"), "", "A value of `None` is none.")
            answers_for_itself(agent, rng)
        agent.close()


@criterion(
    hint=(
        "Carry out every reply, and repeat the whole of every prompt.",
        "It asks the same as `solve-carries-on`, with replies that nobody has written down.",
    ),
    seconds=300,
)
def a_real_model_is_served(work: Work, rng: random.Random) -> None:
    """SmolLM2 under a schema: each reply is carried out, each result is in the next prompt."""
    ages = {name: str(rng.randrange(10**6, 10**7)) for name in RealModel.NAMES}
    asked: list[Any] = []

    def age_of(name: str) -> str:
        asked.append(name)
        return ages[name]

    sums = [call("python", code="print(31 + 12)"), answer("It is 43.")]
    task = "Look up ages, add numbers, answer. An example:\n" + "\n".join(sums)
    with work.new("JupyterAgent") as agent:
        agent.register_tool("age_of", age_of, fields(name={"type": "string"}))
        equal(agent.execute("print(6)"), "6")
        model = RealModel(work.llm())
        given = agent.solve(task, model, max_steps=12)
    expect(model.actions != [], "the model was not asked")
    equal(given, model.actions[-1].get("answer"))
    calls = model.actions[:-1]
    model.was_told(*[model.result_of(action, ages) for action in calls])
    names = [action["arguments"]["name"] for action in calls if action.get("tool") == "age_of"]
    equal(asked, names, "Each call is carried out once, also one that has been made before.")


class Script:
    """A model that says what it is told to, and keeps the prompts that it was given."""

    def __init__(self, *replies: str) -> None:
        self.replies = list(replies)
        self.prompts: list[Any] = []

    def __call__(self, messages: Any) -> str:
        """Gives the next reply."""
        self.prompts.append(messages)
        return self.replies[len(self.prompts) - 1]

    def begins_with(self, task: str, *tools: str) -> None:
        """Expects that the first prompt names these tools and ends with the task."""
        first: Any = self.prompts[0] if self.prompts else None
        expect(type(first) is list and first != [], f"the first prompt is {first!r:.300}")
        equal(first[-1], {"role": "user", "content": task}, "First the rules, then the task.")
        for tool in tools:
            expect(tool in str(first), f"the first prompt does not name the tool {tool}")

    def was_told(self, *wanted: str) -> None:
        """Expects that each prompt appends to the one before: the reply, what came of it."""
        equal(len(self.prompts), len(wanted) + 1, "The model is asked once for each reply.")
        for step, text in enumerate(wanted):
            before, after = self.prompts[step : step + 2]
            hint = "Append two messages. Change nothing, drop no failure, forget nothing."
            longer = type(after) is list and len(after) > 2 and after[:-2] == before
            expect(longer, f"prompt {step + 2} is not prompt {step + 1} and two more", hint)
            said = {"role": "assistant", "content": self.replies[step]}
            equal(after[-2], said, "The reply goes back as the model wrote it.")
            told = after[-1] if type(after[-1]) is dict else {}
            equal(told.get("role"), "user", "What came of a reply is a user message.")
            shown = f"prompt {step + 2} ends with {str(told.get('content'))!r:.300}"
            expect(text in str(told.get("content")), f"{text!r} is missing: {shown}")


class RealModel(Script):
    """A language model that can write nothing but calls, and after eight of them an answer."""

    NAMES = ("ann", "bob", "eve")
    SUM = re.compile(r"print\(([1-9]\d{1,3}) ([+*-]) ([1-9]\d{1,3})\)")

    def __init__(self, llm: Any) -> None:
        super().__init__()
        self.actions: list[dict[str, Any]] = []  # the replies; one that was cut is {}
        self._llm = llm
        code = fields(code={"type": "string", "pattern": f"^{self.SUM.pattern}$"})
        name = fields(name={"enum": list(self.NAMES)})
        python, age_of = fields(tool={"const": "python"}, arguments=code), {"const": "age_of"}
        self._call = {"anyOf": [python, fields(tool=age_of, arguments=name)]}
        self._answer = fields(answer={"type": "string", "maxLength": 40})

    def __call__(self, messages: Any) -> str:
        """Gives the model's reply."""
        schema = self._call if len(self.replies) < 8 else self._answer
        reply = self._llm.chat(messages, schema=schema, max_tokens=80)
        self.prompts.append(messages)
        self.replies.append(reply.text)
        self.actions.append(json.loads(reply.text) if reply.finish_reason == "stop" else {})
        return self.replies[-1]

    def result_of(self, action: dict[str, Any], ages: dict[str, str]) -> str:
        """What carrying out an action gives."""
        arguments = action.get("arguments", {})
        if action.get("tool") == "age_of":
            return ages[arguments["name"]]
        signs = {"+": operator.add, "-": operator.sub, "*": operator.mul}
        parts = self.SUM.fullmatch(arguments.get("code", ""))
        return str(signs[parts[2]](int(parts[1]), int(parts[3]))) if parts else "Error:"


def call(tool: str, **arguments: str) -> str:
    """The reply of a model that calls a tool."""
    return json.dumps({"tool": tool, "arguments": arguments})


def answer(text: str) -> str:
    """The reply of a model that has an answer."""
    return json.dumps({"answer": text})


def fields(**properties: Any) -> dict[str, Any]:
    """The JSON Schema of an object with these properties and no others."""
    rules = {"required": list(properties), "additionalProperties": False}
    return {"type": "object", "properties": properties, **rules}


def word(rng: random.Random) -> str:
    """A word of eight letters that nobody has said before."""
    return "".join(rng.choices(string.ascii_lowercase, k=8))


def number(rng: random.Random) -> int:
    """A number that nobody has remembered."""
    return rng.randrange(10**6)


def begins(got: Any, start: str, hint: str = "") -> None:
    """Expects text that begins so."""
    fits = type(got) is str and got.startswith(start)
    expect(fits, f"expected {start!r} and more, got {got!r:.300}", hint)


def says_dead(got: Any, hint: str = "") -> None:
    """Expects the error of a kernel that has died."""
    fits = type(got) is str and "Error: DeadKernelError: " in got and "state lost" in got
    expect(fits, f"expected `Error: DeadKernelError: …; state lost`, got {got!r:.300}", hint)


def answers_for_itself(agent: Proxy, rng: random.Random) -> None:
    """Expects that a cell gives its own output and nothing else."""
    text = word(rng)
    equal(agent.execute(f"print({text!r})"), text, "This belongs to another cell: to which?")
