# mistake: defines all tools, in the order in which they come
# killed_by: tools-stay-defined

# %% nbgrader={"grade_id": "toolbox"}
def toolbox(tools, turns):
    """All definitions."""
    messages = [message("system", SYSTEM), message("tools", list(tools.values()))]
    for turn in turns:
        messages.append(message("user", f"{turn['text']}\nAllowed: {', '.join(turn['allowed'])}"))
    return messages
