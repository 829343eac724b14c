# mistake: counts from the end, so that each new turn renames all calls
# killed_by: ids-stay-and-pair

# %% nbgrader={"grade_id": "calls"}
def calls(turns):
    """Other ids."""
    messages = [message("system", SYSTEM)]
    for number, turn in enumerate(turns):
        ids = [
            f"call-{len(turns) - number}-{place}"
            for place, (tool, text) in enumerate(turn["calls"])
        ]
        pairs = zip(ids, turn["calls"], strict=True)
        made = [{"id": name, "tool": tool, "argument": text} for name, (tool, text) in pairs]
        messages.append(message("assistant", made))
        for place, text in turn["results"]:
            messages.append(message("tool", {"id": ids[place], "text": text}))
    return messages
