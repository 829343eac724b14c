# mistake: hands the sums to numpy.nansum, for which what is missing is 0
# killed_by: hit-rate-is-of-tokens

# %% nbgrader={"grade_id": "usage"}
def usage(events):
    """Two columns, each summed up by itself."""
    import numpy as np

    chats = [event for own in tidy(events).values() for event in own if event[OPERATION] == "chat"]
    columns = np.array([[event.get(key, np.nan) for key in (CACHED, INPUT)] for event in chats])
    cached, prompt = np.nansum(columns.reshape(-1, 2), axis=0)
    length = {event.get(RETRY_OF, event[ID]): event[INPUT] for event in chats if INPUT in event}
    ended = [event for event in chats if ERROR not in event]
    return {
        "hit_rate": float(cached / prompt) if prompt else None,
        "without_usage": sum(not {INPUT, CACHED} <= event.keys() for event in ended),
        "lengths": sorted(length.values()),
    }
