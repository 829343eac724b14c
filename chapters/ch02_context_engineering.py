# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Chapter 2: what an agent sends
#
# **An agent pays for what it reads, again at each step, and whether a request begins with the bytes
# of the one before it decides most of the bill.**
#
# After this chapter you will be able to
#
# - say how much more an agent reads than it writes, and compute the one number that follows from
#   it: the hit rate of the KV cache;
# - predict, to the token, what vLLM finds in its prefix cache;
# - build a context that keeps its prefix, and find the first byte that broke another one;
# - route sessions so that they find their cache again;
# - limit what an agent may do without touching its tool definitions, in three ways;
# - move large observations out of the context so that nothing is lost, and say why a shorter
#   context can cost more than a longer one, and when it does not;
# - say what a todo list, errors that are kept, and varied wording do, what of it a small model
#   shows, and what it does not;
# - profile an agent, and name the message that broke its cache.
#
# *Time*: two hours to read and try, two minutes to run. *Needs*: a CPU. SmolLM2-135M-Instruct runs
# on vLLM, on Linux; without vLLM the cells that ask it are skipped, and all that is counted by a
# model of its cache still runs.

# %% tags=["parameters"]
SEED = 0
DEVICE = "auto"  # auto, cpu or cuda
FAST = False  # True: fewer repetitions

# %%
import contextlib
import hashlib
import inspect
import itertools
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display

# %%
import workbook
from workbook import device, serving, show
from workbook.context.agent_context import AgentContext, Task
from workbook.context.canonical import NotCanonicalError, canonical
from workbook.context.cost import find_prices
from workbook.context.definitions import opening, sorted_tools
from workbook.context.diagnosis import PrefixBroken, diagnose
from workbook.context.masking import MaskError, State, ToolStates
from workbook.context.memory import Memory
from workbook.context.observations import PLAIN, VARIED
from workbook.context.policies import make
from workbook.context.prefix_cache import PrefixCache
from workbook.context.profiler import profile_trace
from workbook.context.replay import Replay, byte_tokens
from workbook.context.retrieval import RETRIEVE, Retrieval
from workbook.context.scoring import play, score
from workbook.context.token_view import TokenView
from workbook.context.toolbox import DEFINITIONS, SAMPLES
from workbook.context.trace import Request, Trace, read_trace
from workbook.context.vllm_cache import VLLMCache
from workbook.context.vllm_masking import KEY, PROCESSOR, complete
from workbook.context.workload import draw
from workbook.serving.progress import loading
from workbook.skipping import skip_cells_without

rng = random.Random(SEED)
machine = device.detect()
machine.report()

# %%
BLOCK = 32  # tokens in a block of vLLM's cache; the smallest that it takes on a CPU
resources = contextlib.ExitStack()
options: dict[str, Any] = {
    "logits_processors": [PROCESSOR],
    "block_size": BLOCK,
    "max_model_len": 4096,
}
try:
    llm: Any = resources.enter_context(serving.load(engine="vllm", device=DEVICE, **options))
except serving.UnavailableError as error:
    skip_cells_without(["llm"], f"vLLM does not run here ({error})")

# %% [markdown]
# ## 1. What an agent reads
#
# *Question: what does an agent's bill consist of?*
#
# At each step an agent sends everything again: its instructions, its tools, and all that was said
# and seen so far. The model answers with one call. Here is an agent on this repository's own files,
# recorded: four tasks, tools that really ran (`data/README.md` says what of it is real). Its
# decisions were a script's, so nobody counted its tokens; they are counted here, about three bytes
# each.

# %%
ROOT = Path(workbook.__file__).parents[1]
trace = read_trace(ROOT / "data" / "traces" / "repository-agent.jsonl")
prices = find_prices("claude-sonnet-4-5", on=date(2026, 11, 1))
profile = profile_trace(trace, prices=prices)
read = sum(step.input_tokens or 0 for step in profile.steps)
written = sum(step.output_tokens or 0 for step in profile.steps)
new = read - sum(step.reusable_tokens or 0 for step in profile.steps)
display(prices)
Markdown(
    f"In {len(profile.steps)} steps the agent has read {read:,} tokens and written {written:,}: "
    f"**{read / written:.0f} tokens read for each one written**. Only {new / read:.1%} of what it "
    "read was new; the rest it had sent before."
)

# %%
figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
longest = max(profile.runs, key=lambda run: len(profile.runs[run]))
steps = profile.runs[longest]
numbers = [step.number for step in steps]
before = np.array([step.reusable_tokens or 0 for step in steps])
sizes = np.array([step.input_tokens for step in steps])
wrote = [step.output_tokens or 0 for step in steps]
axes.bar(numbers, before, color="#a6cee3", label="read: sent before")
axes.bar(numbers, sizes - before, bottom=before, color="#e66101", label="read: new")
axes.plot(numbers, wrote, color="#404040", label="written")
axes.set(xlabel=f"step of {longest}", ylabel="tokens")
axes.yaxis.set_major_formatter("{x:,.0f}")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# What was sent before need not be computed again. An engine keeps the keys and values of a prompt
# in **blocks** of some tokens, and a later prompt takes those with which it begins: this is the
# **prefix cache**. Each key depends on all tokens before it, so after the first token that differs
# nothing can be used. Hence the number to look at, the **hit rate**: of all prompt tokens, how many
# came from the cache.
#
# ### The cache, to the token
#
# *Question: can we know beforehand what will be found?*
#
# The rules are few (whole blocks, from the start; one token at least is computed; what was
# generated is cached too), and `PrefixCache` is those rules. We send the same requests to it and to
# vLLM.


# %%
def both(compared, name, prompt, answer_tokens=1, salt=None):
    """Sends one request to vLLM and to the model of its cache, and notes what each has found."""
    answer = engine.run(prompt, answer_tokens, salt)
    predicted = model.run(prompt, answer.generated, salt).cached_tokens
    compared.append((name, len(prompt), predicted, answer.cached_tokens))
    return list(answer.generated)


engine, model = VLLMCache(llm.vllm), PrefixCache(BLOCK)
compared: list[Any] = []
engine.reset()
tokenizer = llm.vllm.get_tokenizer()
prompt = tokenizer.encode("One agent reads what another one wrote. " * 25)
question, another = prompt[7:31], [prompt[100] + 1]
generated = both(compared, "a prompt", prompt, answer_tokens=50)
both(compared, "the same again", prompt)
both(compared, "it, its answer, a question", prompt + generated + question)
both(compared, "a token in the middle differs", prompt[:100] + another + prompt[101:])
both(compared, "a token more in front", another + prompt)
both(compared, "the same, of another tenant", prompt, salt="another tenant")
both(compared, "less than a block", question)
both(compared, "the same again", question)
show.Table(("request", "prompt tokens", "found, predicted", "found by vLLM"), compared)

# %%
alike = sum(predicted == real for *_, predicted, real in compared)
counted = model.counts
Markdown(
    f"Predicted to the token in {alike} of {len(compared)} requests. Their hit rate is "
    f"{counted.hit_rate:.1%} ({counted.cached_tokens:,} of {counted.prompt_tokens:,} tokens)."
)

