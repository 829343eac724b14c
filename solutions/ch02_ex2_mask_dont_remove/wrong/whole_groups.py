# mistake: takes a prefix for the name of a group, up to its underscore
# killed_by: the-set-is-right

# %% nbgrader={"grade_id": "actions"}
def actions(tools, mode, prefixes):
    """By groups."""
    if mode not in ("auto", "required", "specified"):
        raise MaskError(f"there is no mode {mode!r}")
    if isinstance(prefixes, str):
        raise MaskError("give a list of prefixes")
    if mode == "specified" and (prefixes is None or len(prefixes) != 1 or not prefixes[0]):
        raise MaskError("a group is specified by the one prefix of its names")
    for prefix in prefixes or []:
        if not any(name.startswith(prefix) for name in tools):
            raise MaskError(f"no tool begins with {prefix!r}")
    fits = ("",) if prefixes is None else tuple(prefixes)
    groups = {prefix.partition("_")[0] for prefix in fits}
    allowed = sorted(n for n in set(tools) if prefixes is None or n.partition("_")[0] in groups)
    if not allowed:
        raise MaskError("no tool may be called")
    return [None, *allowed] if mode == "auto" else allowed
