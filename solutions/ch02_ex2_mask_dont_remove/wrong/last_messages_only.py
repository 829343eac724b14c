# mistake: leaves old messages out
# killed_by: all-tools-stay-defined

# %% nbgrader={"grade_id": "render"}
def render(definitions, messages, allowed):
    """A window."""
    lines = sorted(json.dumps(tool, sort_keys=True) for tool in definitions)
    system = {"role": "system", "content": "\n".join([SYSTEM, *lines])}
    told = [
        f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n"
        for one in (system, *messages[-4:])
    ]
    return "".join(told) + "<|im_start|>assistant\n"
