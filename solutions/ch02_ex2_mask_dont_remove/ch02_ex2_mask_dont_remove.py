# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercise 2.2: mask, don't remove
#
# **Goal**: hold a model to the tools that it may call now, in three ways, while the definitions of
# all its tools stay where they are.
#
# **Why it matters.** An agent with thirty tools must not use all of them at any time. Taking
# definitions out of the prompt changes its first message, and all that was cached behind it is
# computed again. Leaving them in and *asking* the model to keep off binds nobody. A mask binds the
# reply itself, and costs the prompt no token.
#
# | | |
# |---|---|
# | Difficulty | ●●●○○ |
# | Importance | ●●●●○ |
# | Time | 90 minutes |
# | Needs | a CPU; vLLM for the last two criteria, which are not run without it |

# %% [markdown]
# ## The contract: what is allowed
#
# An **action** is what a reply may be: the name of a tool that it calls, or None for an answer. Names
# have letters, digits and `_`. A **set of actions** is a list without doubles: None first, if it is
# in it, then names in sorted order. A reply is one JSON object, and `opening(action)` below is how it
# begins.
#
# ```python
# def actions(tools: list[str], mode: str, prefixes: list[str] | None) -> list[Action]
#
# class ToolStates:
#     def __init__(self, tools: list[str], states: dict[str, State], start: str)
#     state: str                                      # the name of the present one
#     def actions(self) -> list[Action]
#     def step(self, action: Action) -> str           # the state after it
# ```
#
# - **`actions`**: allowed are the tools whose names begin with one of the `prefixes`, all of them
#   where `prefixes` is None. Mode `"auto"` also allows an answer; `"required"` does not; `"specified"`
#   does not either, and takes exactly one prefix, not empty: a group of tools, such as `browser_`.
#   `tools` may be in any order, and name a tool twice.
# - It raises `MaskError` where there is no such mode, where a prefix fits no tool (also beside one
#   that does), where `prefixes` is a text and no list, and where no tool is allowed, in `"auto"` too.
# - **`ToolStates`**: a state is `{"mode": …, "prefixes": …, "then": {prefix: state}}`. A call leads
#   where the longest prefix in `then` leads that its name begins with; if none fits, and after an
#   answer, the state stays. An action that is not in the set raises `MaskError`, and the state stays.
# - The machine itself raises `MaskError` when it is made, if *any* of its states is not possible: its
#   set is an error, its `then` leads to a state that is none, or has a prefix with which no tool
#   begins that the state allows; or if `start` is no state.

# %% [markdown]
# ## The contract: how a reply is held to it
#
# ```python
# def prefill(tools: list[str], allowed: list[Action]) -> str
# def schema(definitions: list[Definition], allowed: list[Action]) -> dict
# def next_tokens(vocabulary: list[bytes | None], texts: list[str], written: bytes) -> list[int] | None
# def render(definitions: list[Definition], messages: list[Message], allowed: list[Action]) -> str
# ```
#
# - **`prefill`** is written for the model before it goes on: the longest text with which the openings
#   of all allowed actions begin. Where the opening of an action that is *not* allowed begins with it
#   too, a prefill cannot say the set: `MaskError`. So it is for an empty set.
# - **`schema`** is a JSON schema for structured outputs. It admits the calls that are allowed, as
#   `{"tool": name, "arguments": …}` with arguments that keep to that tool's own `"parameters"`, and
#   `{"answer": text}`, of 200 characters at most, where None is allowed. Nothing else: no other key,
#   none missing. Of keywords it uses `anyOf`, `type`, `const`, `enum`, `not`, `properties`, `required`,
#   `additionalProperties` and `maxLength`, and no others. The engine writes a call as its opening has
#   it: the tool first.
# - **`next_tokens`** is the third way, the heart of a logits processor: a reply must begin with one
#   of `texts`, then it is free. `vocabulary` has the bytes of each token by its id; `written` is what
#   the reply says so far. It returns None if that begins with one of the texts, so that all tokens may
#   come. Otherwise the ids that may come next, sorted: those from which tokens lead on to where the
#   reply begins with one of the texts. The last of these may run on behind the text's end. Special
#   tokens are None in the vocabulary; these and empty tokens never come. Where no token may come,
#   `MaskError`.
# - **`render`** gives the prompt. A message is `<|im_start|>role\ncontent<|im_end|>\n`. First comes
#   one of the system: `SYSTEM`, and then each definition on a line of its own, as JSON. Definitions
#   and the keys in them may come in any order; the bytes are the same. Then the messages, as they
#   stand. At the end stands `<|im_start|>assistant\n`; up to 1,000 characters before it, behind all
#   messages, are yours. Nothing in front of them may depend on `allowed`.
#
# A definition is `{"name": …, "description": …, "parameters": a JSON schema}`, a message
# `{"role": …, "content": …}`.