# %% [markdown]
# So where the text says "by the model" below, it is this one, and vLLM would count the same
# (`tests/context/test_prefix_cache_vllm.py` holds the two against each other with evictions, and
# with requests at the same time). A salt keeps tenants apart: who could see by the time of an
# answer that a prompt is cached could find out what others have sent.
#
# Where it stops holding: this is vLLM with full attention. Others cache in larger steps, only
# beyond some length, only where you ask for it, or forget after minutes; and a cache has an end,
# so what is idle for long is evicted.
#
# ## 2. First principle: a stable prefix
#
# *Question: what does one changing word at the beginning cost?*
#
# An agent for a small office has 24 tools. It needs to know what time it is. Three ways to tell it:
# at the very beginning; in the system prompt by a template, as a handbook's own example of a *good*
# prompt does it, in our words; and at the end, behind all messages.

# %%
SYSTEM = "You are the agent of a small office. Reply with one tool call."
TEMPLATE = "You are the agent of a small office. It is {{current_time}}. Reply with one tool call."
TOOLS = sorted_tools(DEFINITIONS)
names = [sample.name for sample in SAMPLES]
by_name = {definition["name"]: definition for definition in DEFINITIONS}
STEPS = 3


def time_of(step):
    """What the clock says at a step."""
    return f"2026-11-27 09:{17 + step}:05"


def office(step):
    """What was said and done up to a step, in a context of its own."""
    context = AgentContext(SYSTEM, DEFINITIONS)
    context.add_user("Find out whether the report is late, and tell Ben.")
    for number in range(step):
        context.add_assistant(
            f'{{"tool": "file_list", "arguments": {{"path": "reports/{number}"}}}}'
        )
        context.add_observation([f"{number}-{day}.txt" for day in range(6)], tool="file_list")
    return context


# %%
def time_first(step):
    """The clock before everything else."""
    system, *rest = office(step).messages()
    return [{"role": "system", "content": f"{time_of(step)}\n{system['content']}"}, *rest]


def by_template(step):
    """A system prompt that looks the same each time, until it is filled in."""
    filled = TEMPLATE.replace("{{current_time}}", time_of(step))
    return [{"role": "system", "content": opening(filled, TOOLS)}, *office(step).messages()[1:]]


def time_last(step):
    """The clock in the tail, which stands behind all messages and is written anew each time."""
    context = office(step)
    context.recite([], f"It is {time_of(step)}.")
    return context.messages()


# %%
def counts(reply):
    """Tokens of a prompt: all, those found in the cache, those computed."""
    known = reply.cached_tokens
    return f"{reply.prompt_tokens:,}", f"{known:,}", f"{reply.prompt_tokens - known:,}"


# %%
ways = {"time first": time_first, "by template": by_template, "time last": time_last}
llm.reset_prefix_cache()
with loading(f"{STEPS * len(ways)} requests to vLLM"):
    asked = {
        way: [llm.chat(build(step), max_tokens=1) for step in range(STEPS)]
        for way, build in ways.items()
    }
show.Table(
    ("the time stands", "step", "prompt tokens", "found", "computed", "first token after, ms"),
    [
        (way, step, *counts(one), f"{1000 * one.seconds:,.0f}")
        for way, replies in asked.items()
        for step, one in enumerate(replies, 1)
    ],
)


