# mistake: writes nothing where the reply may be an answer
# killed_by: a-prefill-is-exact-or-refused

# %% nbgrader={"grade_id": "prefill"}
def prefill(tools, allowed):
    """Free in mode auto."""
    if not allowed:
        raise MaskError("nothing is allowed")
    if None in allowed:
        return ""
    common = common_start([opening(action) for action in allowed])
    for action in (None, *tools):
        if action not in allowed and opening(action).startswith(common):
            raise MaskError(f"{action!r} begins with {common!r}, too")
    return common
