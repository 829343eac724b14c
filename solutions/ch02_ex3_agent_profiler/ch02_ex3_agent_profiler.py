# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercise 2.3: a profiler for agents
#
# **Goal**: compute an agent's hit rate, context lengths, tool success, error recovery and cost by
# step from its event log, exactly, however untidy the log is.
#
# **Why it matters.** The hit rate of the KV cache decides what an agent costs, and each team counts
# it in its own way. Real logs have retries, events that come late, come twice, or say nothing about
# tokens. Each of these has a plausible wrong reading that moves the number by a factor, and no
# reading looks wrong on a dashboard.
#
# | | |
# |---|---|
# | Difficulty | ●●○○○ |
# | Importance | ●●●●○ |
# | Time | 60 minutes |
# | Needs | a CPU, and nothing but Python |

# %% [markdown]
# ## The contract: events
#
# A log is a list of dictionaries, with OpenTelemetry's names for generative AI where it has one:
#
# | constant | key | on | value |
# |---|---|---|---|
# | `OPERATION` | `gen_ai.operation.name` | all | `"chat"`, `"execute_tool"`, `"invoke_agent"` |
# | `ID` | `workbook.event.id` | all | text; no two events share it |
# | `RUN` | `gen_ai.conversation.id` | all | text: the run |
# | `TIME` | `workbook.time` | all | number of seconds: when it began |
# | `ERROR` | `error.type` | all | what went wrong; absent where nothing did |
# | `INPUT` | `gen_ai.usage.input_tokens` | chat | all tokens of the prompt |
# | `CACHED` | `gen_ai.usage.cache_read.input_tokens` | chat | those of them that were read from the cache |
# | `WRITTEN` | `gen_ai.usage.cache_creation.input_tokens` | chat | those of them that were written to it |
# | `OUTPUT` | `gen_ai.usage.output_tokens` | chat | tokens generated |
# | `RETRY_OF` | `workbook.retry_of` | chat | id of the first attempt; absent on that one |
# | `TOOL` | `gen_ai.tool.name` | execute_tool | text: the tool |
#
# A number of tokens that is not known is absent. A `chat` event is one attempt at a request: a
# request that was tried three times has three.
#
# ## The contract: four functions
#
# ```python
# def tidy(events: list[Event]) -> dict[str, list[Event]]
# def usage(events: list[Event]) -> dict     # "hit_rate", "without_usage", "lengths"
# def tools(events: list[Event]) -> dict     # "success", "recovery"
# def costs(events: list[Event], prices: dict[str, int]) -> dict[str, list[int | None]]
# ```
#
# - **`tidy`** gives the events of each run. Of entries with one id, the last in the log counts; then
#   they are put in order of time and, where times are equal, of the log. (Never are times equal where
#   events come twice.) Entries with any other operation are passed over. An entry of the three raises
#   ValueError where its id or run is no text, its time no number, one of the four counts of tokens no
#   `int` of at least 0 (a bool is none), or where cached and written tokens are more than the prompt.
# - **`"hit_rate"`** is cached tokens / prompt tokens, summed up over all attempts that say both,
#   cold starts, retries and failed attempts included.
# - **`"without_usage"`** is how many attempts ended without an error and do not say both.
# - **`"lengths"`** has one length a request, sorted: the prompt tokens of its last attempt that says
#   them. A request of which no attempt does has none.
# - **`"success"`** is executions of tools without an error / executions of tools.
# - **`"recovery"`**: failures in a row, of one tool in one run, are one error. It is recovered where
#   a later execution of that tool in that run succeeds. Recovered errors / errors.
# - **`costs`** gives for each run the cost of each request, in the order of their first attempts;
#   an empty list where there are none. `prices` is in nano-dollars a token, with the keys `"cached"`,
#   `"written"`, `"uncached"` and `"output"`. A request costs what all its attempts cost. An attempt
#   that says input and cached tokens is charged, with 0 for written tokens and output that it does
#   not say; one that does not say both adds nothing. But where an attempt ended without an error and
#   lacks input, cached or output tokens, the cost of the request is unknown: None.
#
# Rates are floats; None where there is nothing to count. The log is not changed.

