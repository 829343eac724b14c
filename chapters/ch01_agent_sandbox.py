# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Chapter 1: a machine for the agent
#
# **A language model becomes an agent when it gets a machine of its own, and the machine is harder
# to get right than the loop.**
#
# After this chapter you will be able to
#
# - say what an agent can do with a machine that it cannot do without one, and show it on a real
#   model;
# - read the messages that one notebook cell sends, and write an executor that takes none of them
#   for another;
# - name the five ways in which a hand-made executor breaks, and show each;
# - write an agent loop in which the model cannot write anything but a tool call or an answer;
# - say where a CPU's time goes in one agent step;
# - give an agent a machine by URL: cells, files, a network with rules, data that may fail to come;
# - attack that machine, and say which layer stopped what, and which attack a plain kernel lets
#   through;
# - kill it in the middle of a cell, and say why nothing is lost and nothing is done twice;
# - read its metrics, and tell an overload that passes from one that does not.
#
# *Time*: two hours to read and try, two minutes to run. *Needs*: a CPU. The model is
# SmolLM2-135M-Instruct, which runs anywhere; on a GPU the same cells run unchanged. Sections 7 to
# 10 need Linux, where boxes can be made (`autograder doctor` tells); elsewhere their cells say that
# they are skipped, and the rest runs.

# %% tags=["parameters"]
SEED = 0
DEVICE = "auto"  # auto, cpu or cuda
FAST = False  # True: fewer repetitions

# %%
import contextlib
import json
import queue
import random
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib.pyplot as plt
from IPython.display import Markdown, display
from jupyter_client.manager import start_new_kernel

from workbook import bench, device, serving, show
from workbook.sandbox import agent, timeline
from workbook.sandbox.kernel import Kernel

rng = random.Random(SEED)
machine = device.detect()
machine.report()

# %% [markdown]
# Everything that must be closed at the end (a model, kernels, a folder) goes on one stack, which
# the last cell closes.

# %%
resources = contextlib.ExitStack()
llm = resources.enter_context(serving.load(device=DEVICE))
workspace = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="agent-")))
kernel = resources.enter_context(Kernel(cwd=workspace))
Markdown(
    "\n".join(f"- {limit}" for limit in llm.limits)
    or f"`{llm.name}` runs on {llm.engine}; nothing is left out."
)

# %% [markdown]
# ## 1. Why an agent needs a machine
#
# *Question: what changes when text in, text out becomes text in, program run?*
#
# We draw products that nobody has memorized, ask the model for them, and ask a Python kernel for
# the same. The model has seen arithmetic in its training; the kernel does arithmetic.

# %%
digits = (1, 2, 3, 3, 4, 4, 5, 5)
products = [tuple(rng.randrange(10 ** (n - 1), 10**n) for _ in range(2)) for n in digits]
questions = [
    [{"role": "user", "content": f"Calculate {a} * {b}. Reply with the number only."}]
    for a, b in products
]
claims = [reply.text.replace(",", "") for reply in llm.chat_batch(questions, max_tokens=24)]

rows = []
for (a, b), claim in zip(products, claims, strict=True):
    computed = kernel.execute(f"{a} * {b}").text
    rows.append((f"{a} × {b}", claim, str(a * b) in claim, computed, computed == str(a * b)))
display(show.Table(("product", "the model says", "right", "the kernel says", "right"), rows))

drawn, alone, with_machine = len(rows), sum(row[2] for row in rows), sum(row[4] for row in rows)
display(
    Markdown(
        f"**Right: {alone} of {drawn} by the model, {with_machine} of {drawn} by the kernel.**"
    )
)

# %% [markdown]
# The right tool makes the size of the model irrelevant for this question. Where it stops holding:
# the model must still know *which* program to write, and section 5 shows how little it takes for a
# small model to lose that.
#
# A machine gives an agent more than arithmetic: files that outlive the context, a network, programs
# that others wrote, and state between steps. It also gives the agent's mistakes somewhere to
# happen. So the machine must be **its own**: not the notebook's process, not the server's. The
# smallest such machine is a **Jupyter kernel**: a process that runs cells, keeps variables between
# them, and speaks a message protocol.
#
# ## 2. One cell on the wire
#
# *Question: what does a kernel send back for one cell?*
#
# Not one answer but a stream of messages, on two channels that are not synchronized with each
# other. `shell` carries the request and its reply; `iopub` broadcasts what happens in between ([the
# protocol](https://jupyter-client.readthedocs.io/en/stable/messaging.html)).

# %%
wire = timeline.record(
    kernel, "import time\nprint(6, flush=True)\ntime.sleep(0.05)\nprint(7)\n4 + 4"
)
wire.plot()
plt.show()
wire

# %% [markdown]
# Three things to see. The first message is `status: busy`, not output. The value of the last
# expression (`execute_result`) is not printed text (`stream`). And *done* is said twice, by
# `execute_reply` on one channel and by `status: idle` on the other, in an order that nothing
# guarantees. Each message names the request that caused it in `parent_header`: that, and nothing
# else, says whose it is.
#
# ## 3. An executor that breaks, five times
#
# *Question: what happens to code that takes the first message for the answer?*
#
# This is the executor that a handbook prints as the reference answer of its exercise, in our words:
# send the cell, take one message, and treat all that is not output as an error. It waits up to ten
# seconds; we wait less, so as not to keep you.

# %%
PATIENCE = 2.0  # seconds; the handbook waits 10


class FirstMessage:
    """One cell out, one message back."""

    def __init__(self):
        self.manager, self.client = start_new_kernel(stderr=subprocess.DEVNULL)

    def execute(self, code):
        self.client.execute(code)
        message = self.client.get_iopub_msg(timeout=PATIENCE)
        if message["msg_type"] == "stream":
            return message["content"]["text"]
        return f"Error: {message['content']['ename']}"

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


# %% [markdown]
# **Bug 1: it fails on every call.** The handbook's own acceptance test is `print(sum([1,2,3]))`.


# %%
def attempt(executor, code):
    """What came back, or the exception that did, and the seconds it took."""
    began = time.perf_counter()
    try:
        result = executor.execute(code)
    except (KeyError, queue.Empty, RuntimeError) as error:
        result = f"raised {type(error).__name__}({error})"
    return result, time.perf_counter() - began


with contextlib.closing(FirstMessage()) as broken:
    first_message = attempt(broken, "print(sum([1,2,3]))")[0]
first_message

# %% [markdown]
# The first message is `status: busy`, and a status has no `ename`. So the usual repair: skip what
# is neither output nor error.


# %%
class SkipStatus(FirstMessage):
    """Repair 1: wait for the first output or error."""

    def execute(self, code):
        self.client.execute(code)
        while True:
            message = self.client.get_iopub_msg(timeout=PATIENCE)
            if message["msg_type"] == "stream":
                return message["content"]["text"]
            if message["msg_type"] == "error":
                return f"Error: {message['content']['ename']}"


two_prints = "import time\nprint('first', flush=True)\ntime.sleep(0.3)\nprint('second')"
with contextlib.closing(SkipStatus()) as broken:
    skip_status = [
        attempt(broken, code)[0]
        for code in ("print(sum([1,2,3]))", two_prints, "print('mine')", "x = 1")
    ]
skip_status

# %% [markdown]
# **Bug 2: it is not what was asked for.** `"6\n"` is not `"6"`. **Bug 3: answers come to the wrong
# question.** The cell with two prints gave only its first one; the second came back as the answer
# to `print('mine')`; and *that* came back for `x = 1`, which prints nothing. An agent that reads
# this draws conclusions from somebody else's output, and nothing ever raises.
#
# Second repair: collect until the kernel says that it is idle.


# %%
class UntilIdle(FirstMessage):
    """Repair 2: gather everything until `status: idle`."""

    def execute(self, code):
        self.client.execute(code)
        output = ""
        while True:
            message = self.client.get_iopub_msg(timeout=PATIENCE)
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                output += content["text"]
            elif kind == "execute_result":
                output += content["data"]["text/plain"]
            elif kind == "error":
                output += f"Error: {content['ename']}: {content['evalue']}"
            elif kind == "status" and content["execution_state"] == "idle":
                return output.rstrip("\n")


