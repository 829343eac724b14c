# differs: sqlite puts the log in order; costs are gathered backwards from the attempts of each request

# %% nbgrader={"grade_id": "tidy"}
def tidy(events):
    """A table with the id as its key."""
    import sqlite3

    table = sqlite3.connect(":memory:")
    table.execute(
        "create table log (id text primary key, run text, time real, first integer, last integer)"
    )
    for place, event in enumerate(events):
        if event.get(OPERATION) not in ("chat", "execute_tool", "invoke_agent"):
            continue
        refuse_nonsense(event, place)
        row = (event[ID], event[RUN], event[TIME], place, place)
        on = "on conflict (id) do update set run = excluded.run, time = excluded.time, last = excluded.last"
        table.execute(f"insert into log values (?, ?, ?, ?, ?) {on}", row)
    runs = {}
    for run, place in table.execute("select run, last from log order by time, first"):
        runs.setdefault(run, []).append(events[place])
    table.close()
    return runs


# %% nbgrader={"grade_id": "costs"}
def costs(events, prices):
    """Gathers the attempts of each request, then adds up."""

    def price(attempts):
        ended = [event for event in attempts if ERROR not in event]
        if any(key not in event for event in ended for key in (INPUT, CACHED, OUTPUT)):
            return None
        return sum(cost_of_attempt(event, prices) for event in attempts)

    steps = {}
    for run, own in tidy(events).items():
        requests = {}
        for event in own:
            if event[OPERATION] == "chat":
                requests.setdefault(event.get(RETRY_OF, event[ID]), []).append(event)
        steps[run] = [price(attempts) for attempts in requests.values()]
    return steps
