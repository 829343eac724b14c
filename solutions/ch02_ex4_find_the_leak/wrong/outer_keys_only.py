# mistake: sorts the keys of the record, and not of those in it
# killed_by: records-have-one-form

# %% nbgrader={"grade_id": "records"}
def records(turns):
    """Sorts keys."""
    texts = [json.dumps(dict(sorted(turn["record"].items()))) for turn in turns]
    return [message("system", SYSTEM), *[message("tool", text) for text in texts]]