with contextlib.closing(UntilIdle()) as broken:
    until_idle = [
        attempt(broken, code)[0]
        for code in ("print(sum([1,2,3]))", two_prints, "x = 1", "2 + 2", "1 / 0")
    ]
until_idle

# %% [markdown]
# All right, as long as every cell is quick and the kernel lives. **Bug 4: a cell that takes too
# long poisons the next one.** The executor gives up, the kernel does not: it stays busy, and what
# it still sends has an owner that nobody asks for.

# %%
slow = f"import time\ntime.sleep({2 * PATIENCE})\nprint('late')"
with contextlib.closing(UntilIdle()) as broken:
    after_slow = [attempt(broken, slow)[0]]
    time.sleep(1.5 * PATIENCE)  # the agent thinks; meanwhile the cell ends
    after_slow.append(attempt(broken, "print('mine')")[0])
after_slow

# %% [markdown]
# **Bug 5: it waits for the dead.** A cell that ends the process is answered by silence, now and in
# every later call.

# %%
with contextlib.closing(UntilIdle()) as broken:
    after_death = [attempt(broken, "import os; os._exit(1)"), attempt(broken, "print('mine')")]
after_death

# %% [markdown]
# > **What the source gets wrong.** *Claim*: the executor above is the reference answer, and
# > `print(sum([1,2,3]))` gives `"6"`. *Measurement*: it raises `KeyError` on every call (bug 1),
# > and each obvious repair moves the fault to a place where it is harder to see (bugs 2 to 5).
# > *Correction*: the rules of the next section.
#
# ## 4. The right executor
#
# *Question: which rules are enough?*
#
# 1. **One lock a kernel.** Two callers may share a kernel; their cells may not overlap.
# 2. **Match the parent.** A message whose `parent_header.msg_id` is not ours is not ours.
# 3. **Done is `execute_reply` and `idle`.** Either may come first. Under a flood `iopub` drops
#    messages, `idle` too, so after the reply the wait for it is bounded.
# 4. **A deadline is kept in three steps**: interrupt, wait, kill and restart. The caller is told
#    whether variables survived.
# 5. **Watch the process.** Death shows in the process table at once; on the wire it shows never.
# 6. **Bound what is kept.** Past the cap go on reading, and drop: if nobody reads, the queue fills,
#    and the kernel drops messages that you wait for.
# 7. **No one is at the keyboard**: `allow_stdin=False`, and `input()` fails instead of hanging.
#
# `workbook.sandbox.kernel` is these rules and little else. The cells that broke the others:

# %%
sleeper = "import time; kept = 1; time.sleep(60)"
stubborn = """
import time
while True:
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        pass
"""
cells = {
    "the acceptance test": ("print(sum([1,2,3]))", 10),
    "two prints": (two_prints, 10),
    "silence": ("x = 1", 10),
    "a value": ("2 + 2", 10),
    "an exception": ("1 / 0", 10),
    "sleeps past its deadline": (sleeper, 1),
    "what it had assigned": ("kept", 10),
    "ignores interrupts": (stubborn, 1),
    "what is left": ("kept", 10),
    "ends the process": ("import os; os._exit(1)", 10),
    "a flood": ("for i in range(200_000): print(i)", 30),
    "the next one": ("print('mine')", 10),
}

# %%
came_back = []
for name, (code, timeout) in cells.items():
    result = kernel.execute(code, timeout=timeout)
    text = result.text if len(result.text) < 110 else f"{result.text[:24]} … {result.text[-24:]}"
    variables = "**lost**" if result.state_lost else "kept"
    came_back.append((name, text, result.status, variables, f"{result.seconds:.2f}"))
show.Table(("cell", "what comes back", "status", "variables", "seconds"), came_back)

# %% [markdown]
# Nothing hangs, nothing answers for another, and where variables are lost the caller is told. Here
# are all four executors on the same cells, the calm ones in one kernel, the rough ones in a fresh
# kernel each.


# %%
class Right:
    """The workbook's executor, behind the same call."""

    def __init__(self):
        self.kernel = Kernel()

    def execute(self, code):
        return self.kernel.execute(code, timeout=PATIENCE).text

    def close(self):
        self.kernel.close()


def answers(executor_class, *codes, pause=0.0):
    """What each cell gave, in one kernel, with a pause before the last."""
    with contextlib.closing(executor_class()) as executor:
        early = [attempt(executor, code)[0] for code in codes[:-1]]
        time.sleep(pause)
        return [*early, attempt(executor, codes[-1])[0]]


# %%
calm = {
    "print": "print(6)",
    "two prints": two_prints,
    "silence": "x = 1",
    "a value": "2 + 2",
    "an exception": "1 / 0",
}
right_answers = [
    "6",
    "first\nsecond",
    "",
    "4",
    "Error: ZeroDivisionError: division by zero",
    "mine",
    "mine",
]
executors = {
    "first message": FirstMessage,
    "repair 1": SkipStatus,
    "repair 2": UntilIdle,
    "right": Right,
}


def marks(executor_class):
    """Whether each cell got its own answer, by one executor."""
    given = answers(executor_class, *calm.values())
    given.append(answers(executor_class, slow, "print('mine')", pause=1.5 * PATIENCE)[-1])
    given.append(answers(executor_class, "import os; os._exit(1)", "print('mine')")[-1])
    return [answer == wanted for answer, wanted in zip(given, right_answers, strict=True)]


with ThreadPoolExecutor() as pool:  # side by side, since most of the time is waiting
    board = dict(zip(executors, pool.map(marks, executors.values()), strict=True))

# %%
columns = [*calm, "after a slow cell", "after a death"]
figure, axes = plt.subplots(figsize=(9, 2.6), layout="constrained")
axes.imshow(list(board.values()), cmap="RdYlGn", vmin=-0.25, vmax=1.25, aspect="auto")
axes.set_xticks(range(len(columns)), columns, rotation=20, ha="right")
axes.set_yticks(range(len(board)), board)
for row, line in enumerate(board.values()):
    for column, mark in enumerate(line):
        axes.text(column, row, "right" if mark else "wrong", ha="center", va="center", fontsize=9)
axes.set_title("Which cells get their own answer")
plt.show()

# %% [markdown]
# **The signature result of this chapter**: only the executor that matches parents and watches the
# process gets every answer right. *Negative control*: repair 2 matches no parents, keeps no
# deadline and watches no process, and passes every calm cell. Tests of calm cells would have called
# it correct.
#
# Where it stops holding: a cell can read the kernel's signing key from its own memory and send any
# message, so what a kernel says is *untrusted text*, however well it is matched. And the kernel is
# a process of yours: it reads your files and reaches your network. This is an executor, not yet a
# sandbox.
#
# ### What a kernel costs
#
# *Question: why keep a kernel, when a fresh process for each cell would be simpler?* Pairs are
# timed in turn, so that a busy machine slows both.


# %%
def warm_cell():
    kernel.execute("sum([1, 2, 3])")


def fresh_kernel():
    with Kernel() as fresh:
        fresh.execute("sum([1, 2, 3])")


cost = bench.compare(
    {"fresh kernel": fresh_kernel, "warm kernel": warm_cell}, pairs=3 if FAST else 7
)
cost

# %% [markdown]
# That ratio is why agents keep their machine between steps, and why the state of a session is worth
# saving.
#
# ## 5. An agent loop
#
# *Question: what is the least that makes a model an agent?*
#
# A loop, tools, and a grammar. The grammar is the part that people leave out: the engine masks
# every token that would leave the JSON Schema below, so the model *cannot* write anything but a
# call of a known tool or an answer. (vLLM compiles the schema to a grammar and applies it as a mask
# over the logits at each step.)

# %%
tools = agent.kernel_tools(kernel, workspace)
print(json.dumps(agent.reply_schema(tools), indent=1)[:420], "…")

# %% [markdown]
# A grammar makes replies well-formed, not wise. A model with 135 million parameters does not plan;
# it continues patterns. So we show it three finished tasks of the same kind, and it carries the
# pattern over to new names and numbers.


