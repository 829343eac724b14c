# mistake: the mean of each attempt's rate, by statistics.fmean
# killed_by: hit-rate-is-of-tokens

# %% nbgrader={"grade_id": "usage"}
def usage(events):
    """The mean over attempts."""
    import statistics

    chats = [event for own in tidy(events).values() for event in own if event[OPERATION] == "chat"]
    said = [event for event in chats if INPUT in event and CACHED in event]
    rates = [event[CACHED] / event[INPUT] for event in said if event[INPUT]]
    length = {event.get(RETRY_OF, event[ID]): event[INPUT] for event in chats if INPUT in event}
    return {
        "hit_rate": statistics.fmean(rates) if rates else None,
        "without_usage": sum(event not in said and ERROR not in event for event in chats),
        "lengths": sorted(length.values()),
    }
