# mistake: writes 0 into events that do not say their written tokens
# killed_by: the-log-stays-as-it-is

# %% nbgrader={"grade_id": "attempt"}
def cost_of_attempt(event: Event, prices: dict[str, int]) -> int:
    """Returns what an attempt is charged; 0 where it does not say input and cached tokens."""
    if INPUT not in event or CACHED not in event:
        return 0
    cached, written = event[CACHED], event.setdefault(WRITTEN, 0)
    fresh = event[INPUT] - cached - written
    prompt = cached * prices["cached"] + written * prices["written"] + fresh * prices["uncached"]
    return int(prompt + event.get(OUTPUT, 0) * prices["output"])
