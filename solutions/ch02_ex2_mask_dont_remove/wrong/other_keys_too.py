# mistake: admits other keys beside those that are asked for
# killed_by: a-schema-admits-the-set

# %% nbgrader={"grade_id": "schema"}
def schema(definitions, allowed):
    """Says what is required."""
    forms = [
        {"tool": {"const": tool["name"]}, "arguments": tool["parameters"]}
        for tool in definitions
        if tool["name"] in allowed
    ]
    if None in allowed:
        forms.append({"answer": {"type": "string", "maxLength": 200}})
    forms = [{"type": "object", "properties": form, "required": list(form)} for form in forms]
    return {"anyOf": forms}
