# mistake: forbids tools with a keyword that the engine passes over
# killed_by: the-model-keeps-to-the-set

# %% nbgrader={"grade_id": "schema"}
def schema(definitions, allowed):
    """All tools, and below them those that are forbidden."""
    forms = [
        {"tool": {"const": tool["name"]}, "arguments": tool["parameters"]} for tool in definitions
    ]
    if None in allowed:
        forms.append({"answer": {"type": "string", "maxLength": 200}})
    rules = {"type": "object", "additionalProperties": False}
    every = [{**rules, "properties": form, "required": list(form)} for form in forms]
    forbidden = [tool["name"] for tool in definitions if tool["name"] not in allowed]
    never = {"properties": {"tool": {"enum": forbidden}}, "required": ["tool"]}
    return {"anyOf": every, "not": never} if forbidden else {"anyOf": every}
