# mistake: defines the allowed tools before the others
# killed_by: no-tool-is-computed-again

# %% nbgrader={"grade_id": "render"}
def render(definitions, messages, allowed):
    """The ones that matter first."""
    ordered = sorted(definitions, key=lambda tool: (tool["name"] not in allowed, tool["name"]))
    lines = [json.dumps(tool, sort_keys=True) for tool in ordered]
    system = {"role": "system", "content": "\n".join([SYSTEM, *lines])}
    told = [
        f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n" for one in (system, *messages)
    ]
    return "".join(told) + "<|im_start|>assistant\n"
