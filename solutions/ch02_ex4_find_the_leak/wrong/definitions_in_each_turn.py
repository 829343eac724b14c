# mistake: defines what is allowed anew in each turn
# killed_by: the-cache-is-hit

# %% nbgrader={"grade_id": "toolbox"}
def toolbox(tools, turns):
    """Definitions where they are allowed."""
    defined = json.dumps([tools[name] for name in sorted(tools)], sort_keys=True)
    messages = [message("system", SYSTEM), message("tools", defined)]
    for turn in turns:
        own = json.dumps([tools[name] for name in turn["allowed"]], sort_keys=True)
        messages.append(message("user", f"{turn['text']}\nYou may call: {own}"))
    return messages
