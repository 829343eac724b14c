# mistake: admits the name of one tool with the arguments of another
# killed_by: a-schema-admits-the-set

# %% nbgrader={"grade_id": "schema"}
def schema(definitions, allowed):
    """A list of names and a list of arguments."""
    tools = [tool for tool in definitions if tool["name"] in allowed]
    name, arguments = [tool["name"] for tool in tools], [tool["parameters"] for tool in tools]
    forms = [{"tool": {"enum": name}, "arguments": {"anyOf": arguments}}]
    if None in allowed:
        forms.append({"answer": {"type": "string", "maxLength": 200}})
    rules = {"type": "object", "additionalProperties": False}
    return {"anyOf": [{**rules, "properties": form, "required": list(form)} for form in forms]}
