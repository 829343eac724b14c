# mistake: counts failed attempts that say nothing as without usage
# killed_by: unknown-is-counted

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
            else:
                unknown += 1
            if INPUT in event:
                length[run, event[RETRY_OF if RETRY_OF in event else ID]] = event[INPUT]
    rate = cached / prompt if prompt else None
    return {"hit_rate": rate, "without_usage": unknown, "lengths": sorted(length.values())}
