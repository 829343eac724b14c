# mistake: has the model write the arguments before it names the tool
# killed_by: the-model-keeps-to-the-set

# %% nbgrader={"grade_id": "schema"}
def schema(definitions, allowed):
    """Keys in alphabetical order, which says the same in JSON."""
    forms = [
        {"arguments": tool["parameters"], "tool": {"const": tool["name"]}}
        for tool in definitions
        if tool["name"] in allowed
    ]
    if None in allowed:
        forms.append({"answer": {"type": "string", "maxLength": 200}})
    rules = {"type": "object", "additionalProperties": False}
    return {"anyOf": [{**rules, "properties": form, "required": list(form)} for form in forms]}
