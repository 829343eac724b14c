# mistake: appends corrections without saying what they correct
# killed_by: corrections-are-appended

# %% nbgrader={"grade_id": "notes"}
def notes(turns):
    """Names a note once."""
    seen, messages = set(), [message("system", SYSTEM)]
    for turn in turns:
        known = turn["name"] in seen
        text = f"Correction: {turn['text']}" if known else f"{turn['name']}: {turn['text']}"
        messages.append(message("user", text))
        seen.add(turn["name"])
    return messages
