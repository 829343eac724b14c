# mistake: takes the old text out and puts the new one at the end
# killed_by: corrections-are-appended

# %% nbgrader={"grade_id": "notes"}
def notes(turns):
    """The newest last."""
    newest = {}
    for turn in turns:
        newest.pop(turn["name"], None)
        newest[turn["name"]] = turn["text"]
    own = [message("user", f"{name}: {text}") for name, text in newest.items()]
    return [message("system", SYSTEM), *own]