# %% [markdown]
# ## The criteria
#
# | criterion | points | what it asks |
# |---|---|---|
# | `the-set-is-right` | 10 | modes and prefixes |
# | `an-empty-set-is-an-error` | 10 | restrictions that allow nothing, or make no sense |
# | `states-lead-on` | 12 | a machine over 30 tools |
# | `a-broken-machine-is-refused` | 8 | all states are looked at when it is made |
# | `a-prefill-is-exact-or-refused` | 10 | what a beginning can say, and what it cannot |
# | `a-schema-admits-the-set` | 10 | each tool with its own arguments |
# | `tokens-spell-the-names` | 12 | tokens are no names |
# | `no-way-ends-dead` | 8 | no token that leads nowhere |
# | `all-tools-stay-defined` | 6 | one form, in every state |
# | `no-tool-is-computed-again` | 6 | vLLM's own count of cached tokens |
# | `the-model-keeps-to-the-set` | 8 | SmolLM2, told to call what it may not |
#
# The criteria stand in `acceptance.py` beside this notebook. Your work is graded by the same
# functions, on other tools and states.

# %% nbgrader={"grade": false, "grade_id": "setup", "locked": true, "schema_version": 3, "solution": false, "task": false}
import json
from itertools import pairwise, takewhile
from typing import Any

from autograder.check import check

Action = str | None
State = dict[str, Any]
Definition = dict[str, Any]
Message = dict[str, str]

SYSTEM = "You are a careful assistant. Reply with a call of one tool or with an answer, as JSON."


class MaskError(ValueError):
    """Nothing is allowed, or this cannot be asked for in this way."""


def opening(action: Action) -> str:
    """Returns how a reply begins that is this action."""
    return '{"answer":' if action is None else f'{{"tool": "{action}", "arguments":'


def common_start(texts: list[str]) -> str:
    """Returns the longest text with which all of these begin."""
    pairs = zip(min(texts), max(texts), strict=False)
    return "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


# %% [markdown]
# ## Step 1: the set
#
# <details><summary>Hint 1</summary>
#
# Two questions: is the restriction possible at all, and which names does it leave? Answer them one
# after the other.
# </details>
# <details><summary>Hint 2</summary>
#
# `name.startswith(tuple(prefixes))` looks for any of them. But each prefix must fit some tool by
# itself, or a misspelled one is never noticed.
# </details>
# <details><summary>Hint 3: nearly there</summary>
#
# Five ways to raise, then one line that sorts `set(tools)`, then None before it in mode `auto`. Mind
# `[]`: `prefixes or …` takes it for None.
# </details>


# %% nbgrader={"grade": false, "grade_id": "actions", "locked": false, "schema_version": 3, "solution": true, "task": false}
def actions(tools: list[str], mode: str, prefixes: list[str] | None) -> list[Action]:
    """Returns what a reply may be. Raises MaskError."""
    ### BEGIN SOLUTION
    if mode not in ("auto", "required", "specified"):
        raise MaskError(f"there is no mode {mode!r}")
    if isinstance(prefixes, str):
        raise MaskError(f"give a list of prefixes, not the text {prefixes!r}")
    if mode == "specified" and (prefixes is None or len(prefixes) != 1 or not prefixes[0]):
        raise MaskError("a group is specified by the one prefix of its names")
    for prefix in prefixes or []:
        if not any(name.startswith(prefix) for name in tools):
            raise MaskError(f"no tool begins with {prefix!r}")
    fits = ("",) if prefixes is None else tuple(prefixes)
    allowed: list[Action] = [*sorted(name for name in set(tools) if name.startswith(fits))]
    if not allowed:
        raise MaskError("no tool may be called")
    return [None, *allowed] if mode == "auto" else allowed
    ### END SOLUTION


