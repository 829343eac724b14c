# mistake: writes the common beginning, whatever else begins so
# killed_by: a-prefill-is-exact-or-refused

# %% nbgrader={"grade_id": "prefill"}
def prefill(tools, allowed):
    """What they have in common."""
    if not allowed:
        raise MaskError("nothing is allowed")
    return common_start([opening(action) for action in allowed])
