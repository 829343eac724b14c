# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercise 2.4: find the leak
#
# **Goal**: find the byte at which a prompt stops being cached, and mend five agents whose prompts
# break there, without telling the model any less.
#
# **Why it matters.** An engine reuses what a prompt has in common with an earlier one, from the
# start to the first byte that differs. One changed digit in the first line makes the whole prompt
# new, at each step, and nothing fails: the agent is only slow and ten times as dear.
#
# | | |
# |---|---|
# | Difficulty | ●●○○○ |
# | Importance | ●●●●● |
# | Time | 60 minutes |
# | Needs | a CPU, and nothing but Python |

# %% [markdown]
# ## The contract: the byte
#
# A rendering is a list of messages, dictionaries with the texts `"role"` and `"content"`. Its bytes
# are what `encode` below makes of it.
#
# ```python
# def first_break(before: list[Message], after: list[Message]) -> tuple[int, int] | None
# ```
#
# - None where the bytes of `before` are the beginning of those of `after`: all of it is reused.
# - Otherwise the first byte of `before` that `after` does not have in its place, counted from 0 at
#   the start of the rendering, and the number, from 0, of the message of `before` in which it lies.
# - Only bytes count. A content may hold markers, so that other messages have the same bytes.
#
# ## The contract: the agents
#
# An agent gets all that has happened in a run so far and gives the rendering that the model is sent
# next. It keeps nothing between calls: the next step may be served by another process. The first
# message has the role `"system"` and the text `SYSTEM`. In all agents, a rendering's bytes must be
# the beginning of those of the run's next step. What each of them must tell, whatever you mend:
#
# | agent | a turn has | what the model is told |
# |---|---|---|
# | `clock(turns)` | `time`, `text` | all texts in order; of all times, the one of the last turn is named last |
# | `records(turns)` | `record` | a message a turn, of which the content is the record as JSON |
# | `calls(turns)` | `calls`, `results` | see below |
# | `notes(turns)` | `name`, `text` | the last message that names a note has its newest text |
# | `toolbox(tools, turns)` | `allowed`, `text` | see below |
#
# - **`calls`**: `calls` is a list of `[tool, argument]`, `results` a list of `[place, text]` in the
#   order in which they came: `place` says which of the turn's calls it is the result of. A turn is a
#   message with the JSON list of its calls, `{"id", "tool", "argument"}`, and then a message for each
#   result, the JSON of `{"id", "text"}`. No two calls of a run have the same id.
# - **`toolbox`**: `tools` has a definition under each name. The second message, of the role
#   `"tools"`, is a JSON list of definitions, with those at least that are allowed in the last turn.
#   All texts are told in order after it. The last message names all tools that its turn allows and
#   no other one.
#
# Dictionaries may come with their keys in any order, another one in each call. Turns do not change
# once they have happened. Nothing is said again and again: a prompt has at most twice as many bytes
# as all that is known, as JSON, and 100 more for each turn and each result.

# %% [markdown]
# ## The criteria
#
# | criterion | points | what it asks |
# |---|---|---|
# | `the-byte-is-found` | 15 | the byte and its message |
# | `bytes-are-not-characters` | 10 | text beyond ASCII |
# | `ends-are-breaks-too` | 10 | renderings that end early, are empty, or are cut otherwise |
# | `time-is-told-in-its-turn` | 10 | `clock` |
# | `records-have-one-form` | 10 | `records` |
# | `ids-stay-and-pair` | 15 | `calls` |
# | `corrections-are-appended` | 10 | `notes` |
# | `tools-stay-defined` | 10 | `toolbox` |
# | `the-cache-is-hit` | 10 | long runs of all five: more than 80 % cached, nothing said twice |
#
# The criteria stand in `acceptance.py` beside this notebook. Your work is graded by the same
# functions, on other runs. The last one's cache keeps blocks of 32 bytes and counts a byte as a token.

# %% nbgrader={"grade": false, "grade_id": "setup", "locked": true, "schema_version": 3, "solution": false, "task": false}
import json
import uuid
from itertools import accumulate
from typing import Any

from autograder.check import check

Message = dict[str, str]
Turn = dict[str, Any]

SYSTEM = "You are a careful assistant. Use the tools, and say what you do not know."


def encode(messages: list[Message]) -> bytes:
    """Returns a rendering's bytes, as a chat template would lay them out."""
    texts = [f"<|{message['role']}|>\n{message['content']}<|end|>\n" for message in messages]
    return "".join(texts).encode()


# %% [markdown]
# ## Step 1: the byte
#
# <details><summary>Hint 1</summary>
#
# Three questions, one after the other: is there a break, at which byte, and in which message does
# that byte lie?
# </details>
# <details><summary>Hint 2</summary>
#
# Encode both first. `new.startswith(old)` answers the first question. If `new` is the beginning of
# `old`, the break is where it ends.
# </details>
# <details><summary>Hint 3: nearly there</summary>
#
# Add up `len(encode([message]))` over `before` until the sum is beyond the byte.
# </details>