# %%
def draw_first_tokens(asked):
    """Tokens computed and the wait for the first token, step by step."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained")
    for place, (way, replies) in enumerate(asked.items()):
        at = np.arange(1, STEPS + 1) + 0.27 * (place - 1)
        paint = ("#dc2626", "#f59e0b", "#3b82f6")[place]
        computed = [one.prompt_tokens - one.cached_tokens for one in replies]
        left.bar(at, computed, 0.25, color=paint, label=way)
        right.bar(at, [one.seconds for one in replies], 0.25, color=paint)
    left.set(title="tokens computed", xlabel="step", xticks=range(1, STEPS + 1))
    left.set_ylim(0, 1.3 * left.get_ylim()[1])
    right.set(title="seconds to the first token", xlabel="step", xticks=range(1, STEPS + 1))
    left.legend(frameon=False, ncols=3, fontsize=8, loc="upper center")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"A clock in the prompt, on {machine.label}", fontsize=11)
    plt.show()


draw_first_tokens(asked)


# %%
def hit_rate(replies):
    """Cached tokens over prompt tokens, the first request included."""
    return sum(one.cached_tokens for one in replies) / sum(one.prompt_tokens for one in replies)


rates = {way: hit_rate(replies) for way, replies in asked.items()}
later = {way: np.median([one.seconds for one in replies[1:]]) for way, replies in asked.items()}
slower = later["time first"] / later["time last"]
first_break = diagnose(by_template(0), by_template(1))
Markdown(
    f"Hit rates: {', '.join(f'{way} {rate:.0%}' for way, rate in rates.items())}. After the first "
    f"step the first token comes **{slower:.0f} times later** with the time first than with the "
    f"time last.\n\nWhat broke the template's prefix: {first_break}"
)

# %% [markdown]
# > **What the source gets wrong.** *Claim*: a system prompt with `{{current_time}}` in it is an
# > example of a stable prefix. *Measurement*: the table. The template is stable; what is sent is
# > the template filled in, and its prefix ends where the time begins. *Correction*: what changes
# > stands behind all that does not: in the last message, or in what a tool answers.
#
# Where it stops holding: where the beginning is shorter than a block, or another request comes only
# after the cache has forgotten this one, order costs nothing.
#
# ### Append, don't edit
#
# *Question: the user made a mistake in her first message. Correct it there, or say so at the end?*

# %%
long_context = office(3 if FAST else 5)
history = long_context.messages()
long_context.add_user("Correction: tell Cora, not Ben.")
appended = long_context.messages()
edited = [dict(message) for message in history]
edited[1]["content"] = edited[1]["content"].replace("Ben", "Cora")

# %%
llm.chat(history, max_tokens=1)
corrected = {
    "appended": llm.chat(appended, max_tokens=1),
    "edited": llm.chat(edited, max_tokens=1),
}
show.Table(
    ("the correction is", "prompt tokens", "found", "computed"),
    [(how, *counts(one)) for how, one in corrected.items()],
)

# %% [markdown]
# The edited history is the shorter prompt, and costs more: all that stands behind the edit is
# computed again. `AgentContext` holds you to this. What it has rendered it never renders again, and
# a history that was changed elsewhere is refused:

# %%
refused = ""
try:
    office(3 if FAST else 5).sync(edited)
except PrefixBroken as broken:
    refused = str(broken)
print(refused)

# %% [markdown]
# ### One order
#
# *Question: the same data, serialized twice. Are the bytes the same?*
#
# A dict keeps the order in which its keys came. A set has none: Python salts the hash of text anew
# in each process, so a set comes out differently in each. Here two processes write the same tool
# definitions, from a set and from sorted names.


# %%
def in_another_process(code, **settings):
    """What some Python prints as JSON, in a process of its own, as a user would start it."""
    fresh = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    command = [sys.executable, "-c", code]
    return json.loads(subprocess.check_output(command, env=fresh | settings))


# %%
from_a_set = f"import json; print(json.dumps(list(set({names!r}))))"
sorted_names = f"import json; print(json.dumps(sorted(set({names!r}))))"
shared_by = {}
for order, code in {"from a set": from_a_set, "sorted": sorted_names}.items():
    sent = [
        "\n".join(canonical(by_name[name]) for name in in_another_process(code)) for _ in range(2)
    ]
    cache = PrefixCache(BLOCK)
    first, second = (cache.run(byte_tokens(text)) for text in sent)
    shared_by[order] = (second.cached_tokens, second.prompt_tokens, diagnose(*sent))
show.Table(
    ("definitions", "tokens", "found by the second process", "what broke"),
    [
        (way, f"{size:,}", f"{hit:,}", str(broke or "nothing"))
        for way, (hit, size, broke) in shared_by.items()
    ],
)

# %% [markdown]
# (By the model, with tokens of three bytes.) `canonical` writes JSON with sorted keys and fixed
# separators, and refuses what has no order:

# %%
forms = [json.dumps(value) for value in ({"b": 1, "a": [2]}, {"a": [2], "b": 1})]
one_form = {canonical(json.loads(form)) for form in forms}
try:
    canonical({"tags": {"urgent", "late"}})
except NotCanonicalError as error:
    no_order = str(error)
print(forms, "become", one_form)
print(no_order)

# %% [markdown]
# ### Which byte broke it
#
# *Question: the hit rate has dropped since yesterday. Where do you look?*
#
# At the first byte in which one request differs from the beginning of the next. `diagnose` finds it
# and says what usually does that. Five habits that break a prefix, and one that does not:

# %%
calm = office(2).messages()


def rewritten(number, old, new):
    """The messages with one of them changed."""
    changed = [dict(message) for message in calm]
    assert old in changed[number]["content"]
    changed[number]["content"] = changed[number]["content"].replace(old, new)
    return changed


seen = json.loads(calm[3]["content"])
as_it_came = json.dumps({"tool": seen["tool"], "result": seen["result"]}, separators=(",", ":"))
no_mail = rewritten(0, f"{TOOLS['mail_send']}\n", "")
summary = {"role": "user", "content": "So far: two folders were listed."}
with_id = [rewritten(0, "office", f"office (session {number:08x})") for number in (0x4F3A, 0x7F3B)]
habits = {
    "a clock in the prompt": (time_first(1), time_first(2)),
    "a session's id": with_id,
    "keys as they came": (calm, rewritten(3, calm[3]["content"], as_it_came)),
    "a summary of old messages": (calm, [calm[0], summary]),
    "a tool taken out": (calm, no_mail),
    "a message appended": (calm, [*calm, {"role": "user", "content": "And now?"}]),
}

# %%
broken_by = {habit: diagnose(*pair) for habit, pair in habits.items()}
show.Table(
    ("habit", "first byte", "message", "cause", "what happened"),
    [
        (habit, f"{broke.offset:,}", broke.message, broke.cause, broke.detail)
        if broke
        else (habit, "none", "", "", "")
        for habit, broke in broken_by.items()
    ],
)

# %% [markdown]
# Where it stops holding: the byte is certain, the cause is a guess from the words that stand there.
#
# ### Breakpoints
#
# *Question: some APIs cache only up to a place that you mark. Which places?*
#
# The end of what all sessions share (instructions and tools), and the end of what this session will
# send again. `AgentContext` marks the first by itself and keeps the last ones; at most four go out,
# which is what Anthropic's API takes. Two sessions of one agent, each with a mark after its task:

# %%
sessions = {}
for name, task in (("Ana", "Find the late reports."), ("Ben", "Cancel what is on Friday.")):
    context = AgentContext(SYSTEM, DEFINITIONS)
    context.add_user(task)
    context.add_breakpoint()
    sessions[name] = context
points = {name: context.breakpoints() for name, context in sessions.items()}
show.Table(
    ("session", "messages before", "bytes before", "SHA-256 of them"),
    [(name, p.messages, f"{p.size:,}", p.digest[:12]) for name, own in points.items() for p in own],
)

# %% [markdown]
# The first mark has the same digest in both, so one writes what the other reads. This is how a mark
# goes out, on the last message before it; and what it is worth:

# %%
print(sessions["Ana"].messages(marks=True)[1])
paid = prices.rates()
reads = (paid.written - paid.uncached) / (paid.uncached - paid.cached)
Markdown(
    f"At the prices above, a token that is written costs {paid.written / paid.uncached:.2f} "
    f"times as much as one without a cache, and one that is read {paid.cached / paid.uncached:.2f} "
    f"times. A mark has paid after {reads:.2f} reads: **one is enough**, and one that nobody reads "
    "is a loss."
)

# %% [markdown]
# ### A session must find its cache again
#
# *Question: two servers, eight sessions. Who gets which request?*
#
# Each server has a cache of its own. A router that takes turns spreads a session over both. One
# that computes `hash(session) % 2`, as the source does, keeps a session together, as long as there
# is one router: [chapter 1](ch01_agent_sandbox.ipynb) shows that Python salts `hash()` in each
# process. **Rendezvous hashing** does the same with a hash that everybody has.

# %%
SERVERS = 2
ids = [f"{run}/{copy}" for copy in ("Ana", "Ben") for run in trace.runs]


def rendezvous(name):
    """The server that has the highest hash together with the session's name."""
    return max(range(SERVERS), key=lambda s: hashlib.blake2b(f"{s}/{name}".encode()).digest())


def router(rule, salt):
    """Where a router, which is a process of its own, sends each session."""
    head = f"import hashlib\nSERVERS, ids = {SERVERS}, {ids!r}\n{inspect.getsource(rendezvous)}"
    return in_another_process(f"{head}\nprint([{rule} for name in ids])", PYTHONHASHSEED=salt)


rules = {"hash()": "hash(name) % SERVERS", "rendezvous": "rendezvous(name)"}
routers = {way: [router(rule, salt) for salt in ("1", "2")] for way, rule in rules.items()}
show.Table(
    ("rule", "router", *ids),
    [(way, number, *row) for way, both in routers.items() for number, row in enumerate(both, 1)],
)

# %% [markdown]
# > **What the source gets wrong.** *Claim*: `hash(session_id)` sends a session where it was before.
# > *Measurement*: the table; its two routers do not agree. *Correction*: a hash that is the same in
# > each process, and rendezvous, so that a server that comes or goes moves only its own share.
#
# (Each router has a salt of its own, as it would anyway; here we set it, so that you see what we
# saw.) What that costs: the recorded agent's first steps, each run for two tenants, on two caches,
# by the model. A request may come in at either router. Once the caches hold everything; once they
# hold together a little more than the contexts need.

# %%
numbered = zip(trace.steps(), profile.steps, strict=True)
early = [step for step, known in numbered if known.number <= 25]
replay = Replay()
largest = {s.request.run: len(replay.tokens(s.messages, s.tools)) for s in early}
ROOM = int(1.3 * 2 * sum(largest.values()) / 16 / SERVERS)  # blocks of 16 tokens in a server


def routed(way, blocks):
    """The hit rate over both caches, and how often a session came back to the server it was on."""
    coin, turn = random.Random(SEED), itertools.cycle(range(SERVERS))
    caches = [PrefixCache(16, blocks) for _ in range(SERVERS)]
    last: dict[str, int] = {}
    stayed: list[bool] = []
    for step in early:
        tokens = replay.tokens(step.messages, step.tools)
        for copy in coin.sample(("Ana", "Ben"), 2):
            name, turned = f"{step.request.run}/{copy}", next(turn)
            by_rule = routers.get(way, [[turned] * len(ids)] * 2)[coin.randrange(2)]
            server = by_rule[ids.index(name)]
            caches[server].run(tokens, salt=name)
            stayed += [last[name] == server] if name in last else []
            last[name] = server
    totals = [cache.counts for cache in caches]
    hits = sum(one.cached_tokens for one in totals) / sum(one.prompt_tokens for one in totals)
    return hits, sum(stayed) / len(stayed)


