# mistake: keeps the first text of each note, and tells no correction
# killed_by: corrections-are-appended

# %% nbgrader={"grade_id": "notes"}
def notes(turns):
    """Never edits, and never corrects."""
    first = {}
    for turn in turns:
        first.setdefault(turn["name"], turn["text"])
    own = [message("user", f"{name}: {text}") for name, text in first.items()]
    return [message("system", SYSTEM), *own]