# %% [markdown]
# ## The criteria
#
# | criterion | points | what it asks |
# |---|---|---|
# | `events-are-put-in-order` | 10 | runs that are mixed, events out of order |
# | `what-comes-twice-counts-once` | 10 | the last delivery counts |
# | `nonsense-is-refused` | 5 | events that cannot be counted |
# | `hit-rate-is-of-tokens` | 15 | tokens, not requests; retries |
# | `unknown-is-counted` | 10 | missing usage |
# | `lengths-are-of-requests` | 10 | one length a request |
# | `tools-succeed-or-fail` | 10 | executions |
# | `errors-are-recovered` | 15 | errors, not failures |
# | `cost-is-by-step` | 10 | each token paid once, unknown is not 0 |
# | `the-log-stays-as-it-is` | 5 | arguments are not changed |
#
# The criteria stand in `acceptance.py` beside this notebook. Your work is graded by the same
# functions on other logs. They are drawn from what happened, so that the truth is known before there
# is a log.

# %% nbgrader={"grade": false, "grade_id": "setup", "locked": true, "schema_version": 3, "solution": false, "task": false}
from typing import Any

from autograder.check import check

OPERATION, RUN = "gen_ai.operation.name", "gen_ai.conversation.id"
ID, TIME, ERROR = "workbook.event.id", "workbook.time", "error.type"
INPUT, CACHED = "gen_ai.usage.input_tokens", "gen_ai.usage.cache_read.input_tokens"
WRITTEN, OUTPUT = "gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.output_tokens"
TOOL, RETRY_OF = "gen_ai.tool.name", "workbook.retry_of"

Event = dict[str, Any]

# %% [markdown]
# ## One log, two hit rates
#
# Two requests: a short one that finds nothing, a long one that finds most of its prompt.

# %%
pairs = [(200, 0), (9_800, 9_000)]
of_requests = sum(cached / prompt for prompt, cached in pairs) / len(pairs)
of_tokens = sum(cached for _, cached in pairs) / sum(prompt for prompt, _ in pairs)
print(f"mean over requests: {of_requests:.0%}, over tokens: {of_tokens:.0%}")

# %% [markdown]
# You pay for tokens, so the second is the one that the bill agrees with.
#
# ## A log to look at
#
# Two runs. The first one's request fails and is tried again; its retry comes first in the log, and
# one event comes twice. The second run's engine does not say how many tokens were cached.


# %%
def event(operation: str, run: str, name: str, time: float, **more: object) -> Event:
    """One event; the constants above by their lower-case names."""
    keys = {"input": INPUT, "cached": CACHED, "output": OUTPUT, "tool": TOOL}
    keys |= {"error": ERROR, "retry_of": RETRY_OF}
    own = {keys[key]: value for key, value in more.items()}
    return {OPERATION: operation, ID: name, RUN: run, TIME: time, **own}


LOG = [
    event("chat", "a", "a2", 2.0, input=1000, cached=900, output=50, retry_of="a1"),
    event("execute_tool", "a", "a3", 3.0, tool="read", error="FileNotFoundError"),
    event("chat", "b", "b1", 1.5, input=800, output=20),
    event("execute_tool", "a", "a5", 5.0, tool="read"),
    event("chat", "a", "a1", 1.0),
    event("execute_tool", "a", "a4", 4.0, tool="read", error="FileNotFoundError"),
    event("execute_tool", "b", "b2", 2.5, tool="read", error="PermissionError"),
    event("chat", "a", "a1", 1.0, input=1000, cached=0, error="timeout"),
]
PRICES = {"cached": 300, "written": 3750, "uncached": 3000, "output": 15000}

# %% [markdown]
# ## Step 1: put the log in order
#
# <details><summary>Hint 1</summary>
#
# Three things, one after the other: each event once, each run by itself, each run by time.
# </details>
# <details><summary>Hint 2</summary>
#
# `known[event[ID]] = event` lets the last delivery win. `runs.setdefault(event[RUN], [])` begins a
# run. `list.sort` is stable: what is equal keeps its order.
# </details>
# <details><summary>Hint 3: nearly there</summary>
#
# Refuse before you keep. `type(tokens) is int` is False for True. With absent counts as 0, look at
# `cached + written > prompt` only where the prompt's length is there.
# </details>


# %% nbgrader={"grade": false, "grade_id": "tidy", "locked": false, "schema_version": 3, "solution": true, "task": false}
def tidy(events: list[Event]) -> dict[str, list[Event]]:
    """Returns the events of each run, each once, in order."""
    ### BEGIN SOLUTION
    known: dict[str, Event] = {}
    for number, event in enumerate(events):
        if event.get(OPERATION) in ("chat", "execute_tool", "invoke_agent"):
            refuse_nonsense(event, number)
            known[event[ID]] = event
    runs: dict[str, list[Event]] = {}
    for event in known.values():
        runs.setdefault(event[RUN], []).append(event)
    for own in runs.values():
        own.sort(key=lambda event: event[TIME])
    return runs
    ### END SOLUTION


