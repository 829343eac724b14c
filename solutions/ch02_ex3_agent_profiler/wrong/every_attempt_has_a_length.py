# mistake: counts a length for every attempt
# killed_by: lengths-are-of-requests

# %% nbgrader={"grade_id": "usage"}
def usage(events: list[Event]) -> dict[str, Any]:
    """Returns `hit_rate`, `without_usage` and `lengths`: see the contract."""
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
                length[run, event[ID]] = event[INPUT]
    rate = cached / prompt if prompt else None
    return {"hit_rate": rate, "without_usage": unknown, "lengths": sorted(length.values())}