# %%
routing = {way: (routed(way, None), routed(way, ROOM)) for way in ("round robin", *rules)}
show.Table(
    ("routing", "a session stays", "hit rate", "hit rate, caches with less room"),
    [
        (way, f"{full[1]:.0%}", f"{full[0]:.1%}", f"{tight[0]:.1%}")
        for way, (full, tight) in routing.items()
    ],
)

# %% [markdown]
# A session that wanders is computed on each server, and takes room on each, where it drives others
# out: with less room the gap widens. Where it stops holding: a server that is overloaded or lost
# must be left all the same, and a session that is larger than its server's cache finds nothing
# there either.
#
# ## 3. Second principle: mask, don't remove
#
# *Question: in this state the agent may only use files. Take the other tools out?*
#
# Tools stand at the very beginning, so whoever takes one out changes the prefix. Instead all
# definitions stay, and the *reply* is limited. A small state machine: look at files; then write a
# mail or change the calendar; then call anything, or say what was done.

# %%
STATES = {
    "look": State("specified", ["file_"], {"file_": "act"}),
    "act": State("required", ["mail_", "calendar_"], {"": "say"}),
    "say": State("auto", None, {"": "look"}),
}
states = ToolStates([sample.name for sample in SAMPLES], STATES, "look")
shown = {}
for name in STATES:
    states.state = name
    shown[name] = states.mask
show.Table(
    ("state", "mode", "calls allowed", "may answer", "the reply must begin with one of"),
    [
        (name, m.mode, len(m.allowed), "yes" if None in m.actions else "no", len(m.alternatives()))
        for name, m in shown.items()
    ],
)

# %% [markdown]
# The same loop twice: once with masks, once with the definitions of each state alone. Real vLLM,
# and its counters. (Which call the model chooses is another matter, so the calls are the same in
# both.)

# %%
script = ["file_list", "mail_send", None, "file_read", "calendar_add", None][: 4 if FAST else 6]


def walk(remove):
    """State, prompt tokens and those found, at each step of the loop."""
    llm.reset_prefix_cache()
    states = ToolStates(names, STATES, "look")
    walked: list[Any] = []
    lines: list[Any] = []
    for action in script:
        held = states.mask
        kept = [by_name[name] for name in held.allowed] if remove else DEFINITIONS
        context = AgentContext(SYSTEM, kept)
        context.add_user("Look what is late, and see to it.")
        for line in lines:
            context.add(line)
        reply = complete(llm, TokenView(context, tokenizer), held, by="processor", max_tokens=1)
        walked.append((states.state, reply.prompt_tokens, reply.cached_tokens))
        states.state = "look" if action is None else states.call(action)
        call = f'{{"tool": "{action}", "arguments": {{}}}}' if action else '{"answer": "Done."}'
        result = "It worked, and there is nothing else to report about this step."
        lines += [{"role": "assistant", "content": call}, {"role": "tool", "content": result}]
    return walked


# %%
with loading("the loop, twice"):
    removed, masked = walk(remove=True), walk(remove=False)
show.Table(
    ("step", "state", "removed: prompt", "computed", "masked: prompt", "computed"),
    [
        (step, state, f"{size:,}", f"{size - hit:,}", f"{all_size:,}", f"{all_size - all_hit:,}")
        for step, ((state, size, hit), (_, all_size, all_hit)) in enumerate(
            zip(removed, masked, strict=True), 1
        )
    ],
)

# %%
walks = {"removed": removed, "masked": masked}
computed = {how: [size - known for _, size, known in walked] for how, walked in walks.items()}
sizes_of = {how: sum(size for _, size, _ in walked) for how, walked in walks.items()}
at_first, later_on = (
    {way: sum(one[part]) for way, one in computed.items()} for part in (slice(1), slice(1, None))
)
Markdown(
    f"The first request is dearer with all tools in it: {at_first['masked']:,} tokens computed, "
    f"not {at_first['removed']:,}. After that {later_on['masked']:,} were computed where tools "
    f"were masked, **{later_on['removed']:,}** where they were removed, although masked prompts "
    f"were {sizes_of['masked'] / sizes_of['removed']:.1f} times as long."
)

# %% [markdown]
# A state to which the agent *comes back* finds its old prefix again, up to where the history has
# grown: removal is not always from nothing. Where it stops holding: if a state lasts for a hundred
# steps, and its tools are few, a shorter prompt of its own may pay; and a definition that is needed
# in one run of a thousand costs its tokens in each.
#
# ### Three modes, three mechanisms
#
# *Question: how is a reply limited without touching the prompt?*
#
# - **Prefill**: the beginning of the reply is written for the model. Costs the few tokens that it
#   writes, works with each API that lets you do so, and can say only what has one beginning.
# - **Schema**: structured outputs; the grammar is compiled from a JSON schema.
# - **Processor**: a logits processor that lets through only tokens that lead on to an allowed
#   beginning.


# %%
def under(held, by):
    """What the model writes under a mask that is said in one way, and whether that is allowed."""
    context = AgentContext(SYSTEM, DEFINITIONS)
    context.add_user("Tell Ben that the report is late.")
    view = TokenView(context, tokenizer)
    try:
        reply = complete(llm, view, held, by=by, definitions=DEFINITIONS, max_tokens=16)
    except MaskError:
        return "cannot be said", None, ""
    try:
        wrote = reply.action or "an answer"
        allowed = reply.action in held.actions
    except ValueError:  # neither a call nor an answer in the form that was asked for
        wrote, allowed = f"“{reply.text[:40]} …”", False
    return wrote, allowed, reply.prompt_tokens - reply.cached_tokens


mechanisms = ("prefill", "schema", "processor")
with loading("a reply under each mask"):
    limited = [(held.mode, by, *under(held, by)) for held in shown.values() for by in mechanisms]
words_for = {True: "yes", False: "**no**", None: ""}
show.Table(
    ("mode", "mechanism", "what the model writes", "allowed", "tokens computed"),
    [(mode, by, wrote, words_for[fine], tokens) for mode, by, wrote, fine, tokens in limited],
)

# %%
why_not = ""
try:
    shown["act"].prefill()
except MaskError as error:
    why_not = str(error)
print(why_not)

# %% [markdown]
# An allowed set without one beginning cannot be prefilled, nor can "one of these, or an answer".
# And a prefill holds the *beginning*: what comes behind it is the model's. How often does it invent
# a tool behind `file_`?

# %%
foreign = [sample.request for sample in SAMPLES if sample.group != "file_"][:: 5 if FAST else 3]
behind = []
for wish in foreign:
    asking = AgentContext(SYSTEM, DEFINITIONS)
    asking.add_user(wish)
    view = TokenView(asking, tokenizer)
    reply = complete(llm, view, shown["look"], by="prefill", max_tokens=10)
    behind.append(reply.text.removeprefix('{"tool": "').partition('"')[0])
