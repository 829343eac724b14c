# mistake: defines the tools that were allowed so far
# killed_by: tools-stay-defined

# %% nbgrader={"grade_id": "toolbox"}
def toolbox(tools, turns):
    """Definitions are appended, in front of everything else."""
    names = dict.fromkeys(name for turn in turns for name in turn["allowed"])
    defined = json.dumps([tools[name] for name in names], sort_keys=True)
    messages = [message("system", SYSTEM), message("tools", defined)]
    for turn in turns:
        messages.append(message("user", f"{turn['text']}\nAllowed: {', '.join(turn['allowed'])}"))
    return messages
