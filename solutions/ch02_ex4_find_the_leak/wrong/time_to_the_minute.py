# mistake: leaves the seconds out, so that the prefix breaks less often
# killed_by: time-is-told-in-its-turn

# %% nbgrader={"grade_id": "clock"}
def clock(turns):
    """Says the minute."""
    system = message("system", f"It is {turns[-1]['time'][:16]}. {SYSTEM}")
    return [system, *[message("user", turn["text"]) for turn in turns]]
