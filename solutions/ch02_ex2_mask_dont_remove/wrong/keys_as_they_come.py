# mistake: sorts the tools and not the keys in them
# killed_by: all-tools-stay-defined

# %% nbgrader={"grade_id": "render"}
def render(definitions, messages, allowed):
    """Sorted by name."""
    lines = [json.dumps(tool) for tool in sorted(definitions, key=lambda tool: tool["name"])]
    system = {"role": "system", "content": "\n".join([SYSTEM, *lines])}
    told = [
        f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n" for one in (system, *messages)
    ]
    return "".join(told) + "<|im_start|>assistant\n"