# %%
desk = ["shell_run", "browser_open", "file_read", "browser_click", "file_read_all"]
print(actions(desk, "auto", ["file_"]))
print(actions(desk, "specified", ["browser_"]))

# %% [markdown]
# Expected output:
#
# ```
# [None, 'file_read', 'file_read_all']
# ['browser_click', 'browser_open']
# ```

# %% nbgrader={"grade": true, "grade_id": "the-set-is-right", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("the-set-is-right", actions)

# %% nbgrader={"grade": true, "grade_id": "an-empty-set-is-an-error", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("an-empty-set-is-an-error", actions)

# %% [markdown]
# ## Step 2: the machine
#
# Where the model is in its work decides what it may do next. An agent that finds out at its fortieth
# step that a state allows nothing has wasted thirty-nine.
#
# <details><summary>Hint 1</summary>
#
# Work out the set of every state in `__init__`, by `actions` from step 1, and keep it.
# </details>
# <details><summary>Hint 2</summary>
#
# In `step`, look at the action before you change anything. Among the prefixes that fit,
# `max(fitting, key=len)`.
# </details>


# %% nbgrader={"grade": false, "grade_id": "tool-states", "locked": false, "schema_version": 3, "solution": true, "task": false}
class ToolStates:
    """A state machine over an agent's tools."""

    def __init__(self, tools: list[str], states: dict[str, State], start: str) -> None:
        """Begins in `start`. Raises MaskError if any state is not possible."""
        ### BEGIN SOLUTION
        self.then = {name: about["then"] for name, about in states.items()}
        self.sets = {
            name: actions(tools, about["mode"], about["prefixes"]) for name, about in states.items()
        }
        for name, then in self.then.items():
            for prefix, target in then.items():
                if not any(
                    tool is not None and tool.startswith(prefix) for tool in self.sets[name]
                ):
                    raise MaskError(f"{name!r} leads on from {prefix!r}, which it never allows")
                if target not in states:
                    raise MaskError(f"{name!r} leads to {target!r}, which is no state")
        if start not in states:
            raise MaskError(f"{start!r} is no state")
        self.state = start
        ### END SOLUTION

    def actions(self) -> list[Action]:
        """Returns what the next reply may be."""
        ### BEGIN SOLUTION
        return self.sets[self.state]
        ### END SOLUTION

    def step(self, action: Action) -> str:
        """Takes an action and returns the state after it. Raises MaskError."""
        ### BEGIN SOLUTION
        if action not in self.actions():
            raise MaskError(f"{action!r} is not allowed in {self.state!r}: {self.actions()}")
        then = self.then[self.state]
        fitting = [prefix for prefix in then if action is not None and action.startswith(prefix)]
        if fitting:
            self.state = then[max(fitting, key=len)]
        return self.state
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "states-lead-on", "locked": true, "points": 12, "schema_version": 3, "solution": false, "task": false}
check("states-lead-on", ToolStates)

# %% nbgrader={"grade": true, "grade_id": "a-broken-machine-is-refused", "locked": true, "points": 8, "schema_version": 3, "solution": false, "task": false}
check("a-broken-machine-is-refused", ToolStates)

# %% [markdown]
# ## Step 3: a beginning, or a schema
#
# A prefill is text: every model and every API that continues texts can do it, at no cost. But it says
# only where a reply begins. A schema says all of it, to an engine that has structured outputs.
#
# <details><summary>Hint 1</summary>
#
# For one tool the prefill is its whole opening. For all tools of `browser_` it ends with `browser_`,
# or later. For `file_read` and `file_read_all` it ends with `file_read`: what else begins so?
# </details>
# <details><summary>Hint 2</summary>
#
# `common_start` above, of the openings that are allowed. Then look at all others: None and the tools
# are the actions that there are.
# </details>
# <details><summary>Hint 3: the schema, nearly there</summary>
#
# `{"anyOf": […]}` with an object schema for each action. `{"const": name}` is a schema too. Which
# key of an object comes first is the order in `properties`.
# </details>


