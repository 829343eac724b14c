# mistake: takes only entries that are equal for the same event
# killed_by: what-comes-twice-counts-once

# %% nbgrader={"grade_id": "tidy"}
def tidy(events: list[Event]) -> dict[str, list[Event]]:
    """Returns the events of each run, each once, in order."""
    known: dict[str, Event] = {}
    for number, event in enumerate(events):
        if event.get(OPERATION) in ("chat", "execute_tool", "invoke_agent"):
            refuse_nonsense(event, number)
            known[repr(event)] = event
    runs: dict[str, list[Event]] = {}
    for event in known.values():
        runs.setdefault(event[RUN], []).append(event)
    for own in runs.values():
        own.sort(key=lambda event: event[TIME])
    return runs