# %% nbgrader={"grade": false, "grade_id": "refuse", "locked": false, "schema_version": 3, "solution": true, "task": false}
def refuse_nonsense(event: Event, number: int) -> None:
    """Raises ValueError for an event that cannot be counted; `number` is its place in the log."""
    ### BEGIN SOLUTION
    kinds = {ID: str, RUN: str, TIME: int | float}
    if not all(isinstance(event.get(key), kind) for key, kind in kinds.items()):
        raise ValueError(f"event {number} does not say which it is, whose, or when")
    for key in (INPUT, CACHED, WRITTEN, OUTPUT):
        tokens = event.get(key, 0)
        if type(tokens) is not int or tokens < 0:
            raise ValueError(f"event {number}: {key} is {tokens!r}, not a number of tokens")
    if INPUT in event and event.get(CACHED, 0) + event.get(WRITTEN, 0) > event[INPUT]:
        raise ValueError(f"event {number}: the parts are more than the prompt")
    ### END SOLUTION


# %%
{run: [event[ID] for event in own] for run, own in tidy(LOG).items()}

# %% [markdown]
# Expected output: `{'a': ['a1', 'a2', 'a3', 'a4', 'a5'], 'b': ['b1', 'b2']}`; the runs may stand the
# other way round.

# %% nbgrader={"grade": true, "grade_id": "events-are-put-in-order", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("events-are-put-in-order", tidy)

# %% nbgrader={"grade": true, "grade_id": "what-comes-twice-counts-once", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("what-comes-twice-counts-once", tidy)

# %% nbgrader={"grade": true, "grade_id": "nonsense-is-refused", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check("nonsense-is-refused", tidy)

# %% [markdown]
# ## Step 2: tokens
#
# <details><summary>Hint 1</summary>
#
# Three questions to each attempt: is it counted in the rate? Is it one that should have said more?
# Does it change what its request's length is?
# </details>
# <details><summary>Hint 2</summary>
#
# 0 cached tokens are known, and `if event.get(CACHED)` is not true of them: ask `is not None`, or
# `CACHED in event`.
# </details>
# <details><summary>Hint 3: nearly there</summary>
#
# `length[event[RETRY_OF if RETRY_OF in event else ID]] = event[INPUT]`, where it is there, for a run's attempts in
# order: the last one that says it stays.
# </details>


# %% nbgrader={"grade": false, "grade_id": "usage", "locked": false, "schema_version": 3, "solution": true, "task": false}
def usage(events: list[Event]) -> dict[str, Any]:
    """Returns `hit_rate`, `without_usage` and `lengths`: see the contract."""
    ### BEGIN SOLUTION
    cached = prompt = unknown = 0
    length: dict[tuple[str, str], int] = {}
    for run, own in tidy(events).items():
        for event in own:
            if event[OPERATION] != "chat":
                continue
            if INPUT in event and CACHED in event:
                cached, prompt = cached + event[CACHED], prompt + event[INPUT]
            elif ERROR not in event:
                unknown += 1
            if INPUT in event:
                length[run, event[RETRY_OF if RETRY_OF in event else ID]] = event[INPUT]
    rate = cached / prompt if prompt else None
    return {"hit_rate": rate, "without_usage": unknown, "lengths": sorted(length.values())}
    ### END SOLUTION


# %%
usage(LOG)

# %% [markdown]
# Expected output: `{'hit_rate': 0.45, 'without_usage': 1, 'lengths': [800, 1000]}`.

# %% nbgrader={"grade": true, "grade_id": "hit-rate-is-of-tokens", "locked": true, "points": 15, "schema_version": 3, "solution": false, "task": false}
check("hit-rate-is-of-tokens", tidy, usage)

# %% nbgrader={"grade": true, "grade_id": "unknown-is-counted", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("unknown-is-counted", tidy, usage)

# %% nbgrader={"grade": true, "grade_id": "lengths-are-of-requests", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("lengths-are-of-requests", tidy, usage)

# %% [markdown]
# ## Step 3: tools and errors
#
# Errors that stay in the context are what an agent recovers with. Counting every failure would
# make the stubborn agent look worse than the one that gives up after the first.
#
# <details><summary>Hint 1</summary>
#
# With S for success and F for failure, FFSF of one tool in one run is two errors, one recovered.
# </details>
# <details><summary>Hint 2</summary>
#
# Keep `failing[tool]`, anew for each run. A failure is a new error unless the tool is failing
# already; a success recovers one if it is.
# </details>


