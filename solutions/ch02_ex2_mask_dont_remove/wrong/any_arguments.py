# mistake: admits any arguments of a tool
# killed_by: a-schema-admits-the-set

# %% nbgrader={"grade_id": "schema"}
def schema(definitions, allowed):
    """Holds the name, and lets arguments be."""
    forms = [{"tool": {"const": name}, "arguments": {"type": "object"}} for name in allowed if name]
    if None in allowed:
        forms.append({"answer": {"type": "string", "maxLength": 200}})
    rules = {"type": "object", "additionalProperties": False}
    return {"anyOf": [{**rules, "properties": form, "required": list(form)} for form in forms]}
