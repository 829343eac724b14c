# mistake: takes True for one token
# killed_by: nonsense-is-refused

# %% nbgrader={"grade_id": "refuse"}
def refuse_nonsense(event: Event, number: int) -> None:
    """Raises ValueError for an event that cannot be counted; `number` is its place in the log."""
    kinds = {ID: str, RUN: str, TIME: int | float}
    if not all(isinstance(event.get(key), kind) for key, kind in kinds.items()):
        raise ValueError(f"event {number} does not say which it is, whose, or when")
    for key in (INPUT, CACHED, WRITTEN, OUTPUT):
        tokens = event.get(key, 0)
        if not isinstance(tokens, int) or tokens < 0:
            raise ValueError(f"event {number}: {key} is {tokens!r}, not a number of tokens")
    if INPUT in event and event.get(CACHED, 0) + event.get(WRITTEN, 0) > event[INPUT]:
        raise ValueError(f"event {number}: the parts are more than the prompt")