# %% nbgrader={"grade": false, "grade_id": "tools", "locked": false, "schema_version": 3, "solution": true, "task": false}
def tools(events: list[Event]) -> dict[str, float | None]:
    """Returns `success` and `recovery`: see the contract."""
    ### BEGIN SOLUTION
    worked = executed = recovered = errors = 0
    for own in tidy(events).values():
        failing: dict[str, bool] = {}
        for event in own:
            if event[OPERATION] != "execute_tool":
                continue
            failed, before = ERROR in event, failing.get(event[TOOL], False)
            executed, worked = executed + 1, worked + (not failed)
            errors, recovered = (
                errors + (failed and not before),
                recovered + (before and not failed),
            )
            failing[event[TOOL]] = failed
    return {
        "success": worked / executed if executed else None,
        "recovery": recovered / errors if errors else None,
    }
    ### END SOLUTION


# %%
tools(LOG)

# %% [markdown]
# Expected output: `{'success': 0.25, 'recovery': 0.5}`: run `a` recovers from its one error, run `b`
# does not.

# %% nbgrader={"grade": true, "grade_id": "tools-succeed-or-fail", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("tools-succeed-or-fail", tidy, tools)

# %% nbgrader={"grade": true, "grade_id": "errors-are-recovered", "locked": true, "points": 15, "schema_version": 3, "solution": false, "task": false}
check("errors-are-recovered", tidy, tools)

# %% [markdown]
# ## Step 4: what each step cost
#
# Whole nano-dollars, so that sums are exact. A price of $3 a million tokens is 3000 a token.
#
# <details><summary>Hint 1</summary>
#
# The prompt has three parts with three prices. What is neither cached nor written is uncached.
# </details>
# <details><summary>Hint 2</summary>
#
# A dictionary from request to cost, for each run, filled in order of time, has the steps in the
# right order. Note apart which requests are unknown, so that a later attempt does not forget it.
# </details>


# %% nbgrader={"grade": false, "grade_id": "costs", "locked": false, "schema_version": 3, "solution": true, "task": false}
def costs(events: list[Event], prices: dict[str, int]) -> dict[str, list[int | None]]:
    """Returns the cost of each request of each run, in nano-dollars; None where it is unknown."""
    ### BEGIN SOLUTION
    steps: dict[str, list[int | None]] = {}
    for run, own in tidy(events).items():
        cost: dict[str, int] = {}
        unknown = set()
        for event in own:
            if event[OPERATION] != "chat":
                continue
            request = event[RETRY_OF if RETRY_OF in event else ID]
            cost[request] = cost.get(request, 0) + cost_of_attempt(event, prices)
            if ERROR not in event and not {INPUT, CACHED, OUTPUT} <= event.keys():
                unknown.add(request)
        steps[run] = [None if request in unknown else cost[request] for request in cost]
    return steps
    ### END SOLUTION


# %% nbgrader={"grade": false, "grade_id": "attempt", "locked": false, "schema_version": 3, "solution": true, "task": false}
def cost_of_attempt(event: Event, prices: dict[str, int]) -> int:
    """Returns what an attempt is charged; 0 where it does not say input and cached tokens."""
    ### BEGIN SOLUTION
    if INPUT not in event or CACHED not in event:
        return 0
    cached, written = event[CACHED], event.get(WRITTEN, 0)
    fresh = event[INPUT] - cached - written
    prompt = cached * prices["cached"] + written * prices["written"] + fresh * prices["uncached"]
    return int(prompt + event.get(OUTPUT, 0) * prices["output"])
    ### END SOLUTION


# %%
costs(LOG, PRICES)

# %% [markdown]
# Expected output: `{'a': [4320000], 'b': [None]}`, in any order: of the 0.43 cents, the attempt that
# failed took 0.3.

# %% nbgrader={"grade": true, "grade_id": "cost-is-by-step", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("cost-is-by-step", tidy, costs)

# %% nbgrader={"grade": true, "grade_id": "the-log-stays-as-it-is", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check("the-log-stays-as-it-is", tidy, usage, tools, costs)

# %% [markdown]
# ## What you have now
#
# The numbers of `workbook.context.metrics`, from your own sixty lines. Where they stop holding: an
# engine that counts cached tokens in blocks reports fewer than two prompts have in common, and two
# providers may count one text differently. Compare hit rates of one engine, and state which attempts
# are in them.