# %% nbgrader={"grade": false, "grade_id": "first-break", "locked": false, "schema_version": 3, "solution": true, "task": false}
def first_break(before: list[Message], after: list[Message]) -> tuple[int, int] | None:
    """Returns the first byte that is not reused and its message; None where all is reused."""
    ### BEGIN SOLUTION
    old, new = encode(before), encode(after)
    if new.startswith(old):
        return None
    pairs = enumerate(zip(old, new, strict=False))
    byte = next((place for place, (one, other) in pairs if one != other), len(new))
    ends = accumulate(len(encode([message])) for message in before)
    return byte, sum(end <= byte for end in ends)
    ### END SOLUTION


# %%
one = [{"role": "system", "content": "Café"}, {"role": "user", "content": "It is 12:01."}]
two = [{"role": "system", "content": "Café"}, {"role": "user", "content": "It is 12:02."}]
first_break(one, two)

# %% [markdown]
# Expected output: `(43, 1)`.

# %% nbgrader={"grade": true, "grade_id": "the-byte-is-found", "locked": true, "points": 15, "schema_version": 3, "solution": false, "task": false}
check("the-byte-is-found", first_break)

# %% nbgrader={"grade": true, "grade_id": "bytes-are-not-characters", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("bytes-are-not-characters", first_break)

# %% nbgrader={"grade": true, "grade_id": "ends-are-breaks-too", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("ends-are-breaks-too", first_break)

# %% [markdown]
# ## Five agents that leak
#
# All of them are right: the model is told what it must know. Each breaks its prefix at every step,
# or at nearly every one.


# %%
def message(role: str, content: object) -> Message:
    """A message; what is no text is written as JSON."""
    return {"role": role, "content": content if isinstance(content, str) else json.dumps(content)}


def leaky_clock(turns: list[Turn]) -> list[Message]:
    """Says the time where the model sees it first."""
    system = message("system", f"It is {turns[-1]['time']}. {SYSTEM}")
    return [system, *[message("user", turn["text"]) for turn in turns]]


def leaky_records(turns: list[Turn]) -> list[Message]:
    """Writes records as they come."""
    return [message("system", SYSTEM), *[message("tool", turn["record"]) for turn in turns]]


# %%
def leaky_calls(turns: list[Turn]) -> list[Message]:
    """Makes an id for each call."""
    messages = [message("system", SYSTEM)]
    for turn in turns:
        ids = [uuid.uuid4().hex for _ in turn["calls"]]
        pairs = zip(ids, turn["calls"], strict=True)
        made = [{"id": name, "tool": tool, "argument": text} for name, (tool, text) in pairs]
        messages.append(message("assistant", made))
        for place, text in turn["results"]:
            messages.append(message("tool", {"id": ids[place], "text": text}))
    return messages


# %%
def leaky_notes(turns: list[Turn]) -> list[Message]:
    """Replaces a note by its correction."""
    newest = {turn["name"]: turn["text"] for turn in turns}
    own = [message("user", f"{name}: {text}") for name, text in newest.items()]
    return [message("system", SYSTEM), *own]


def leaky_toolbox(tools: dict[str, Any], turns: list[Turn]) -> list[Message]:
    """Defines what may be called now."""
    allowed = turns[-1]["allowed"]
    defined = message("tools", [tools[name] for name in allowed])
    texts = [message("user", turn["text"]) for turn in turns[:-1]]
    last = message("user", f"{turns[-1]['text']}\nYou may call: {', '.join(allowed)}")
    return [message("system", SYSTEM), defined, *texts, last]


# %% [markdown]
# Two steps of the first one, seen by your function:

# %%
day = [{"time": f"2026-11-27T12:00:0{n}Z", "text": f"question {n}"} for n in range(3)]
print(first_break(leaky_clock(day[:2]), leaky_clock(day)))

# %% [markdown]
# Expected output: `(35, 0)`: in the first message, so nothing behind it is ever reused.
#
# ## Step 2: what is new at each step
#
# `clock` says a time that is always new, `records` writes one value in several ways.
#
# <details><summary>Hint 1</summary>
#
# What was said at a step stays in the context at all later ones. So it must be something that does
# not stop being true: "at this turn it was …".
# </details>
# <details><summary>Hint 2</summary>
#
# Each turn's message begins with that turn's own time. For records, `json.dumps` has an argument.
# </details>


# %% nbgrader={"grade": false, "grade_id": "clock", "locked": false, "schema_version": 3, "solution": true, "task": false}
def clock(turns: list[Turn]) -> list[Message]:
    """Returns a rendering that tells all texts and what time it is."""
    ### BEGIN SOLUTION
    texts = [message("user", f"[{turn['time']}] {turn['text']}") for turn in turns]
    return [message("system", SYSTEM), *texts]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "time-is-told-in-its-turn", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("time-is-told-in-its-turn", clock)


