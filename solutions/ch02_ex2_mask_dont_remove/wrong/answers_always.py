# mistake: admits an answer where a call is required
# killed_by: a-schema-admits-the-set

# %% nbgrader={"grade_id": "schema"}
def schema(definitions, allowed):
    """An answer never hurts."""
    forms = [
        {"tool": {"const": tool["name"]}, "arguments": tool["parameters"]}
        for tool in definitions
        if tool["name"] in allowed
    ]
    forms.append({"answer": {"type": "string", "maxLength": 200}})
    rules = {"type": "object", "additionalProperties": False}
    return {"anyOf": [{**rules, "properties": form, "required": list(form)} for form in forms]}
