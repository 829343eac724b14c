# mistake: sorts lists as well, which changes what the record says
# killed_by: records-have-one-form

# %% nbgrader={"grade_id": "records"}
def records(turns):
    """Sorts everything."""

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(value[key]) for key in sorted(value)}
        return sorted(map(plain, value), key=repr) if isinstance(value, list) else value

    return [message("system", SYSTEM), *[message("tool", plain(turn["record"])) for turn in turns]]