# %%
def worked_example(source, numbers, target, observe=agent.observation):
    """A finished task as messages: read, add, save, answer."""
    total = str(sum(numbers))
    replies = [
        agent.call("read_file", path=source),
        agent.call("python", code=f"print({' + '.join(map(str, numbers))})"),
        agent.call("write_file", path=target, content=total),
        agent.answer(f"The sum is {total}."),
    ]
    observed = [
        ("read_file", " ".join(map(str, numbers))),
        ("python", total),
        ("write_file", f"saved {target}"),
    ]
    said = [
        f"Add the numbers in {source} and save the sum in {target}.",
        *(observe(*pair) for pair in observed),
    ]
    pairs = zip(said, replies, strict=True)
    return [
        {"role": role, "content": text}
        for pair in pairs
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]


def history(observe=agent.observation):
    """A system prompt and three worked examples."""
    system = (
        "You answer with one JSON object: "
        "a tool call (python, read_file, write_file) or the answer."
    )
    messages = [{"role": "system", "content": system}]
    messages += worked_example("ages.txt", [31, 12, 45], "age_sum.txt", observe)
    messages += worked_example("rain.txt", [7, 2, 19, 40], "rain_sum.txt", observe)
    return messages + worked_example("costs.txt", [120, 99], "cost_sum.txt", observe)


# %%
sales = [rng.randrange(100, 1000) for _ in range(3)]
(workspace / "sales.txt").write_text(" ".join(map(str, sales)))
task = "Add the numbers in sales.txt and save the sum in sales_sum.txt."
transcript = agent.solve(llm, task, tools, history=history())
transcript

# %%
target = workspace / "sales_sum.txt"
saved = target.read_text() if target.exists() else "nothing"
verdict = "right" if saved == str(sum(sales)) else "wrong"
display(Markdown(f"The file holds **{saved}**, the sum is **{sum(sales)}**: {verdict}."))

# %% [markdown]
# The model read the file, wrote a program, ran it, saved what it printed and answered. Every prompt
# repeats the one before it and adds to its end, so the engine finds nearly all of it in its prefix
# cache (last column). Chapter 2 is about keeping it that way.
#
# **How thin the ice is.** The observations above name their tool: `{"tool": "python", "result":
# …}`. The same task, the same model, the same examples, but with observations that say only what
# came back:

# %%
target.unlink(missing_ok=True)


def bare(_tool, result):
    """An observation that does not say where it comes from."""
    return f"Result: {result}"


unlabelled = agent.solve(
    llm, task, tools, history=history(bare), observe=bare, max_steps=4 if FAST else 5
)
unlabelled

# %%
saved_again = target.exists() and target.read_text() == str(sum(sales))
display(
    Markdown(f"With bare results the right sum was saved: **{'yes' if saved_again else 'no'}**.")
)

# %% [markdown]
# It is one run of one model: a reason to measure, not a law.
#
# ## 6. Where a CPU's time goes in one agent step
#
# *Question: is an agent bound by its model?*
#
# Each step above was timed in three parts: the model writes, its reply is parsed and checked
# against the schema, the tool runs.

# %%
transcript.plot(machine.label)
plt.show()

# %%
spent = transcript.seconds
whole, beside = sum(spent.values()), sum(spent.values()) - spent["model"]
faster = f"{spent['model'] / beside:.0f} times"
account = (
    f"Here the model takes **{spent['model'] / whole:.1%}** of {whole:.2f} s; all else together "
    f"takes {1000 * beside:.1f} ms, or {1000 * beside / len(transcript.steps):.1f} ms a step. Were "
    f"the model {faster} faster, the two would be level. ({machine.label})"
)
display(Markdown(account))

# %% [markdown]
# On a laptop the model is nearly everything. Served from a GPU the model's share shrinks, and what
# stays on the host's CPU is the rest: parsing, tools, kernels, for every session at once. That is
# why a fleet of agents is planned in CPU cores as well as in GPUs. Where it stops holding: a tool
# that compiles a project or drives a browser outweighs any model.
#
# ## 7. Use it by URL
#
# *Question: what if a machine were as easy to have as a model?*
#
# To use an inference engine you are given a URL, you send HTTP requests, and everything is done.
# `python -m workbook.sandbox serve` is the same for machines: whoever asks gets a **session**, in a
# **box** that is closed in by what Linux offers for that, and everything that happens in it stands
# in a log. How it is built, and what it promises, is in `docs/sandbox.md`.
#
# Agents run in three kinds of environment. This chapter runs what fits on one machine:
#
# | kind | what it is | what runs here |
# |---|---|---|
# | simple | an isolated process of this machine, a container | the process; no container |
# | medium | machines of a cluster, called over a network | the calls; no cluster |
# | complex | nested virtual machines, a workflow of services | nothing |
#
# The rest we only describe. A compose file starts this service beside an inference server. In
# Kubernetes an operator keeps as many copies as a resource asks for; a serverless platform starts
# one when somebody asks. What the agent gets is the same each time: a URL and a token.
#
# > **What the source gets wrong.** *Claim*: an agent that starts containers gets the host's Docker
# > socket mounted into its own container. *Citation*: the Docker daemon acts as root, and whoever
# > may speak to it can start a container in which the host's `/` is a folder to write in; [Docker's
# > manual](https://docs.docker.com/engine/security/#docker-daemon-attack-surface) warns of exactly
# > that. The mount hands the host to the model. *Correction*: the agent gets a URL and a token.
# > What makes its machine is on the other side of that URL, and takes orders to run code, never to
# > mount or to start as root.
#
# These sections need some more modules:

# %%
import hashlib
import inspect
import itertools
import math
import os
import re
import secrets
import signal
import socket
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import httpx
import psutil
import yaml
from prometheus_client.parser import text_string_to_metric_families

import workbook
from workbook.sandbox.client import FileRefused, MountError, SandboxClient, SandboxError
from workbook.sandbox.isolation.probes import probe
from workbook.sandbox.launch import LaunchError, LocalService
from workbook.skipping import skip_cells_without

# %% [markdown]
# Sessions will want to fetch something, so first a web server of our own. It counts its visitors,
# is too busy for two of three visits to `/flaky`, and answers at `/gate` once we open that.

# %%
visits: Counter[str] = Counter()
gate = threading.Event()


class Pages(BaseHTTPRequestHandler):
    """Pages that count their visitors."""

    def do_GET(self):
        visits[self.path] += 1
        if self.path == "/gate":
            gate.wait(60)
        busy = self.path.startswith("/flaky") and visits[self.path] % 3
        with contextlib.suppress(OSError):  # whoever asked may have hung up
            self.send_response(503 if busy else 200)
            self.end_headers()
            self.wfile.write(f"visit {visits[self.path]}".encode())

    def do_POST(self):
        self.do_GET()

    def log_message(self, *_):
        pass


web = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
threading.Thread(target=web.serve_forever, daemon=True).start()
resources.callback(web.server_close)
resources.callback(web.shutdown)
page = f"http://127.0.0.1:{web.server_port}"

# %% [markdown]
# Then the service, as a process of its own. We give it a folder that sessions may begin with, and
# two hosts that they may fetch from. It also inherits a secret from our environment, and another
# copy lies in a file of ours: section 8 is about who can read them.

# %%
secret = secrets.token_hex(16)
os.environ["AGENT_SECRET"] = secret
resources.callback(os.environ.pop, "AGENT_SECRET", None)
private = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="private-")))
(private / "secret.txt").write_text(secret)
shelf = private / "shelf"
shelf.mkdir()
(shelf / "sales.txt").write_text(" ".join(map(str, sales)))

options = ("--allow", page.removeprefix("http://"), "--allow", "localhost")
try:
    service = resources.enter_context(LocalService(*options, "--mount", f"shelf={shelf}"))
except LaunchError as error:
    skip_cells_without(
        ["service", "LocalService"], f"no sandbox can be made on this machine ({error})"
    )
    where = f"**Sections 7 to 10 are for reading only here**: {error}. Their cells are skipped."
else:
    where = f"The service is at {service.url}."
Markdown(where)

