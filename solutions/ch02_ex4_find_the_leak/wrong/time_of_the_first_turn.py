# mistake: freezes the time: the prefix grows, and the clock has stopped
# killed_by: time-is-told-in-its-turn

# %% nbgrader={"grade_id": "clock"}
def clock(turns):
    """Says when the run began."""
    system = message("system", f"It is {turns[0]['time']}. {SYSTEM}")
    return [system, *[message("user", turn["text"]) for turn in turns]]
