# mistake: takes 0 cached tokens for not known, so cold starts are left out
# killed_by: hit-rate-is-of-tokens

# %% nbgrader={"grade_id": "usage"}
def usage(events: list[Event]) -> dict[str, Any]:
    """Returns `hit_rate`, `without_usage` and `lengths`: see the contract."""
    cached = prompt = unknown = 0
    length: dict[tuple[str, str], int] = {}
    for run, own in tidy(events).items():
        for event in own:
            if event[OPERATION] != "chat":
                continue
            if event.get(INPUT) and event.get(CACHED):
                cached, prompt = cached + event[CACHED], prompt + event[INPUT]
            elif ERROR not in event:
                unknown += 1
            if INPUT in event:
                length[run, event[RETRY_OF if RETRY_OF in event else ID]] = event[INPUT]
    rate = cached / prompt if prompt else None
    return {"hit_rate": rate, "without_usage": unknown, "lengths": sorted(length.values())}