# %%
client = resources.enter_context(SandboxClient(service.url, service.token))
session = resources.enter_context(client.session())
session.execute("print(sum([1, 2, 3]))").text

# %% [markdown]
# That is all. And since it is HTTP, it can be had without our client, from any language:

# %%
response = httpx.post(
    f"{service.url}/v1/sessions/{session.id}/execute",
    headers={"Authorization": f"Bearer {service.token}"},
    json={"code": "6 * 7"},
)
print(response.status_code, json.dumps(response.json(), indent=1))

# %% [markdown]
# What the client adds: it asks again when the service is away or full, and gives each cell a key,
# so that a cell is executed once however often it is sent.
#
# A result is more than text. It comes as a notebook's outputs, pictures and tables too, and shows
# itself here. All of it is the word of untrusted code, so a page from a box is shown without its
# scripts.

# %%
session.execute("""
import matplotlib.pyplot as plt
from IPython.display import HTML
angles = [n / 10 for n in range(64)]
figure, axes = plt.subplots(figsize=(5, 1.8))
axes.plot(angles, [__import__("math").sin(angle) for angle in angles])
axes.set_title("drawn in the box")
plt.show()
HTML("<table><tr><th>n</th><th>n²</th></tr><tr><td>7</td><td>49</td></tr></table>")
""")

# %% [markdown]
# **Files** are there for both sides: the agent's program writes, the code in the box reads, and the
# other way round. **Contexts** share the files of a session, and nothing else: each has variables
# of its own, and may run at the same time as the others.

# %%
session.filesystem.write("notes/plan.txt", "read, add, save")
session.execute("x = 41\nopen('notes/done.txt', 'w').write('read')")
reviewer = session.context("reviewer")
listed = [(file.name, file.size) for file in session.list_files("notes")]
display(show.Table(("file", "bytes"), listed))
asked = ("x + 1", "open('notes/plan.txt').read()")
seen = [(line, session.execute(line).text, reviewer.execute(line).text) for line in asked]
show.Table(("cell", "context main", "context reviewer"), seen)

# %% [markdown]
# ### The network
#
# *Question: a box has no network. How does an agent read a web page?*
#
# It asks the service to fetch it, and the service has a list of hosts that may be fetched from. The
# list is empty unless an operator says otherwise: what may be *sent* anywhere is decided before a
# name is even looked up, since a look-up alone can carry data out. An error policy says what comes
# of a failure.


# %%
def fetched(url, on_error="raise", **options):
    """What came of a fetch, and how often our web server was visited for it."""
    visited = visits.total()
    try:
        found = session.http_fetch(url, on_error=on_error, **options)
        outcome = f"status {found.status} {found.text!r}"
    except SandboxError as error:
        outcome = f"raises {type(error).__name__}: {error}"
    return url.replace(page, "…"), on_error, outcome, visits.total() - visited


egress = [
    fetched("https://example.org/"),
    fetched("http://localhost/"),
    fetched(f"{page}/"),
    fetched(f"{page}/flaky?1"),
    fetched(f"{page}/flaky?2", "return"),
    fetched(f"{page}/flaky?3", "retry_with_backoff"),
    fetched(f"{page}/gate", timeout=0.4),
]
show.Table(("address", "on_error", "what came of it", "visits"), egress)

# %% [markdown]
# The first is on no list. The second *is* on the list, by name, and is refused all the same: the
# name leads to this machine, and an address that is not of the public internet must stand on the
# list itself. That keeps a sandbox from being the way into the network behind it. Then the
# policies: `raise` gives up at once, `return` gives back whatever came, and `retry_with_backoff`
# tries again after a random pause that grows, for requests that may be repeated.
#
# ### A mount that fails
#
# *Question: what does an agent do when its data is not there?*
#
# A session may begin with data that the operator offers by name. It is read before there is a
# session, so a mount that fails leaves nothing half made. It raises `MountError`, and the agent's
# program has to have an answer to it. Ours brings its own copy.


# %%
def session_with_sales():
    """A session that has sales.txt, and how it came by it."""
    try:
        return client.session(mounts={"shelf": "/"}), "mounted"
    except MountError as error:
        made = client.session()
        made.filesystem.write("sales.txt", " ".join(map(str, sales)))
        return made, f"copied, since {error.mount!r} failed"


mounted, how_first = session_with_sales()
mounted.close()
shelf.rename(private / "elsewhere")
remote, how_then = session_with_sales()
resources.enter_context(remote)
show.Table(("the shelf", "sales.txt was"), [("in its place", how_first), ("renamed", how_then)])

# %% [markdown]
# ### The same agent, in the box
#
# The loop of section 5 does not change. Its three tools do: they live in a session now.

# %%
remote_tools = agent.sandbox_tools(remote)
assert agent.reply_schema(remote_tools) == agent.reply_schema(tools)  # the model sees no difference
remote_transcript = agent.solve(llm, task, remote_tools, history=history())
remote_transcript

# %%
try:
    remote_saved = remote.filesystem.read_text("sales_sum.txt")
except FileRefused:
    remote_saved = "nothing"
Markdown(f"In the box the file holds **{remote_saved}**; on our own disk it was **{saved}**.")

# %% [markdown]
# What does the wall cost? A warm tool call, and a new machine, each against the local kernel:


# %%
def fresh_session():
    with client.session() as fresh:
        fresh.execute("sum([1, 2, 3])")


rounds = 3 if FAST else 7
call_cost = bench.compare(
    {
        "a call here": lambda: tools[0].run("sum([1, 2, 3])"),
        "a call by URL": lambda: remote_tools[0].run("sum([1, 2, 3])"),
    },
    pairs=5 * rounds,
)
start_cost = bench.compare(
    {"a new kernel here": fresh_kernel, "a new session by URL": fresh_session},
    pairs=rounds,
    warmup=1,
)
display(call_cost, start_cost)

# %%
local_ms, remote_ms = (1000 * call_cost.median_seconds(name) for name in call_cost.seconds)
faster_start = start_cost.ratio("a new session by URL").median
account = (
    f"By URL a call takes {remote_ms:.1f} ms, here {local_ms:.1f} ms. One step of the agent took "
    f"{1000 * whole / len(transcript.steps):.0f} ms in section 6. A new session is there "
    f"**{faster_start:.0f} times** as fast as a new kernel. ({machine.label})"
)
display(Markdown(account))

# %% [markdown]
# A call by URL passes two more processes, and is in the log before it is answered; beside a step of
# the model either way is little. A session is there so soon because it is a fork of a process that
# has imported everything. Where it stops holding: a network between agent and service adds its own
# latency to each call, and on a machine without a free core a box waits like everything else.
#
# ## 8. Attack it
#
# *Question: what does hostile code get?*
#
# The code in a box was written by a model, and the model may have read a page that told it what to
# write. So we attack our own machine, and decide each attack *from outside*: by the secret that we
# planted, by our web server's counter, by the table of processes. Meanwhile a **neighbour**,
# another session of the same service, counts as fast as it can. If an attack reaches it, its count
# is wrong or late.

# %%
diary = secrets.token_hex(8)
neighbour = resources.enter_context(client.session())
neighbour.filesystem.write("diary.txt", diary)
(workspace / "diary.txt").write_text(diary)  # and one where the kernel of section 4 works
counts: list[tuple[float, float, bool]] = []  # when it was asked, how long it took, was it right
enough = threading.Event()


def count():
    """Has the neighbour count until it is enough."""
    while not enough.wait(0.02):
        began = time.perf_counter()
        try:
            text = neighbour.execute("n = globals().get('n', 0) + 1\nn").text
        except SandboxError as error:
            text = str(error)
        counts.append((began, time.perf_counter() - began, text == str(len(counts) + 1)))


resources.callback(enough.set)
counting = threading.Thread(target=count, daemon=True)
counting.start()

# %% [markdown]
# An attack has a name, code, and a test for success. First the **spies**. They do no harm, so
# section 4's plain kernel will get them as well.


# %%
def show_all(pattern):
    """Code that prints all the files of a pattern that it can read."""
    return f"""
import glob
for name in glob.glob({pattern!r}):
    try: print(open(name).read())
    except OSError: pass
"""