# %% nbgrader={"grade": false, "grade_id": "prefill", "locked": false, "schema_version": 3, "solution": true, "task": false}
def prefill(tools: list[str], allowed: list[Action]) -> str:
    """Returns the text with which the reply begins. Raises MaskError where none says the set."""
    ### BEGIN SOLUTION
    if not allowed:
        raise MaskError("nothing is allowed")
    common = common_start([opening(action) for action in allowed])
    for action in (None, *tools):
        if action not in allowed and opening(action).startswith(common):
            raise MaskError(f"{action!r} begins with {common!r}, too")
    return common
    ### END SOLUTION


# %%
print(prefill(desk, ["file_read"]))
print(prefill(desk, ["browser_click", "browser_open"]))

# %% [markdown]
# Expected output:
#
# ```
# {"tool": "file_read", "arguments":
# {"tool": "browser_
# ```

# %% nbgrader={"grade": true, "grade_id": "a-prefill-is-exact-or-refused", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("a-prefill-is-exact-or-refused", prefill)


# %% nbgrader={"grade": false, "grade_id": "schema", "locked": false, "schema_version": 3, "solution": true, "task": false}
def schema(definitions: list[Definition], allowed: list[Action]) -> dict[str, Any]:
    """Returns a JSON schema that admits the allowed replies and no others."""
    ### BEGIN SOLUTION
    forms: list[dict[str, Any]] = [
        {"tool": {"const": tool["name"]}, "arguments": tool["parameters"]}
        for tool in definitions
        if tool["name"] in allowed
    ]
    if None in allowed:
        forms.append({"answer": {"type": "string", "maxLength": 200}})
    rules = {"type": "object", "additionalProperties": False}
    return {"anyOf": [{**rules, "properties": form, "required": list(form)} for form in forms]}
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "a-schema-admits-the-set", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("a-schema-admits-the-set", schema)

# %% [markdown]
# ## Step 4: token by token
#
# A model does not write names, it writes tokens. `browser_click` may be one of them, two, or twelve;
# two names may share their first; a token may end in the middle of a name, of a character even, or
# behind the end of the text. And where no token can go on, the engine has nothing to choose from: what
# it then does is undefined, so no token may lead there.
#
# <details><summary>Hint 1</summary>
#
# Leave dead ends aside at first. After a token, `after = written + token` is fine in two cases: it
# begins with a text, or a text begins with it.
# </details>
# <details><summary>Hint 2</summary>
#
# In the second case it must go on: the question for `after` is the one that you are answering for
# `written`. A function that calls itself says it in two lines.
# </details>
# <details><summary>Hint 3: nearly there</summary>
#
# `leads(after)` is true if `after` begins with a text, or if a text begins with `after` and
# `any(leads(after + token) for token in tokens)`. Cache it if you like: texts are short.
# </details>


# %% nbgrader={"grade": false, "grade_id": "next-tokens", "locked": false, "schema_version": 3, "solution": true, "task": false}
def next_tokens(
    vocabulary: list[bytes | None], texts: list[str], written: bytes
) -> list[int] | None:
    """Returns the ids that may come next; None where all may. Raises MaskError where none may."""
    ### BEGIN SOLUTION
    ends = [text.encode() for text in texts]
    tokens = {token for token in vocabulary if token}

    def leads(after: bytes) -> bool:
        if after.startswith(tuple(ends)):
            return True
        begun = any(end.startswith(after) for end in ends)
        return begun and any(leads(after + token) for token in tokens)

    if written.startswith(tuple(ends)):
        return None
    useful = {token for token in tokens if leads(written + token)}
    if not useful:
        raise MaskError(f"no token leads on from {written!r}")
    return [number for number, token in enumerate(vocabulary) if token in useful]
    ### END SOLUTION


# %%
pieces = [b"file", b"_re", b"_r", b"ead", b"ad", b'ad"', b'"', b"x", None]
for so_far in (b"", b"file", b"file_r", b"file_read", b'file_read", "arg'):
    print(f"{so_far.decode():18}", next_tokens(pieces, ['file_read"', 'file_list"'], so_far))

# %% [markdown]
# Expected output:
#
# ```
#                    [0]
# file               [1, 2]
# file_r             [3]
# file_read          [6]
# file_read", "arg   None
# ```
#
# Nothing here can write `file_list"`, so no token leads there.

