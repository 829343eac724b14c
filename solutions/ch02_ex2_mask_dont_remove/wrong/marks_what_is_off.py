# mistake: marks the tools that are off, each behind its definition
# killed_by: no-tool-is-computed-again

# %% nbgrader={"grade_id": "render"}
def render(definitions, messages, allowed):
    """A mark a tool."""
    lines = []
    for tool in sorted(definitions, key=lambda tool: tool["name"]):
        lines.append(json.dumps(tool, sort_keys=True))
        lines += [] if tool["name"] in allowed else ["(off)"]
    system = {"role": "system", "content": "\n".join([SYSTEM, *lines])}
    told = [
        f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n" for one in (system, *messages)
    ]
    return "".join(told) + "<|im_start|>assistant\n"
