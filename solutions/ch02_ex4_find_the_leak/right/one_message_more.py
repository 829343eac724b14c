# differs: what changes has a message of its own, behind what it is about; the byte by counting equal ones

# %% nbgrader={"grade_id": "first-break"}
def first_break(before, after):
    """Takes bytes for as long as they are equal."""
    from itertools import takewhile

    old = encode(before)
    pairs = zip(old, encode(after), strict=False)
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    if common == len(old):
        return None
    sizes = [len(encode([one])) for one in before]
    number = 0
    while sum(sizes[: number + 1]) <= common:
        number += 1
    return common, number


# %% nbgrader={"grade_id": "clock"}
def clock(turns):
    """The time after each text."""
    messages = [message("system", SYSTEM)]
    for turn in turns:
        messages += [message("user", turn["text"]), message("system", f"It is {turn['time']}.")]
    return messages


# %% nbgrader={"grade_id": "notes"}
def notes(turns):
    """Says which texts are corrections."""
    messages = [message("system", SYSTEM + " What is corrected later holds as corrected.")]
    for number, turn in enumerate(turns):
        known = any(turn["name"] == earlier["name"] for earlier in turns[:number])
        what = "is corrected" if known else "says"
        messages.append(message("user", f"{turn['name']} {what}: {turn['text']}"))
    return messages


# %% nbgrader={"grade_id": "toolbox"}
def toolbox(tools, turns):
    """Definitions by description; permissions in a message of their own."""
    order = sorted(tools.values(), key=lambda tool: tool["description"])
    messages = [message("system", SYSTEM), message("tools", json.dumps(order, sort_keys=True))]
    for turn in turns:
        messages.append(message("user", turn["text"]))
        messages.append(message("system", json.dumps({"allowed": sorted(turn["allowed"])})))
    return messages