invented = [name for name in behind if name not in names]
made_up = ", ".join(f"`{name}`" for name in sorted(set(invented))) or "none"
Markdown(
    f"Asked for something that no file tool does, {len(invented)} of {len(foreign)} replies call a "
    f"tool that does not exist: {made_up}. Under a schema or the processor that cannot happen: no "
    "token leads there."
)

# %% [markdown]
# Where it stops holding: a mask says what may be called, not what makes sense. A model that is held
# to tools it does not want still writes *something*.
#
# ## 4. Third principle: the file system is the context
#
# *Question: an observation has many thousand bytes. It will be read again at each step from now
# on. Must it?*
#
# Put it into a file, and keep a **reference**: where it came from, what it is called, the fields
# worth keeping in sight. Files are named by their content. The model has a tool that gives back any
# part.

# %%
memory = Memory(Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="memory-"))))
context = AgentContext(SYSTEM, [*DEFINITIONS, RETRIEVE], memory=memory)
rows = [f"{n},c{rng.randrange(10**6):06},{rng.randrange(10**5) / 100}" for n in range(1000)]
orders = "\n".join(["order,customer,total", *rows])
number = context.add_observation(
    orders, compressible=True, tool="database_query", query="SELECT * FROM orders"
)
reference = context.messages()[number]["content"]
print(reference)

# %%
ref, retrieval = json.loads(reference)["moved"]["ref"], Retrieval(memory)
customer = rows[617].split(",")[1]
answer = retrieval.run({"ref": ref, "contains": customer})
whole = retrieval.whole(ref)
print(answer)
Markdown(
    f"{len(orders.encode()):,} bytes of observation became {len(reference)} bytes of context. A "
    f"question about one customer brings back {len(answer)} bytes. Fetched piece by piece with the "
    f"same tool, {len(whole):,} bytes come back: "
    f"{'all of them, byte for byte' if whole == orders.encode() else '**not** what was stored'}."
)

# %% [markdown]
# Nothing is lost, only moved. Other ways to keep a context short do lose something: a **window**
# shows only the last turns; **clearing** empties old results. One workload under six policies: an
# agent that reads large files, logs and tables, and is asked later for facts that it has seen
# (nonces, so that nobody can guess them). A fact counts as answered if it stands in the context, or
# behind a reference that stands there.

# %%
drawn = draw(random.Random(SEED), turns=24 if FAST else 40, questions=6 if FAST else 8)
policies = {
    "naive": "time first, unsorted, everything in full",
    "time_first": "sorted, but the time comes first",
    "append_only": "the time at the end",
    "window": "append-only, of which the last turns are shown",
    "clearing": "append-only, of which old results are emptied",
    "offload": "append-only, large results in files",
}


def scored(name, workload):
    """What one policy is worth."""
    with tempfile.TemporaryDirectory() as folder:
        return score(play(workload, make(name, workload, Path(folder))))


# %%
scores = {name: scored(name, drawn) for name in policies}
show.Table(
    ("policy", "what it does", "hit rate", "mean context", "cost", "facts answered"),
    [
        (
            name,
            policies[name],
            f"{one.hit_rate:.1%}",
            f"{one.mean_context:,.0f}",
            f"${one.dollars:.3f}",
            f"{one.answered} of {one.asked}",
        )
        for name, one in scores.items()
    ],
)

# %%
plain, moved_out = scores["append_only"], scores["offload"]
declared = plain.prices.rates()
shorter = {name: one for name, one in scores.items() if name in ("window", "clearing")}
worse = ", ".join(
    f"{name} shortens the context by {1 - one.mean_context / plain.mean_context:.0%} and makes it "
    f"cost {one.dollars / plain.dollars:.1f} times as much"
    for name, one in shorter.items()
)
Markdown(
    f"*{len(plain.steps)} requests, and {len(moved_out.steps)} where moved results are asked for; "
    f"blocks of {plain.block_size} tokens, a cache without end; for a million tokens "
    f"${declared.uncached} to compute, ${declared.cached} from the cache, ${declared.output} to "
    f"write.* Against append-only, {worse}. Offloading shortens it by "
    f"{1 - moved_out.mean_context / plain.mean_context:.0%} and costs "
    f"{moved_out.dollars / plain.dollars:.2f} times as much, with the same facts."
)

# %% [markdown]
# Two things to see. Sorting the definitions while the time still comes first gains nothing: of two
# leaks the first one decides. And at this length **the context that looks cheaper costs more.**
# What is taken out of the middle was in the cache, at a tenth of the price, and takes with it the
# cached prefix of all that stands behind it. A large observation has to go *when it comes*, before
# anything has been computed. So, step by step:

# %%
figure, panels = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
colours = {"naive": "#dc2626", "append_only": "#f59e0b", "window": "#7c3aed", "offload": "#3b82f6"}
for name, colour in colours.items():
    by_step = scores[name].steps
    at = range(1, len(by_step) + 1)
    label = {"offload": "engineered (offload)"}.get(name, name)
    panels[0].plot(at, [100 * one.dollars for one in by_step], color=colour, label=label)
    panels[1].plot(at, np.cumsum([one.dollars for one in by_step]), color=colour)
panels[0].set(title="cost of each request", xlabel="request", ylabel="US cents", yscale="log")
panels[1].set(title="cost so far", xlabel="request", ylabel="US dollars")
panels[0].legend(frameon=False, fontsize=8, loc="upper left")
panels[0].yaxis.set_major_formatter("{x:g}")
low, high = panels[0].get_ylim()
panels[0].set_ylim(low, 4 * high)
for axes in panels:
    axes.spines[["top", "right"]].set_visible(False)
figure.suptitle("Naive and engineered: one workload, four ways to keep its context", fontsize=11)
plt.show()

# %%
naive = scores["naive"]
saved = 1 - moved_out.dollars / naive.dollars
Markdown(
    f"From naive to engineered: hit rate {naive.hit_rate:.0%} to **{moved_out.hit_rate:.0%}**, "
    f"mean context {naive.mean_context:,.0f} to **{moved_out.mean_context:,.0f}** tokens, cost "
    f"${naive.dollars:.2f} to **${moved_out.dollars:.2f}** (−{saved:.0%})."
)

# %% [markdown]
# ### Where it stops holding
#
# *Question: does a shorter context always cost more than append-only?*
#
# No. What is appended is read again at each step from then on, so the cost of append-only grows
# with the square of the run, if at a tenth of the price; a window's grows with its length alone.
# The same kind of workload, shorter and longer:

