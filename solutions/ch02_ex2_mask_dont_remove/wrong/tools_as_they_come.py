# mistake: defines tools in the order in which they come
# killed_by: all-tools-stay-defined

# %% nbgrader={"grade_id": "render"}
def render(definitions, messages, allowed):
    """As they come."""
    lines = [json.dumps(tool, sort_keys=True) for tool in definitions]
    system = {"role": "system", "content": "\n".join([SYSTEM, *lines])}
    told = [
        f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n" for one in (system, *messages)
    ]
    return "".join(told) + "<|im_start|>assistant\n"
