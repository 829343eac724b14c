# mistake: writes a name without the quote that ends it, so that longer names fit
# killed_by: a-prefill-is-exact-or-refused

# %% nbgrader={"grade_id": "prefill"}
def prefill(tools, allowed):
    """As far as the name."""
    if not allowed:
        raise MaskError("nothing is allowed")
    common = common_start([opening(action).partition('", "')[0] for action in allowed])
    for action in (None, *tools):
        if action not in allowed and opening(action).startswith(common):
            raise MaskError(f"{action!r} begins with {common!r}, too")
    return common
