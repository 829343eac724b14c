# mistake: takes the log's order for the order of events
# killed_by: events-are-put-in-order

# %% nbgrader={"grade_id": "tidy"}
def tidy(events: list[Event]) -> dict[str, list[Event]]:
    """Returns the events of each run, each once, in order."""
    known: dict[str, Event] = {}
    for number, event in enumerate(events):
        if event.get(OPERATION) in ("chat", "execute_tool", "invoke_agent"):
            refuse_nonsense(event, number)
            known[event[ID]] = event
    runs: dict[str, list[Event]] = {}
    for event in known.values():
        runs.setdefault(event[RUN], []).append(event)
    return runs
