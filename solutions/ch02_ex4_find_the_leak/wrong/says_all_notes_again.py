# mistake: says all notes again in each turn
# killed_by: the-cache-is-hit

# %% nbgrader={"grade_id": "notes"}
def notes(turns):
    """A summary a turn."""
    newest, messages = {}, [message("system", SYSTEM)]
    for turn in turns:
        newest[turn["name"]] = turn["text"]
        lines = [f"{name}: {text}" for name, text in newest.items()]
        messages.append(message("user", "\n".join([f"now: {turn['text']}", *lines])))
    return messages
