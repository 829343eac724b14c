# mistake: says the time in a last message that the next step replaces
# killed_by: time-is-told-in-its-turn

# %% nbgrader={"grade_id": "clock"}
def clock(turns):
    """Says the time behind everything else, once."""
    texts = [message("user", turn["text"]) for turn in turns]
    return [message("system", SYSTEM), *texts, message("user", f"It is {turns[-1]['time']}.")]