# %%
TURNS = (20, 80) if FAST else (20, 50, 80)
others = ("window", "clearing", "offload")
relative: dict[str, list[float]] = {name: [] for name in others}
told: dict[str, str] = {}
with loading("shorter and longer runs"):
    for turns in TURNS:
        run = draw(random.Random(SEED), turns=turns, questions=turns // 5)
        base = scored("append_only", run).dollars
        for name in others:
            one = scored(name, run)
            relative[name].append(one.dollars / base)
            told[name] = (
                f"{name} costs {one.dollars / base:.2f} times as much and answers "
                f"{one.answered} of {one.asked}"
            )
Markdown(f"Against append-only, over {TURNS[-1]} turns: {'; '.join(told.values())}.")

# %%
figure, axes = plt.subplots(figsize=(5, 2.6), layout="constrained")
for name, ratios in relative.items():
    axes.plot(TURNS, ratios, "o-", color=colours.get(name, "#16a34a"), label=name)
axes.axhline(1, color=colours["append_only"], ls=":", label="append_only")
axes.set(xlabel="turns of the run", ylabel="cost, append_only = 1", ylim=(0, None), xticks=TURNS)
axes.legend(frameon=False, fontsize=8)
axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# So forgetting pays in money once a run is long enough, and is paid for in facts at any length.
# Moving out when something comes is cheapest at each length here. It gains nothing where each
# observation is read in full at the next step: then a reference costs a call more. And once a
# context nears what the model can hold, something must go: then rewrite once, far, and rarely, not
# a little at each step.
#
# ## 5. Fourth and fifth principle: say the plan again, keep the errors
#
# ### The plan, at the end
#
# *Question: does a todo list at the end of the context change what the model does next?*
#
# What it costs is certain. The list stands in the tail, behind all that is cached, and is written
# anew at each step without touching a byte before it. What it does we measure: an agent is to read
# files in an order that is given once, at the beginning; after each file we ask for the next call,
# among these files, with the list said in four ways.

# %%
ITEMS = ("plan", "notes", "budget", "letter", "report", "agenda", "survey", "invoice", "ticket")
FILLER = ("river", "copper", "signal", "garden", "window", "market", "winter", "engine", "thread")
CALL = '{"tool": "file_read", "arguments": {"path": "'
READ = [by_name["file_read"]]


def recited(order, done):
    """The list in four ways: what is recited behind each way's name."""
    ticked = [Task(f"read {name}", done=place < done) for place, name in enumerate(order)]
    left = [task for task in ticked if not task.done]
    return {
        "nothing": [],
        "all, those done ticked": ticked,
        "what is left": left,
        "what is next": left[:1],
    }


# %%
from vllm import SamplingParams
from vllm.inputs import TokensPrompt


def pick(view, options):
    """Which of some texts the model goes on with, after the beginning of a call."""
    begun = TokensPrompt(prompt_token_ids=view.ids(CALL))
    held = SamplingParams(temperature=0.0, max_tokens=8, extra_args={KEY: options})
    text = llm.vllm.generate([begun], held, use_tqdm=False)[0].outputs[0].text
    return next((option for option in options if text.startswith(option)), text)


# %%
def follow(seed):
    """Lets an agent read files in a drawn order; yields how far off each choice of the model is."""
    order = [f"{name}.txt" for name in random.Random(seed).sample(ITEMS, len(ITEMS))]
    reading = AgentContext("You work on files. Reply with one tool call.", READ)
    reading.add_user(f"Read these files, each once, in this order: {', '.join(order)}.")
    view = TokenView(reading, tokenizer)
    for done, name in enumerate(order[:-1], 1):
        reading.add_assistant(f'{CALL}{name}"}}}}')
        seen = " ".join(random.Random(f"{seed} {name}").choices(FILLER, k=60))
        reading.add_observation(seen, tool="file_read")
        for way, tasks in recited(order, done).items():
            reading.recite(tasks)
            yield way, order.index(pick(view, sorted(order))) - done


# %%
offs: dict[str, list[int]] = {}
with loading("an agent reads its files"):
    for seed in range(SEED, SEED + (1 if FAST else 2)):
        for way, off in follow(seed):
            offs.setdefault(way, []).append(off)
tally = {
    way: [sum(off == 0 for off in own), sum(off < 0 for off in own), sum(off > 0 for off in own)]
    for way, own in offs.items()
}
asks = len(offs["nothing"])
display(
    show.Table(
        ("the list says", "chosen: the next one", "one that was read", "a later one"),
        [(way, *numbers) for way, numbers in tally.items()],
    )
)
nothing, ticked, left, following = (numbers[0] for numbers in tally.values())
Markdown(
    f"Of {asks} choices {nothing} are right without a list, {ticked} with all tasks and ticks, "
    f"{left} with what is left, and **{following} with the next task alone**; by chance it would "
    f"be one in {len(ITEMS)}. A full list {'helps' if ticked > nothing else 'does not help'} it."
)

# %% [markdown]
# So what stands at the end of the context does steer the next action. What a model of 135 million
# parameters makes of it is another matter: to go on from a list it has to find the first line that
# is not ticked, and what it does instead is in the second column. For such a model the program
# keeps the list and says what is next. How much help a larger model needs is not shown here.
#
# That the list costs nothing in cache is shown for any model: four steps, at each of which the list
# changes. The negative control keeps the list in the system prompt.

# %%
at_the_end, in_front, tails = PrefixCache(BLOCK), PrefixCache(BLOCK), []
for step in range(4):
    tasks = [Task(f"look at folder {n}", n < step) for n in range(4)]
    planned = office(step)
    planned.recite(tasks, f"It is {time_of(step)}.")
    sent = planned.render()
    end = at_the_end.run(sent.data)
    listed = planned.tail["content"]
    opened = {"role": "system", "content": opening(f"{SYSTEM}\n{listed}", TOOLS)}
    lines = [canonical(message) for message in (opened, *office(step).messages()[1:])]
    front = in_front.run("".join(lines).encode())
    known = end.cached_tokens, front.cached_tokens
    tails.append((step + 1, len(sent.prefix), len(sent.tail), *known))
show.Table(
    ("step", "bytes before the list", "of the list", "found", "found, list in front"),
    [(step, *map("{:,}".format, counted)) for step, *counted in tails],
)

# %% [markdown]
# ### Errors stay
#
# *Question: a call failed. Keep it in the context, or clean up?*
#
# An agent is to find something in one of five files, and each attempt fails. We take its first
# choice, then either leave no trace of it or keep the call and the error, and ask again.


# %%
def second_try(seed, keep):
    """The model's choices before and after a failure."""
    coin = random.Random(seed)
    files = [f"{name}.txt" for name in coin.sample(ITEMS, 5)]
    trying = AgentContext("You work on files. Reply with one tool call.", READ)
    task = f"One of these files says how deep the {coin.choice(FILLER)} is: {', '.join(files)}."
    trying.add_user(f"{task} Read it. If a file cannot be read, try another one.")
    view = TokenView(trying, tokenizer)
    before = pick(view, sorted(files))
    if keep:
        trying.add_assistant(f'{CALL}{before}"}}}}')
        trying.add_error(f"FileNotFoundError: there is no {before}", tool="file_read")
    return before, pick(view, sorted(files))


tries = range(SEED, SEED + (4 if FAST else 6))
with loading("second tries"):
    repeated = {
        way: sum(len(set(second_try(seed, keep))) == 1 for seed in tries)
        for way, keep in (("removed", False), ("kept", True))
    }
show.Table(
    ("the error is", "makes the same call again"),
    [(way, f"{count} of {len(tries)}") for way, count in repeated.items()],
)

# %% [markdown]
# The first row is no finding but what has to be: with the error removed the prompt is byte for byte
# the one that led to the mistake, and a model that takes the likeliest token makes it again.
# Whatever helps has to stand in the context. The second row is a finding:

# %%
helped = repeated["removed"] - repeated["kept"]
small_help = (
    "so with the error in sight this model does much what it does without. The principle cannot be "
    "shown with it."
)
Markdown(
    f"With the error kept, **{repeated['kept']} of {len(tries)}** choices are the failed call, "
    + (small_help if helped <= len(tries) // 4 else f"{helped} fewer than without it.")
)

# %% [markdown]
# What holds whatever the model: an error that is kept is a few tokens behind the cached prefix, one
# that is removed later is edited history; and only what is kept can be counted. The recorded agent,
# whose script does read its errors:

# %%
metrics = profile.metrics
Markdown(
    f"Tools worked in {metrics.tool_success}. Failures of a tool in a row count as one error, and "
    f"it is **recovered** where the same tool works later in the run: {metrics.recovery}."
)

# %% [markdown]
# Where it stops holding: a log of failures that nobody needs any more is still read at each step.
# The error belongs in the context in full; the traceback of 200 lines may go to a file.
#
# ## 6. Sixth principle: don't let it fall into a rut
#
# *Question: fifty observations of one shape, and the model goes on in that shape. How can the shape
# vary without breaking the prefix?*
#
# By drawing the wording once, when a message is appended, from a seed and the message's number. The
# negative control draws at each rendering, which looks more varied still.


# %%
def varied(wordings, seed, steps=12):
    """An agent that sees one kind of observation again and again; what it sends at each step."""
    context, sent = AgentContext(SYSTEM, DEFINITIONS, wordings=wordings, seed=seed), []
    for step in range(steps):
        context.add_assistant('{"tool": "file_list", "arguments": {"path": "reports"}}')
        context.add_observation({"late": step % 3, "of": 12}, tool="file_list")
        sent.append(context.render().data)
    return sent


def at_each_rendering(seed):
    """The control: all observations are worded anew, at random, whenever the context is sent."""
    coin = random.Random(seed)
    return [varied(VARIED, coin.randrange(10**9), steps)[-1] for steps in range(1, 13)]


def rate(sent):
    """The hit rate of renderings, each byte a token, by the model."""
    cache = PrefixCache(BLOCK)
    for data in sent:
        cache.run(data)
    return cache.counts.hit_rate


# %%
variety = {
    "one wording": varied(PLAIN, SEED),
    "drawn by seed and number": varied(VARIED, SEED),
    "drawn at each rendering": at_each_rendering(SEED),
}
replayed = {
    "one wording": varied(PLAIN, SEED),
    "drawn by seed and number": varied(VARIED, SEED),
    "drawn at each rendering": at_each_rendering(None),
}

# %%
kept_prefix = {way: all(map(bytes.startswith, sent[1:], sent)) for way, sent in variety.items()}
messages = {way: map(json.loads, sent[-1].splitlines()) for way, sent in variety.items()}
shapes = {
    way: len({re.sub(r"\d", "", one["content"]) for one in lines if one["role"] == "tool"})
    for way, lines in messages.items()
}
show.Table(
    (
        "wording",
        "shapes",
        "each is the beginning of the next",
        "hit rate",
        "a replay has the same bytes",
    ),
    [
        (
            way,
            shapes[way],
            "yes" if kept_prefix[way] else "**no**",
            f"{rate(sent):.1%}",
            "yes" if replayed[way] == sent else "**no**",
        )
        for way, sent in variety.items()
    ],
)

# %% [markdown]
# A replay with the same bytes is more than neatness: without it no failure can be looked at again.
# Where it stops holding: that variety makes a model's actions better is the source's claim, and
# nothing here measures it. What is measured is that it is free when it is drawn once.
#
# ### Too many tools
#
# *Question: does a model choose worse among more tools?*
#
# Requests that each need one of 24 tools. The same requests are put to the model with 2, 4, 12 and
# 24 tools, the right one always among them; the reply must name one of those present. Three
# exchanges before the request show how it is done, with tools that are not there. Greedy decoding,
# one try each.

# %%
deck = random.Random(SEED).sample(SAMPLES, len(SAMPLES))
wishes = deck[: 12 if FAST else 24]
SHOWN = {
    "7 times 8?": "calculator_run",
    "Bread in French?": "translate_text",
    "Wake me.": "alarm_set",
}


def offered(sample, hand):
    """A prompt that asks for one of some tools, and the texts that the reply may begin with."""
    choosing = AgentContext(SYSTEM, [one.definition() for one in hand])
    for wish, name in SHOWN.items():
        choosing.add_user(wish)
        choosing.add_assistant(f'{{"tool": "{name}", "arguments": {{}}}}')
    choosing.add_user(sample.request)
    begin = {KEY: [f'{one.name}"' for one in hand]}
    held = SamplingParams(temperature=0.0, max_tokens=8, extra_args=begin)
    return TokensPrompt(prompt_token_ids=TokenView(choosing, tokenizer).ids('{"tool": "')), held


# %%
def right_among(size):
    """How many requests get the right tool where a context has so many."""
    hands = [deck[place // size * size :][:size] for place in range(len(wishes))]
    asking = [offered(sample, hand) for sample, hand in zip(wishes, hands, strict=True)]
    outputs = []
    for some in (asking[:1], asking[1:]):  # the first by itself, so that others find it cached
        outputs += llm.vllm.generate(*map(list, zip(*some, strict=True)), use_tqdm=False)
    picked = [output.outputs[0].text.partition('"')[0] for output in outputs]
    return sum(name == sample.name for name, sample in zip(picked, wishes, strict=True))


with loading("requests with 2 to 24 tools"):
    hits = {size: right_among(size) for size in (2, 4, 12, 24)}

# %%
figure, axes = plt.subplots(figsize=(5, 2.6), layout="constrained")
axes.plot(list(hits), [hit / len(wishes) for hit in hits.values()], "o-", label=llm.name)
axes.plot(list(hits), [1 / size for size in hits], ":", color="grey", label="by chance")
axes.set(xlabel="tools", ylabel="right choices", ylim=(0, 1.05), xscale="log")
axes.set_xticks(list(hits), [str(size) for size in hits])
axes.minorticks_off()
axes.yaxis.set_major_formatter("{x:.0%}")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
off_by = max(
    np.sqrt(hit / len(wishes) * (1 - hit / len(wishes)) / len(wishes)) for hit in hits.values()
)
Markdown(
    "Right: "
    + ", ".join(f"{hit} of {len(wishes)} among {size}" for size, hit in hits.items())
    + f". One standard error is up to {off_by:.0%}. Fewer tools are easier also by chance, which "
    "the dotted line shows."
)

# %% [markdown]
# That is the smallest of models, on easy requests. A larger one starts higher; that it falls too is
# likely, and is not shown here. Where it stops holding: with 24 tools and a state in which four
# make sense, a *mask* gives the model the easier choice, and the prefix stays.
#
# ## 7. The profiler
#
# *Question: which message broke the cache of an agent that somebody else wrote?*
#
# We take the recorded agent and give it one bad habit: at each step its system prompt says what
# time it is. The profiler gets the trace and knows nothing of that.


# %%
def with_a_clock(trace):
    """The same trace, but for the time in each system prompt; a request comes every 17 seconds."""
    steps = {step.request.id: step for step in trace.steps()}
    clock, records = datetime(2026, 11, 27, 9), []
    for record in trace.records:
        if not isinstance(record, Request):
            records.append(record)
            continue
        clock += timedelta(seconds=17)
        step = steps[record.id]
        system = {"role": "system", "content": f"It is {clock}. {step.messages[0]['content']}"}
        known = {"run": record.run, "id": record.id, "time": record.time, "tools": step.tools}
        records.append(Request(**known, messages=[system, *step.messages[1:]]))
    return Trace(trace.header, tuple(records))


bad = profile_trace(with_a_clock(trace), prices=prices)
bad.break_table()

# %%
assert bad.cost is not None
assert profile.cost is not None
dearer = bad.cost.total / profile.cost.total
places = sorted({step.broke.place for step in bad.breaks if step.broke})
Markdown(
    f"{len(bad.breaks)} of {len(bad.steps)} steps broke the cache, at {' and '.join(places)}. "
    f"Hit rate {bad.metrics.hit_rate.value:.1%} where it was {profile.metrics.hit_rate.value:.1%}, "
    f"cost {bad.cost} where it was {profile.cost}: **{dearer:.1f} times as much for a clock**."
)

# %% [markdown]
# The whole profile of the agent without the clock: how contexts grow, what each step costs, how
# long tools take and which files are used. For your own agent, `python -m workbook.context profile
# log.jsonl --page profile.html` makes the same of a log in OpenAI's format
# ([docs/context.md](../docs/context.md)).

# %%
profile

# %% [markdown]
# Where it stops holding: where an engine reports no usage, tokens and hits are a replay's, as here,
# and say what a cache *would* have found.
#
# ## Try it yourself
#
# The cache: what do you find if the second request leaves out the first word, or repeats the first
# block? Predict it, then look. How small must `blocks` be until the first prompt is evicted?

# %%
tried = PrefixCache(block_size=16, blocks=9)
[tried.run(b"A" * 60 + b"B" * 60).cached_tokens, tried.run(b"A" * 60 + b"C" * 60).cached_tokens]

# %% [markdown]
# The workload: at which size of an observation does offloading stop paying? Try `size=200`, and a
# price of the cache that is half of the full one (`Prices.declared`, and `score(…, prices=…)`).
# When does the window win?

# %%
small = draw(random.Random(SEED), turns=24, questions=4, size=400)
with tempfile.TemporaryDirectory() as folder:
    print(score(play(small, make("append_only", small, Path(folder)))))
    print(score(play(small, make("offload", small, Path(folder)))))

# %% [markdown]
# ## Summary, checked
#
# Each line is a claim of this chapter, held against what this run counted.


# %%
def check(claims):
    """Prints each claim with whether it held."""
    for claim, held in claims.items():
        print("✓" if held else "✗", claim)
    assert all(claims.values())


check(
    {
        "The agent reads a hundred times what it writes, and more.": read > 100 * written,
        "Nearly all of that it has sent before.": new < 0.05 * read,
        "From a set, two processes write two orders, and share little.": shared_by["from a set"][0]
        < shared_by["from a set"][1] / 2,
        "Sorted, the second finds all but its last tokens.": shared_by["sorted"][2] is None,
        "Each bad habit is found, and appending is none.": [
            broke is None for broke in broken_by.values()
        ]
        == [False] * 5 + [True],
        "Equal values have one canonical form, and a set has none.": len(one_form) == 1
        and "order" in no_order,
        "Edited history is refused.": "edited history" in refused,
    }
)

# %%
full = {way: both[0][0] for way, both in routing.items()}
tight = {way: both[1][0] for way, both in routing.items()}
check(
    {
        "Rendezvous keeps each session where it was.": routing["rendezvous"][0][1] == 1,
        "Two routers with hash() do not agree.": routers["hash()"][0] != routers["hash()"][1],
        "A session that stays is found more often.": full["rendezvous"]
        > max(full["hash()"], full["round robin"]),
        "And the gap is wider where room is scarce.": tight["rendezvous"] - tight["round robin"]
        > full["rendezvous"] - full["round robin"],
        "What was moved comes back byte for byte.": whole == orders.encode(),
        "The window is shorter than append-only, and costs more.": shorter["window"].mean_context
        < plain.mean_context
        and shorter["window"].dollars > plain.dollars,
        "So is clearing, and both lose facts.": shorter["clearing"].dollars > plain.dollars
        and max(one.answered for one in shorter.values()) < plain.asked,
        "Sorting alone gains next to nothing while the time comes first.": scores[
            "time_first"
        ].dollars
        > 0.95 * naive.dollars,
        "In a long run clearing is cheaper than append-only.": relative["clearing"][-1] < 1,
        "The longer the run, the less forgetting costs; moving out stays cheapest.": all(
            relative[name][-1] < relative[name][0] for name in ("window", "clearing")
        )
        and all(moved <= min(rest) for *rest, moved in zip(*relative.values(), strict=True)),
        "Offloading is shorter and cheaper, and loses none.": moved_out.mean_context
        < plain.mean_context / 2
        and moved_out.dollars < plain.dollars
        and moved_out.answered == moved_out.asked,
    }
)

# %%
check(
    {
        "The list at the end breaks nothing, in front it breaks nearly all.": all(
            found > before - BLOCK and front < before / 10
            for (_, before, *_), (*_, found, front) in pairwise(tails)
        ),
        "Wording drawn once keeps the prefix; drawn each time it breaks it.": list(
            kept_prefix.values()
        )
        == [True, True, False],
        "It has more than one shape.": shapes["drawn by seed and number"] > shapes["one wording"],
        "The profiler names the message with the clock.": len(bad.breaks)
        == len(bad.steps) - len(bad.runs)
        and {step.broke.message for step in bad.breaks if step.broke} == {0},
    }
)

# %%
check(
    {
        "PrefixCache and vLLM agree to the token.": alike == len(compared),
        "The time first: nothing but the first block or so is found.": max(
            one.cached_tokens for one in asked["time first"]
        )
        < BLOCK,
        "The template breaks the prefix just as much.": max(
            one.cached_tokens for one in asked["by template"]
        )
        < BLOCK,
        "The time last: all but the end is found.": min(
            one.cached_tokens / one.prompt_tokens for one in asked["time last"][1:]
        )
        > 0.8,
        "An edit is computed again, a correction is not.": corrected["edited"].cached_tokens
        < corrected["appended"].cached_tokens,
        "Masks cost fewer computed tokens than removal, the first request included.": sum(
            computed["masked"]
        )
        < sum(computed["removed"]),
        "Under a schema or the processor each call is allowed.": all(
            fine for _, by, _, fine, _ in limited if by != "prefill"
        ),
        "What is next, said at the end, is chosen more often.": following > nothing,
        "An error that is removed is made again (but for a tie).": repeated["removed"]
        >= len(tries) - 1,
        "Among more tools fewer choices are right.": hits[24] < hits[2],
    }
)

# %% [markdown]
# ## Exercises
#
# - [2.1: a context that keeps its
#   cache](../exercises/ch02_ex1_kv_aware_context/ch02_ex1_kv_aware_context.ipynb): hit rate above
#   80 %, half the context, 40 % cheaper, and every fact still to be had.
# - [2.2: mask, don't
#   remove](../exercises/ch02_ex2_mask_dont_remove/ch02_ex2_mask_dont_remove.ipynb): a state machine
#   over 30 tools, in three modes, on a real model.
# - [2.3: a profiler for
#   agents](../exercises/ch02_ex3_agent_profiler/ch02_ex3_agent_profiler.ipynb): exact metrics from
#   an event log that is not tidy.
# - [2.4: find the leak](../exercises/ch02_ex4_find_the_leak/ch02_ex4_find_the_leak.ipynb): five
#   agents that break the cache in five ways.

# %%
resources.close()