# %% nbgrader={"grade": true, "grade_id": "tokens-spell-the-names", "locked": true, "points": 12, "schema_version": 3, "solution": false, "task": false}
check("tokens-spell-the-names", next_tokens)

# %% nbgrader={"grade": true, "grade_id": "no-way-ends-dead", "locked": true, "points": 8, "schema_version": 3, "solution": false, "task": false}
check("no-way-ends-dead", next_tokens)

# %% [markdown]
# ## Step 5: the prompt
#
# `render` is given what is allowed, and the temptation to make use of it.
#
# <details><summary>Hint 1</summary>
#
# The prompt of a state and that of the next one: up to where are their bytes the same? Let that be
# behind the last message that they have in common.
# </details>
# <details><summary>Hint 2</summary>
#
# `sorted(definitions, key=…)`, `json.dumps(…, sort_keys=True)`, and `allowed` nowhere, or in a
# message at the end that the next prompt does not have.
# </details>


# %% nbgrader={"grade": false, "grade_id": "render", "locked": false, "schema_version": 3, "solution": true, "task": false}
def render(definitions: list[Definition], messages: list[Message], allowed: list[Action]) -> str:
    """Returns the prompt, up to where the model goes on."""
    ### BEGIN SOLUTION
    lines = [json.dumps(tool, sort_keys=True) for tool in definitions]
    system = {"role": "system", "content": "\n".join([SYSTEM, *sorted(lines)])}
    told = [
        f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n" for one in (system, *messages)
    ]
    return "".join(told) + "<|im_start|>assistant\n"
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "all-tools-stay-defined", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check("all-tools-stay-defined", render)

# %% [markdown]
# ## Step 6: the engine and the model
#
# Nothing to write, if all of it was right. The first check sends your prompts to vLLM, in states that
# change at each step, and reads from its counters how many tokens it took from the cache. The second
# asks SmolLM2 to call tools that it may not call, with your prefill, your schema, and your machine's
# sets in the workbook's logits processor; each set once more narrowed to one tool. vLLM takes up to a
# minute to start. Where it is missing, both say that they were not run.

# %% nbgrader={"grade": true, "grade_id": "no-tool-is-computed-again", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
check("no-tool-is-computed-again", render)

# %% nbgrader={"grade": true, "grade_id": "the-model-keeps-to-the-set", "locked": true, "points": 8, "schema_version": 3, "solution": false, "task": false}
check("the-model-keeps-to-the-set", ToolStates, prefill, schema, render)

# %% [markdown]
# ## What removing costs
#
# The control: the same run, with the definitions of forbidden tools taken out. How much of each
# prompt does the one before it have at its beginning?


# %%
def shares(prompts: list[str]) -> str:
    """Returns for each prompt but the first how much of it the one before has at its beginning."""
    found = [len(common_start([one, two])) / len(two) for one, two in pairwise(prompts)]
    return " ".join(f"{share:4.0%}" for share in found)


said = [{"role": "user", "content": f"Step {number}: go on."} for number in range(5)]
about = {"description": "Takes a path.", "parameters": {"type": "object"}}
thirty: list[Definition] = [
    {"name": f"{group}_{n}", **about} for group in ("browser", "file", "shell") for n in range(10)
]
kept, removed = [], []
for step, group in enumerate(("shell", "file", "browser", "file"), start=1):
    now = actions([tool["name"] for tool in thirty], "specified", [f"{group}_"])
    kept.append(render(thirty, said[:step], now))
    removed.append(render([tool for tool in thirty if tool["name"] in now], said[:step], now))
print("masked ", shares(kept))
print("removed", shares(removed))

# %% [markdown]
# Expected output: 98 % where tools are masked, and at most 14 % where they are removed, most of which
# is the first line of the system's message. A cache that has seen a state's definitions before may
# still have them; what was said since is computed again in any case.
#
# ## What you have now
#
# `workbook.context.masking` and `workbook.context.automaton` in their smallest form. Where they stop
# holding: behind a prefill the reply is free, and a small model makes up names there; a schema is
# held only as far as the engine knows its keywords; and a mask says which tool is called, not whether
# it was the right one. `next_tokens` looks at every token for every place. The workbook's own sorts
# the vocabulary once, for a model has tens of thousands of them.
