# mistake: writes records in the order in which their keys come
# killed_by: records-have-one-form

# %% nbgrader={"grade_id": "records"}
def records(turns):
    """Fixes the separators, which were never the trouble."""
    texts = [json.dumps(turn["record"], separators=(",", ":")) for turn in turns]
    return [message("system", SYSTEM), *[message("tool", text) for text in texts]]