def tells(needle):
    """The test whether a text has something in it."""
    return lambda text: needle in text


def was_visited(_):
    """The test whether our web server had a visitor whom nobody sent."""
    return visits.pop("/spy", 0) > 0


# %%
own_file = str(private / "secret.txt")
spies = {
    "read the service's environment": (show_all("/proc/*/environ"), tells(secret)),
    "read a file of ours": (f"print(open({own_file!r}).read())", tells(secret)),
    "read the password hashes": ("print(open('/etc/shadow').read())", tells("root:")),
    "list who else runs": (show_all("/proc/*/cmdline"), tells(str(service.folder))),
    "read a neighbour's diary": (show_all("/proc/*/cwd/diary.txt"), tells(diary)),
    "visit our web server": (
        f"import urllib.request\nurllib.request.urlopen('{page}/spy', timeout=2).read()",
        was_visited,
    ),
}

# %% [markdown]
# Then the **rough** ones, which are for the box alone. *Never run these in a kernel of your own*:
# they are bounded, but not harmless. Where they need it, the session is made with smaller limits.

# %%
grow = "data = bytearray(1 << 30)\ndata[::4096] = bytes(len(data[::4096]))\nprint('has 1 GiB')"
fork = """
import os, time
born = 0
try:
    while born < 2000:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        born += 1
    print("2000 processes")
except OSError as error:
    print(f"{born} processes, then: {error.strerror}")
"""
fill = """
import os
written = 0
try:
    with open("big", "wb", 0) as file:
        while written < 64: written += file.write(bytes(1 << 20)) >> 20
    print("64 MiB written")
except OSError as error:
    print(f"{written} MiB, then: {error.strerror}")
os.remove("big")
"""

# %%
forge = """
import gc
from workbook.sandbox.isolation.shell import HostLine
line = next(one for one in gc.get_objects() if isinstance(one, HostLine))
line.send({"done": {"error": None, "execution_count": 7}})
print("its end was told, and it still runs")
"""
mark = f"{rng.randrange(10**6, 10**7)}.5"  # by which we know it in the table of processes
stay = f"import subprocess\nsubprocess.Popen(['setsid', 'sleep', '{mark}'])\nprint('started')"


def outlived(_):
    """The test whether the program that should outlive its session does."""
    running = psutil.process_iter(["cmdline"])
    return any(mark in (process.info["cmdline"] or ()) for process in running)


small_memory, small_disk = {"memory": 300 << 20}, {"workspace": 8 << 20}
rough = {
    "end the process": ("import os\nos._exit(1)", {}, lambda _: False),
    "forge the end of a cell": (forge, {}, lambda _: False),
    "a bomb of processes": (fork, {}, tells("2000 processes")),
    "take 1 GiB of memory": (grow, small_memory, tells("has 1 GiB")),
    "fill the disk": (fill, small_disk, tells("64 MiB written")),
    "outlive the session": (stay, {}, outlived),
}

# %% [markdown]
# And attacks on the **interface**: a path that leads out of the workspace, a link out of it, a
# token that is none.


# %%
def ask(path, token=service.token):
    """What a request gets that no client of ours would send."""
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{service.url}/v1/sessions/{path}", headers=headers).text


def out_by_path(attacker):
    return ask(f"{attacker.id}/files/" + quote("../" * 8 + own_file, safe=""))


def out_by_link(attacker):
    attacker.execute(f"import os\nos.symlink({own_file!r}, 'link')").check()
    return ask(f"{attacker.id}/files/link")


def guess_a_token(_):
    last = "x" if service.token[-1] != "x" else "y"
    return ask(f"{neighbour.id}/files/diary.txt", token=service.token[:-1] + last)


doors = {
    "a path that leads out": (out_by_path, tells(secret)),
    "a link that leads out": (out_by_link, tells(secret)),
    "a token with one wrong letter": (guess_a_token, tells(diary)),
}

# %% [markdown]
# Each attack gets a session of its own. It also counts as a success if the service is not well
# afterwards, or the neighbour has counted wrong. That alone decides the first two rough ones: they
# may spoil their own session, but nothing else.

# %%
results: dict[str, tuple[str, bool]] = {}
spans: dict[str, tuple[float, float]] = {}


def attack(name, act, won, limits=None):
    """Lets an attack run in a new session; notes what came back, and if it got what it wanted."""
    began = time.perf_counter()
    with client.session(limits=limits) as attacker:
        text = act(attacker)
    well = httpx.get(f"{service.url}/healthz").is_success and all(right for *_, right in counts)
    results[name] = text.strip(), won(text) or not well
    spans[name] = began, time.perf_counter()


def run_cell(code):
    return lambda attacker: attacker.execute(code, timeout=10).text


for name, (code, won) in spies.items():
    attack(name, run_cell(code), won)
for name, (code, smaller, won) in rough.items():
    attack(name, run_cell(code), won, smaller)
for name, (act, won) in doors.items():
    attack(name, act, won)

# %% [markdown]
# *Negative control*: a test that finds nothing might not be able to find anything. So the same
# spies go into a plain kernel, as in section 4.

# %%
control = {}
with Kernel(cwd=workspace) as plain:
    for name, (code, won) in spies.items():
        control[name] = won(plain.execute(code, timeout=10).text)
enough.set()
counting.join()


def short(text):
    return f"{text[:105]} …" if len(text) > 110 else text or "nothing"


verdicts = {True: "**got it**", False: "no", None: "not tried"}
outcomes = [
    (name, short(text), verdicts[got], verdicts[control.get(name)])
    for name, (text, got) in results.items()
]
show.Table(("attack", "what came back", "from the box", "from a plain kernel"), outcomes)

# %% [markdown]
# And the neighbour? One dot is one of its counts: how long it took, and during which attack.


# %%
def during(span):
    """Milliseconds of the neighbour's counts that fell into a span of time."""
    return [1000 * took for at, took, _ in counts if at < span[1] and at + took > span[0]]


rows_of_dots = spans | {"no attack": (max(end for _, end in spans.values()), math.inf)}
figure, axes = plt.subplots(figsize=(8, 4.4), layout="constrained")
for number, span in enumerate(rows_of_dots.values()):
    near = during(span)
    axes.scatter(near, [number] * len(near), s=14, color=f"C{number % 10}", alpha=0.7)
axes.set_yticks(range(len(rows_of_dots)), rows_of_dots)
axes.invert_yaxis()
axes.grid(alpha=0.3)
axes.set(xscale="log", xlabel="milliseconds until the neighbour's count came (log scale)")
low, high = (1000 * limit(took for _, took, _ in counts) for limit in (min, max))
axes.set_xticks([tick for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if low < tick < high])
axes.xaxis.set_major_formatter("{x:g}")
axes.minorticks_off()
axes.set_title(f"A neighbour during the attacks (on {machine.label})", fontsize=10)
plt.show()

# %%
stolen = [name for name, (_, got) in results.items() if got]
rightly, slowest = sum(right for *_, right in counts), max(took for _, took, _ in counts)
account = (
    f"**{len(stolen)} of {len(results)}** attacks got what they wanted from the box, "
    f"**{sum(control.values())} of {len(control)}** from the plain kernel. Of {len(counts)} counts "
    f"of the neighbour {rightly} were right; the slowest took {slowest:.2f} s."
)
display(Markdown(account))

# %% [markdown]
# What stops them are **layers**, each of which is there because another may fail. Namespaces: other
# processes, networks and files do not exist in a box. A root of its own, made of the system's and
# Python's files. No capabilities, and a filter of system calls. Limits of memory, processes and
# disk. Nothing secret in the process that boxes are forked from. And the service takes each frame
# that comes out of a box for the word of its code: it is bounded, and checked by type.
#
# **Not every layer is there on every machine.** `autograder doctor` tries each, and so do we:

# %%
tried = [
    (one.layer, ("yes" if one.ok else "**no**") if one.needed else "not needed", one.detail[:80])
    for one in probe()
]
show.Table(("layer", "holds here", "what was seen"), tried)

