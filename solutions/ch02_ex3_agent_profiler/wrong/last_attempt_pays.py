# mistake: charges the last attempt alone
# killed_by: cost-is-by-step

# %% nbgrader={"grade_id": "costs"}
def costs(events: list[Event], prices: dict[str, int]) -> dict[str, list[int | None]]:
    """Returns the cost of each request of each run, in nano-dollars; None where it is unknown."""
    steps: dict[str, list[int | None]] = {}
    for run, own in tidy(events).items():
        cost: dict[str, int] = {}
        unknown = set()
        for event in own:
            if event[OPERATION] != "chat":
                continue
            request = event[RETRY_OF if RETRY_OF in event else ID]
            cost[request] = cost_of_attempt(event, prices)
            if ERROR not in event and not {INPUT, CACHED, OUTPUT} <= event.keys():
                unknown.add(request)
        steps[run] = [None if request in unknown else cost[request] for request in cost]
    return steps
