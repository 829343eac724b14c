# mistake: takes a text for a list of one prefix
# killed_by: an-empty-set-is-an-error

# %% nbgrader={"grade_id": "actions"}
def actions(tools, mode, prefixes):
    """Is kind to its caller."""
    if mode not in ("auto", "required", "specified"):
        raise MaskError(f"there is no mode {mode!r}")
    if isinstance(prefixes, str):
        prefixes = [prefixes]
    if mode == "specified" and (prefixes is None or len(prefixes) != 1 or not prefixes[0]):
        raise MaskError("a group is specified by the one prefix of its names")
    for prefix in prefixes or []:
        if not any(name.startswith(prefix) for name in tools):
            raise MaskError(f"no tool begins with {prefix!r}")
    fits = ("",) if prefixes is None else tuple(prefixes)
    allowed = sorted(name for name in set(tools) if name.startswith(fits))
    if not allowed:
        raise MaskError("no tool may be called")
    return [None, *allowed] if mode == "auto" else allowed