# %% [markdown]
# Where it stops holding: a hole in the Linux kernel opens all of it at once, which is why clouds
# put a virtual machine around such a box. Boxes share processors, and so their caches. And code can
# always lie about itself: it can forge the end of its own cell, and spoil its own session.
#
# ## 9. Kill it and bring it back
#
# *Question: machines die. What is left of an agent's work then?*
#
# A session with state of four kinds: variables, random numbers, a file, and something done to the
# world that must not be done twice. Ours is a visit to `/pay`, through the service. One variable is
# read from a file that is gone afterwards. A plain kernel, as in section 4, gets all but the visit.

# %%
past = [
    "import random\ndrawn = [random.randrange(1000) for _ in range(4)]",
    "total = sum(drawn)",
    "rates = open('rates.txt').read()",
    "open('report.txt', 'w').write(f'total {total}');",
]
visit = "from workbook.sandbox.service.calls import http_fetch\n"
pay = f"{visit}receipt = http_fetch('{page}/pay', method='POST').text"
patient = resources.enter_context(client.session())
mortal = resources.enter_context(Kernel(cwd=workspace))
rates = " ".join(str(rng.randrange(10)) for _ in range(3))
patient.filesystem.write("rates.txt", rates)
(workspace / "rates.txt").write_text(rates)
for code in [*past, pay]:
    patient.execute(code).check()
for code in past:
    mortal.execute(code)
patient.filesystem.remove("rates.txt")
(workspace / "rates.txt").unlink()

# %%
state = ("drawn", "total", "rates", "receipt", "open('report.txt').read()")


def recall(target_machine, lines):
    """What some expressions are, in a session or a kernel."""
    return {line: target_machine.execute(line).text for line in lines}


before, plain_before = recall(patient, state), recall(mortal, [*state[:3], state[4]])

# %% [markdown]
# Now a cell that pays at `/bill`, and then waits at a gate that we keep closed. When it stands
# there, its payment is made and in the log. We kill the server with `SIGKILL`, which nobody can
# catch, start it again, and open the gate. The thread that called `execute` is told nothing. It
# waits, asks again with its key, and gets its answer from the server's successor.

# %%
gate.clear()
visits["/gate"] = 0
cell = f"""
{visit}
bill = http_fetch('{page}/bill', method='POST').text
http_fetch('{page}/gate', timeout=60)
bill
"""
with ThreadPoolExecutor(1) as pool:
    waiting = pool.submit(patient.execute, cell, key="invoice-7", timeout=30)
    while not (visits["/gate"] or waiting.done()):
        time.sleep(0.02)
    in_the_middle = not waiting.done()
    killed_at = time.time()
    service.kill()
    service.start()
    back_at = time.time()
    gate.set()
    paid = waiting.result()
paid.text

# %% [markdown]
# Let us ask for all that there was, and send the same cell with the same key once more. The plain
# kernel's process we kill as well.


# %%
def begun():
    """How many cells the session has begun in its life."""
    return sum(event["kind"] == "cell.started" for event in patient.events())


after, cells_before = recall(patient, state), begun()
again = patient.execute(cell, key="invoice-7", timeout=30)
cells_more = begun() - cells_before

os.kill(int(mortal.execute("import os\nos.getpid()").text), signal.SIGKILL)
mortal.execute("pass")  # the first cell after a death is the one that is told of it
plain_after = recall(mortal, plain_before)

# %%
remembered = [
    (line, before[line], after[line], plain_before.get(line, ""), plain_after.get(line, ""))
    for line in state
]
heads = ("", "session", "after kill -9", "plain kernel", "after kill -9")
display(show.Table(heads, remembered))
once = [(f"visits to {path}", visits[path]) for path in ("/pay", "/bill", "/gate")]
once.append(("cells executed for the same key again", cells_more))
show.Table(("", "times"), once)

# %% [markdown]
# The cell was begun twice, since a killed process leaves nothing to go on with. Its payment was
# made once: the second time it was answered from the log. The visit to the gate had no end in the
# log. It was made again, because a `GET` changes nothing; a `POST` in its place would have been
# reported as unknown, and left to the caller. The plain kernel's file is there still, for it lies
# on our own disk.
#
# How? Nobody is told of anything before it stands in the log: what was asked for, and what came of
# it. From that log the session is made again in a new box. Its cells are executed again with the
# same random seed, each finds the files that it found the first time, and each call is answered as
# it was. This is **event sourcing**. The log, around the kill:


# %%
def gist(event):
    """What a reader wants to see of an event."""
    data = event["data"]
    if event["kind"] == "session.restored":
        return f"{data['cells']} cells executed again"
    code, url = data.get("code", ""), data.get("arguments", {}).get("url", "")
    said = [*code.strip().splitlines()[-1:], url.replace(page, "fetch …")]
    return " ".join([data.get("call") or data.get("cell") or data.get("context", ""), *said])


log = list(patient.events())
first = log[0]["time"]
shown = [(one["seq"], f"{one['time'] - first:.2f}", one["kind"], gist(one)) for one in log]
crash = sum(one["time"] < killed_at for one in log)
shown.insert(crash, ("", f"{killed_at - first:.2f}", "**kill -9**", "of our doing: not in the log"))
show.Table(("number", "seconds", "event", ""), shown[max(0, crash - 7) : crash + 9])

# %%
lanes = {"cell": 2, "call": 1, "session": 0}
bars: dict[str, tuple[int, float, float]] = {}  # by name: lane, when it began, when it ended
for event in log:
    lane, _, what = event["kind"].partition(".")
    at, name = event["time"] - first, f"{lane} {event['data'].get(lane)}"
    if what == "started":
        bars[f"{name} of {event['seq']}"] = lanes[lane], at, math.inf
    elif what == "finished":
        open_one = max(key for key in bars if key.startswith(f"{name} of "))
        bars[open_one] = lanes[lane], bars[open_one][1], at
    elif what == "restored":
        bars["restored"] = 0, at - event["data"]["seconds"], at

# %%
kill, back = killed_at - first, back_at - first
figure, axes = plt.subplots(figsize=(9, 2.8), layout="constrained")
axes.axvspan(kill, back, color="tab:red", alpha=0.12, lw=0)
axes.axvline(kill, color="tab:red")
axes.text(kill, 2.62, "kill -9", color="tab:red", ha="center")
axes.text((kill + back) / 2, 1.5, "no server", color="tab:red", ha="center")
for lane, start, end in bars.values():
    width = max(min(end, kill) - start if end == math.inf else end - start, 0.008)
    if end == math.inf:
        axes.barh(lane, width, left=start, height=0.5, hatch="////", fill=False, ec="tab:red")
    else:
        axes.barh(lane, width, left=start, height=0.5, color=f"C{lane}")
axes.set_yticks(list(lanes.values()), ["cells", "calls", "brought back"])
axes.set(xlabel="seconds; hatched: begun, and no end in the log", ylim=(-0.5, 2.5))
axes.set_xlim(min(start for _, start, _ in bars.values()) - 0.03)
plt.show()

# %% [markdown]
# Two bars are hatched: the cell and its visit to the gate, begun and never ended. The payment's bar
# stands before the kill, whole, and there is no second one.
#
# ### What coming back costs
#
# To execute everything again takes as long as it took. So after some seconds of cells the service
# keeps a **checkpoint** of the variables, and only what came later is executed again. Not all state
# can be kept: an open file, say, means nothing in another process. We build sessions of several
# lengths, with and without an open file among their variables, kill the server, and ask each.

# %%
lengths = (4, 16) if FAST else (4, 12, 16, 20)
beginnings = {
    "state that can be kept": "import time",
    "with an open file": "import time\nheld = open('held', 'w')",
}


def grown(beginning, length):
    """A session in which so many cells were executed, each of some tenths of a second."""
    made = client.session()
    made.execute(beginnings[beginning]).check()
    for number in range(length):
        made.execute(f"n = {number}\ntime.sleep(0.15)").check()
    return beginning, length, made


with ThreadPoolExecutor(8) as pool:
    grown_up = list(pool.map(grown, *zip(*itertools.product(beginnings, lengths), strict=True)))

# %%
service.kill()
service.start()
with ThreadPoolExecutor(8) as pool:
    last_numbers = list(pool.map(lambda one: one[2].execute("n").text, grown_up))

