# mistake: gives up unless all names are of one group
# killed_by: a-prefill-is-exact-or-refused

# %% nbgrader={"grade_id": "prefill"}
def prefill(tools, allowed):
    """Groups."""
    if not allowed:
        raise MaskError("nothing is allowed")
    if len({str(action).partition("_")[0] for action in allowed}) > 1:
        raise MaskError("not one group")
    common = common_start([opening(action) for action in allowed])
    for action in (None, *tools):
        if action not in allowed and opening(action).startswith(common):
            raise MaskError(f"{action!r} begins with {common!r}, too")
    return common
