# differs: sorts once over all runs; outcomes as a text, searched with patterns; exact fractions

# %% nbgrader={"grade_id": "tidy"}
def tidy(events):
    """Marks places, keeps the last, sorts everything at once."""
    from itertools import groupby

    def refuse(problem):
        raise ValueError(problem)

    kept = {}
    for place, event in enumerate(events):
        if event[OPERATION] not in {"chat", "execute_tool", "invoke_agent"}:
            continue
        if not (
            type(event[ID]) is str and type(event[RUN]) is str and type(event[TIME]) in (int, float)
        ):
            refuse(f"event {place} is nowhere")
        counts = [event[key] for key in (INPUT, CACHED, WRITTEN, OUTPUT) if key in event]
        if any(type(count) is not int or count < 0 for count in counts):
            refuse(f"event {place} counts {counts}")
        if event.get(CACHED, 0) + event.get(WRITTEN, 0) > event.get(INPUT, float("inf")):
            refuse(f"event {place} has parts that are more than the whole")
        kept.pop(event[ID], None)
        kept[event[ID]] = (event[RUN], event[TIME], place, event)
    rows = sorted(kept.values(), key=lambda row: row[:3])
    return {run: [row[3] for row in own] for run, own in groupby(rows, key=lambda row: row[0])}


# %% nbgrader={"grade_id": "usage"}
def usage(events):
    """Lists, then sums."""
    from fractions import Fraction

    chats = [event for own in tidy(events).values() for event in own if event[OPERATION] == "chat"]
    both = [event for event in chats if None not in (event.get(INPUT), event.get(CACHED))]
    prompt = sum(event[INPUT] for event in both)
    length = {event.get(RETRY_OF, event[ID]): event[INPUT] for event in chats if INPUT in event}
    return {
        "hit_rate": float(Fraction(sum(event[CACHED] for event in both), prompt))
        if prompt
        else None,
        "without_usage": len(
            [event for event in chats if event not in both and ERROR not in event]
        ),
        "lengths": sorted(length.values()),
    }


# %% nbgrader={"grade_id": "tools"}
def tools(events):
    """One text of S and F for each tool of each run."""
    import re
    from collections import defaultdict

    texts = defaultdict(str)
    for run, own in tidy(events).items():
        for event in own:
            if event[OPERATION] == "execute_tool":
                texts[run, event[TOOL]] += "F" if ERROR in event else "S"
    text = "|".join(texts.values())
    runs, errors = len(re.findall("[SF]", text)), len(re.findall("F+", text))
    return {
        "success": text.count("S") / runs if runs else None,
        "recovery": text.count("FS") / errors if errors else None,
    }