# %%
restores: dict[str, list[tuple[int, int, float]]] = {beginning: [] for beginning in beginnings}
for beginning, length, made in grown_up:
    found = [one["data"] for one in made.events() if one["kind"] == "session.restored"]
    restores[beginning].append((length, found[-1]["cells"], found[-1]["seconds"]))
    made.close()

figure, axes = plt.subplots(figsize=(7.5, 3.2), layout="constrained")
for side, (beginning, points) in zip((-14, 7), restores.items(), strict=True):
    axes.plot([one[0] for one in points], [one[2] for one in points], "o-", label=beginning)
    for length, executed, seconds in points:
        axes.annotate(
            f"{executed} again",
            (length, seconds),
            xytext=(0, side),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
axes.margins(0.08, 0.2)
axes.set_xticks(lengths)
axes.set(xlabel="cells that the session had executed", ylabel="seconds to bring it back")
axes.set_title(f"The price of coming back (on {machine.label})", fontsize=10)
axes.legend()
plt.show()

# %% [markdown]
# Without a checkpoint the price grows as long as the session lives; with one it begins again from
# there. Where it stops holding: what depends on the clock or on the world outside comes back as it
# was only out of a checkpoint; a cell that is executed again asks the clock again. Programs that
# were started do not come back, and that is told. And a power cut may cost the last moments of the
# store itself.
#
# ### Which machine has a session
#
# With several nodes on one store, whoever is asked must know which node has a session. The source
# takes `hash(session_id)`, modulo the number of nodes. But Python salts `hash` anew in each
# process, so two routers disagree; and when a node comes, nearly every session moves. **Rendezvous
# hashing** is as short: each node has a score for each session, and the highest one has it.


# %%
def rendezvous(name, nodes):
    """The node that has the highest hash together with the session's name."""
    return max(nodes, key=lambda node: hashlib.blake2b(f"{node}/{name}".encode()).digest())


def in_another_process(expression):
    """What an expression gives in a Python of its own, as a user would start it."""
    code = f"import hashlib\n{inspect.getsource(rendezvous)}\nprint({expression})"
    fresh = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    return json.loads(subprocess.check_output([sys.executable, "-c", code], env=fresh))


ways = {
    "hash() % nodes": "[hash(f'session {{n}}') % {nodes} for n in range(1000)]",
    "rendezvous": "[rendezvous(f'session {{n}}', range({nodes})) for n in range(1000)]",
}


# %%
def alike(first, second):
    """The share of places at which two lists have the same."""
    return sum(a == b for a, b in zip(first, second, strict=True)) / len(first)


agreed, moved = {}, {}
for way, expression in ways.items():
    four, five = (expression.format(nodes=nodes) for nodes in (4, 5))
    one, other = in_another_process(four), in_another_process(four)
    both = in_another_process(f"[{four}, {five}]")
    agreed[way], moved[way] = alike(one, other), 1 - alike(*both)
routing = [(way, f"{agreed[way]:.0%}", f"{moved[way]:.0%}", f"{1 / 5:.0%}") for way in ways]
show.Table(("", "two processes agree on", "moves with a fifth node", "has to move"), routing)

# %% [markdown]
# Two routers that salt differently agree by chance alone. Rendezvous hashing agrees always, and
# moves the new node's share and no more. The service routes so, weighted by the size of each node.
# An **epoch** in the store sees to it that of two nodes that both believe to have a session only
# one can write.
#
# ## 10. Look at its metrics
#
# *Question: how does an operator see that it is well, and hear when it is not?*
#
# First some work, so that there is something to see: sessions that execute at the same time, one
# cell that fails and one that takes too long.


# %%
def work(number):
    """A session that executes some cells."""
    with client.session() as worker:
        for _ in range(10 if FAST else 30):
            worker.execute(f"sum(range({1000 * number}))")


with ThreadPoolExecutor(8) as pool:
    list(pool.map(work, range(8)))
failed = session.execute("1 / 0")
late = session.execute("import time\ntime.sleep(60)", timeout=0.5)
failed.status, late.status


# %%
def metrics(url):
    """What a service counts, by name: its meaning, and its samples."""
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics").text)
    return {family.name: (family.documentation, family.samples) for family in families}


measured = metrics(service.url)
shown = []
for name in ("sessions_live", "sessions_waiting", "capacity", "boxes_ready", "boxes_wanted"):
    meaning, samples = measured[f"sandbox_{name}"]
    shown.append((name, "", f"{samples[0].value:g}", meaning))
for name in ("execute_seconds", "session_create_seconds", "session_restore_seconds"):
    meaning, samples = measured[f"sandbox_{name}"]
    counted = [sample for sample in samples if sample.name.endswith("_count")]
    for sample in counted:
        label = " ".join(f"{key}={value}" for key, value in sample.labels.items())
        shown.append((f"{name}, how many", label, f"{sample.value:g}", meaning))
show.Table(("metric", "label", "value", "what it is"), shown)

# %% [markdown]
# The counters began at nought when the server was started for the last time; whoever draws them
# looks at rates. Latency is a **histogram**: counts of cells up to some bounds. Bounds can be added
# up over machines, which quantiles cannot, and a quantile is read off them, between two bounds in a
# straight line:


# %%
def quantile(share, bounds, totals):
    """What Prometheus' histogram_quantile gives."""
    rank, low, below = share * totals[-1], 0.0, 0
    for bound, total in zip(bounds, totals, strict=True):
        if total >= rank:
            part = 0.0 if bound == math.inf else (rank - below) / (total - below)
            return low + (bound - low) * part if part else low
        low, below = bound, total
    return low


buckets = {}
for sample in measured["sandbox_execute_seconds"][1]:
    if sample.name.endswith("_bucket") and sample.labels["status"] == "ok":
        buckets[float(sample.labels["le"])] = sample.value
bounds, totals = list(buckets), list(buckets.values())
p50, p99 = (1000 * quantile(share, bounds, totals) for share in (0.5, 0.99))

# %%
in_each = [total - below for total, below in zip(totals, [0, *totals], strict=False)]
ends = [f"{1000 * bound:g}" if bound < 1 else f"{bound:g} s" for bound in bounds]
last = 1 + max(number for number, value in enumerate(in_each) if value)
figure, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
drawn_bars = axes.bar(range(last), in_each[:last], color="C0", width=0.9)
axes.bar_label(drawn_bars, [f"{value:g}" if value else "" for value in in_each[:last]], fontsize=8)
axes.set_xticks(range(last), ends[:last])
axes.margins(y=0.3)
for name, value in (("p50", p50), ("p99", p99)):
    spot = next(number for number, bound in enumerate(bounds) if 1000 * bound >= value)
    low = 1000 * bounds[spot - 1] if spot else 0.0
    at = spot - 0.5 + (value - low) / (1000 * bounds[spot] - low)
    axes.axvline(at, color="tab:red", ls=":")
    gap, align = (-0.08, "right") if at > last / 2 else (0.08, "left")
    label = f"{name} {value:,.0f} ms"
    axes.text(at + gap, 1.17 * max(in_each), label, color="tab:red", ha=align)
axes.set(xlabel="milliseconds, up to", ylabel="cells")
axes.set_title(f"Cells that ended well, from arrival to answer (on {machine.label})", fontsize=10)
plt.show()

# %%
slow_cells = sum(value for bound, value in zip(bounds, in_each, strict=True) if bound > 0.25)
restored = sum(
    sample.value
    for sample in measured["sandbox_session_restore_seconds"][1]
    if sample.name.endswith("_count")
)
Markdown(
    f"{slow_cells:g} of {totals[-1]:g} cells took more than 250 ms. Since the server was started "
    f"{restored:g} sessions had to be brought back, and the cell that asks waits for that."
)

# %% [markdown]
# ### When it is full
#
# A machine has room for so many sessions. Beyond that a service must say no, and say it usefully:
# an overload that is told is waited out, one that is swallowed spreads. Here is a service with room
# for one live session, and a **quota** of one session a tenant.


# %%
def knock():
    """What a request for a session gets, what the client raises, and what /readyz says."""
    headers = {"Authorization": f"Bearer {small.token}"}
    answer = httpx.post(f"{small.url}/v1/sessions", headers=headers, json={})
    try:
        raised = hasty.session().id
    except SandboxError as error:
        raised = f"{type(error).__name__}: {error}"
    ready = httpx.get(f"{small.url}/readyz")
    readiness = f"{ready.status_code} {', '.join(ready.json()['problems']) or 'ready'}"
    return answer.status_code, answer.headers.get("Retry-After", "none"), raised, readiness


little_room = ("--capacity", "1", "--queue", "0", "--quota", "1", "--idle", "0.5")
small = resources.enter_context(LocalService(*little_room))
hasty = resources.enter_context(SandboxClient(small.url, small.token, patience=0.5))
only = hasty.session()
busy = only.run(["sleep", "600"])  # a session in which something runs is not idle
while_busy = knock()

# %%
busy.kill()
busy.wait()
until = time.monotonic() + 60
while not httpx.get(f"{small.url}/readyz").is_success and time.monotonic() < until:
    time.sleep(0.1)
while_idle = knock()
came_again = only.execute("'as if nothing had been'").text
refusals = [
    f"{sample.value:g} × {sample.labels['reason']}"
    for sample in metrics(small.url)["sandbox_refusals"][1]
    if sample.name.endswith("_total") and sample.value
]
small.close()
asked_twice = [("its one session works", *while_busy), ("its one session was idle", *while_idle)]
heads = ("the service", "status", "Retry-After", "the client raises", "/readyz")
display(show.Table(heads, asked_twice))
Markdown(f"Counted as refused: {', '.join(refusals)}. The idle session: *{came_again}*.")

# %% [markdown]
# `Full` passes by itself: status 429 says when to ask again, the client does so as long as its
# patience lasts, and a load balancer that asks `/readyz` sends nobody there meanwhile. A quota does
# not pass by itself, so it is 403 and names no time. In between, the idle session gave up its box
# and its room, and came back from the log when it was asked.
#
# Where it stops holding: a quantile is as exact as the bounds between which it was read, and what
# nobody has thought of counting is in no metric.
#
# ### Who is woken up
#
# Nobody watches a dashboard at night. Rules do, and each of them is tested: a test lets the metrics
# misbehave and holds the alert that must fire against it (`deploy/sandbox/alerts_test.yml`).

# %%
deploy = Path(workbook.__file__).parents[1] / "deploy" / "sandbox"
groups = yaml.safe_load((deploy / "alerts.yml").read_text())["groups"]
rules = [rule for group in groups for rule in group["rules"]]


def readable(summary):
    """An alert's summary without the templates that Prometheus fills in."""
    summary = re.sub(r"{{ *\$labels\.instance *}}", "a node", summary)
    return re.sub(r"{{[^}]*}}", "N", summary)


alert_rows = [
    (
        f"{rule['alert'].removeprefix('Sandbox')} ({rule['labels']['severity']})",
        rule.get("for", "at once"),
        readable(rule["annotations"]["summary"]),
        rule["annotations"]["description"],
    )
    for rule in rules
]
show.Table(("alert", "after", "what is wrong", "what it means, what to do"), alert_rows)

# %% [markdown]
# ### An agent is more than a model and tools
#
# "Agent = LLM + tools" is the belief that this chapter started from. What it leaves out, and where
# it was shown:
#
# | what an agent needs besides | shown in |
# |---|---|
# | file management | sections 5 and 7: files of a session, mounts, and a mount that fails |
# | isolation | section 8: attacks on the box, and the same on a plain kernel |
# | state that follows the session | section 9: the log, and which node has a session |
# | recovery from errors | sections 4 and 9: deadlines, deaths, checkpoints, effects done once |
# | scheduling of resources | sections 6 and 10: cores, capacity, queue, quota, boxes that wait |
# | monitoring | section 10: metrics, readiness, alerts that are tested |
#
# ## Try it yourself
#
# The agent: change the task, the numbers, or the number of worked examples (`history()[:1 + 8 * n]`
# keeps `n` of them), and watch where the model loses the thread. What does it do when the file is
# missing?

# %%
attempted = agent.solve(
    llm,
    "Add the numbers in missing.txt and save the sum in lost.txt.",
    tools,
    history=history(),
    max_steps=2,
)
attempted

# %% [markdown]
# The box: write an attack of your own. `attack(name, act, won)` lets it run in a new session; `act`
# takes the session, and `won` decides by what came back. Can you learn the host's name, or the
# number of its processes? Which layer is in your way?

# %%
attack(
    "learn the host's name",
    run_cell("import socket\nsocket.gethostname()"),
    lambda text: socket.gethostname() in text,
)
results["learn the host's name"]

# %% [markdown]
# ## Summary, checked
#
# Each line is a claim of this chapter, held against what this run measured.

# %%
claims_of_this_chapter = {
    "The kernel got every product right, the model alone did not.": with_machine == drawn > alone,
    "The first message of a cell is a status: the handbook's executor fails.": "KeyError"
    in first_message,
    "Skipping statuses hands one cell's output to another.": skip_status[2] != "mine\n",
    "Unmatched parents: right on calm cells only.": board["repair 2"] == [True] * 5 + [False] * 2,
    "The executor with all seven rules gets each cell its own answer.": all(board["right"]),
    "A warm kernel is faster than a fresh one.": cost.ratio("warm kernel").low > 1,
    "The model takes most of an agent's step on this machine.": spent["model"] > beside,
}


def check(claims):
    """Prints each claim with whether it held."""
    for claim, held in claims.items():
        print("✓" if held else "✗", claim)
    assert all(claims.values())


check(claims_of_this_chapter)

# %%
kept_in = all("EgressDenied" in outcome and not visited for *_, outcome, visited in egress[:2])
first_tries, retried = [row[2] for row in egress[3:5]], egress[5][2]
spied = control["read a file of ours"] and control["read the service's environment"]
sooner = start_cost.ratio("a new session by URL")
claims_of_the_service = {
    "What is on no list, or leads to a private address, is not fetched.": kept_in,
    "Retries got what a first try did not.": "status 200" in retried
    and all("503" in outcome for outcome in first_tries),
    "A mount failed, and the agent had its data.": how_first == "mounted" != how_then,
    "The same agent saved the same in the box.": remote_saved == saved,
    "A new session is there sooner than a new kernel.": sooner.low > 1,
    "No attack got what it wanted from the box.": not stolen,
    "The same attacks got the secret from a plain kernel.": spied,
    "The neighbour counted right through all of it.": len(counts) > 1 and rightly == len(counts),
}
check(claims_of_the_service)

# %%
(*_, lasting), (*_, perishing) = restores.values()
told_when, told_never = while_busy[:2] == (429, "1"), while_idle[:2] == (403, "none")
not_ready, ready_again = while_busy[3].startswith("503"), while_idle[3].startswith("200")
all_numbers = [str(length - 1) for _ in beginnings for length in lengths]
claims_of_the_operator = {
    "Killed in the middle of a cell, it has all its state.": in_the_middle and after == before,
    "What was paid was paid once.": visits["/pay"] == visits["/bill"] == 1,
    "The same key again executes nothing.": (again.cell, cells_more) == (paid.cell, 0),
    "A plain kernel loses its variables.": "NameError" in plain_after["total"],
    "A checkpoint spares cells from being executed again.": lasting[1] < perishing[1],
    "All sessions came back where they were.": last_numbers == all_numbers,
    "Routers agree by rendezvous hashing.": agreed["rendezvous"] == 1,
    "By hash() they do not.": agreed["hash() % nodes"] < 1,
    "Full is told with a time to ask again, a quota without.": told_when and told_never,
    "A full service says that it is not ready, until it is.": not_ready and ready_again,
}
check(claims_of_the_operator)

# %% [markdown]
# ## Exercise
#
# [1.1: a machine for the agent](../exercises/ch01_ex1_jupyter_agent/ch01_ex1_jupyter_agent.ipynb).
# Build the executor of section 4 and the loop of section 5 yourself, from the protocol up. Its
# criteria are public, the numbers that they are graded with are not.

# %%
resources.close()
