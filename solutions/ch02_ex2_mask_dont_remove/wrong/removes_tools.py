# mistake: defines only the tools that are allowed
# killed_by: all-tools-stay-defined

# %% nbgrader={"grade_id": "render"}
def render(definitions, messages, allowed):
    """Removes, does not mask."""
    lines = sorted(
        json.dumps(tool, sort_keys=True) for tool in definitions if tool["name"] in allowed
    )
    system = {"role": "system", "content": "\n".join([SYSTEM, *lines])}
    told = [
        f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n" for one in (system, *messages)
    ]
    return "".join(told) + "<|im_start|>assistant\n"