# %% nbgrader={"grade": false, "grade_id": "records", "locked": false, "schema_version": 3, "solution": true, "task": false}
def records(turns: list[Turn]) -> list[Message]:
    """Returns a rendering with each record as JSON."""
    ### BEGIN SOLUTION
    texts = [json.dumps(turn["record"], sort_keys=True) for turn in turns]
    return [message("system", SYSTEM), *[message("tool", text) for text in texts]]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "records-have-one-form", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("records-have-one-form", records)

# %% [markdown]
# ## Step 3: what must be the same again
#
# <details><summary>Hint 1</summary>
#
# An id need not be random, it must be unique in the run. What is unique about a call, and known
# again at the next step?
# </details>
# <details><summary>Hint 2</summary>
#
# Not what is called: the same call may come twice. `f"call-{number}-{place}"`, with the number of
# the turn.
# </details>


# %% nbgrader={"grade": false, "grade_id": "calls", "locked": false, "schema_version": 3, "solution": true, "task": false}
def calls(turns: list[Turn]) -> list[Message]:
    """Returns a rendering with all calls, and with each result under the id of its call."""
    ### BEGIN SOLUTION
    messages = [message("system", SYSTEM)]
    for number, turn in enumerate(turns):
        made = [
            {"id": f"call-{number}-{place}", "tool": tool, "argument": text}
            for place, (tool, text) in enumerate(turn["calls"])
        ]
        messages.append(message("assistant", made))
        for place, text in turn["results"]:
            messages.append(message("tool", {"id": f"call-{number}-{place}", "text": text}))
    return messages
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "ids-stay-and-pair", "locked": true, "points": 15, "schema_version": 3, "solution": false, "task": false}
check("ids-stay-and-pair", calls)

# %% [markdown]
# ## Step 4: what was said stays said
#
# A correction, and the tools that may be called, change what is true. They need not change what was
# sent.
#
# <details><summary>Hint 1</summary>
#
# A model reads to the end. What stands later holds, if it says what it is about.
# </details>
# <details><summary>Hint 2</summary>
#
# One message for each turn of `notes`. In `toolbox` all definitions, sorted by name and with sorted
# keys; each turn's message names what it allows.
# </details>


# %% nbgrader={"grade": false, "grade_id": "notes", "locked": false, "schema_version": 3, "solution": true, "task": false}
def notes(turns: list[Turn]) -> list[Message]:
    """Returns a rendering in which each note has its newest text where it is named last."""
    ### BEGIN SOLUTION
    own = [message("user", f"{turn['name']}: {turn['text']}") for turn in turns]
    return [message("system", SYSTEM), *own]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "corrections-are-appended", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("corrections-are-appended", notes)


# %% nbgrader={"grade": false, "grade_id": "toolbox", "locked": false, "schema_version": 3, "solution": true, "task": false}
def toolbox(tools: dict[str, Any], turns: list[Turn]) -> list[Message]:
    """Returns a rendering that defines tools, and says which of them may be called now."""
    ### BEGIN SOLUTION
    defined = json.dumps([tools[name] for name in sorted(tools)], sort_keys=True)
    messages = [message("system", SYSTEM), message("tools", defined)]
    for turn in turns:
        names = ", ".join(turn["allowed"])
        messages.append(message("user", f"{turn['text']}\nYou may call: {names}"))
    return messages
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "tools-stay-defined", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("tools-stay-defined", toolbox)

# %% nbgrader={"grade": true, "grade_id": "the-cache-is-hit", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("the-cache-is-hit", clock, records, calls, notes, toolbox)

# %% [markdown]
# ## What it was worth


# %%
def reused(before: list[Message], after: list[Message]) -> float:
    """The share of the later rendering that the earlier one has at its beginning."""
    found = first_break(before, after)
    return (len(encode(before)) if found is None else found[0]) / len(encode(after))


day = [{"time": f"2026-11-27T12:{n:02}:00Z", "text": f"question {n}"} for n in range(40)]
for agent in (leaky_clock, clock):
    print(
        f"{agent.__name__}: {reused(agent(day[:-1]), agent(day)):.0%} of the last prompt is reused"
    )

# %% [markdown]
# Expected output: 3 % before, 98 % after.
#
# ## What you have now
#
# `workbook.context.diagnosis` in its smallest form, and five habits: say what changes where it
# happens, write each value in one way, derive ids from places, append corrections, define all tools
# and name those that may be called. Where they stop holding: telling a model which tools it may call
# does not bind it; masking does (exercise 2.2). And a context that only grows is full one day: what
# is then taken out costs a cache, once.
