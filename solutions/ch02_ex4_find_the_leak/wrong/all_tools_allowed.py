# mistake: defines all tools and does not say which may be called
# killed_by: tools-stay-defined

# %% nbgrader={"grade_id": "toolbox"}
def toolbox(tools, turns):
    """Definitions and texts."""
    defined = json.dumps([tools[name] for name in sorted(tools)], sort_keys=True)
    texts = [message("user", turn["text"]) for turn in turns]
    return [message("system", SYSTEM), message("tools", defined), *texts]
