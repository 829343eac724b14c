# mistake: writes into the system's message what is allowed now
# killed_by: no-tool-is-computed-again

# %% nbgrader={"grade_id": "render"}
def render(definitions, messages, allowed):
    """Tells the model at once."""
    lines = sorted(json.dumps(tool, sort_keys=True) for tool in definitions)
    system = {
        "role": "system",
        "content": "\n".join([f"{SYSTEM} Now you may use: {allowed}", *lines]),
    }
    told = [
        f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n" for one in (system, *messages)
    ]
    return "".join(told) + "<|im_start|>assistant\n"
