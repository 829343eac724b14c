# mistake: tells no time
# killed_by: time-is-told-in-its-turn

# %% nbgrader={"grade_id": "clock"}
def clock(turns):
    """Says the texts."""
    return [message("system", SYSTEM), *[message("user", turn["text"]) for turn in turns]]
