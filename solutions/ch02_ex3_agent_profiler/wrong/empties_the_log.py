# mistake: takes events out of the log until nothing is left
# killed_by: the-log-stays-as-it-is

# %% nbgrader={"grade_id": "tidy"}
def tidy(events: list[Event]) -> dict[str, list[Event]]:
    """Returns the events of each run, each once, in order."""
    known: dict[str, Event] = {}
    for number in range(len(events)):
        event = events.pop(0)
        if event.get(OPERATION) in ("chat", "execute_tool", "invoke_agent"):
            refuse_nonsense(event, number)
            known[event[ID]] = event
    runs: dict[str, list[Event]] = {}
    for event in known.values():
        runs.setdefault(event[RUN], []).append(event)
    for own in runs.values():
        own.sort(key=lambda event: event[TIME])
    return runs
