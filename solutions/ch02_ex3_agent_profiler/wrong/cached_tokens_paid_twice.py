# mistake: charges the whole prompt as uncached, and cached tokens on top
# killed_by: cost-is-by-step

# %% nbgrader={"grade_id": "attempt"}
def cost_of_attempt(event: Event, prices: dict[str, int]) -> int:
    """Returns what an attempt is charged; 0 where it does not say input and cached tokens."""
    if INPUT not in event or CACHED not in event:
        return 0
    cached, written = event[CACHED], event.get(WRITTEN, 0)
    fresh = event[INPUT]
    prompt = cached * prices["cached"] + written * prices["written"] + fresh * prices["uncached"]
    return int(prompt + event.get(OUTPUT, 0) * prices["output"])
