# mistake: derives the id from the call, so that the same call twice has one id
# killed_by: ids-stay-and-pair

# %% nbgrader={"grade_id": "calls"}
def calls(turns):
    """Other ids."""
    messages = [message("system", SYSTEM)]
    for turn in turns:
        ids = [uuid.uuid5(uuid.NAMESPACE_URL, f"{tool}/{text}").hex for tool, text in turn["calls"]]
        pairs = zip(ids, turn["calls"], strict=True)
        made = [{"id": name, "tool": tool, "argument": text} for name, (tool, text) in pairs]
        messages.append(message("assistant", made))
        for place, text in turn["results"]:
            messages.append(message("tool", {"id": ids[place], "text": text}))
    return messages
