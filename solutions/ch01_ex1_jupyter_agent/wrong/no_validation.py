# mistake: calls tools with whatever arguments the model has written
# killed_by: tools-are-checked

# %% nbgrader={"grade_id": "tools"}
def text_arguments(*names: str) -> dict[str, Any]:
    """The JSON Schema of arguments that are all text, and all required."""
    properties = {name: {"type": "string"} for name in names}
    rules = {"required": list(names), "additionalProperties": False}
    return {"type": "object", "properties": properties, **rules}


class Toolbox(Workspace):
    """An executor with tools, the first of which are its own methods."""

    def __init__(self) -> None:
        super().__init__()
        self.tools: dict[str, tuple[Callable[..., str], dict[str, Any]]] = {}
        self.register_tool("python", self.execute, text_arguments("code"))
        self.register_tool("read_file", self.read_file, text_arguments("path"))
        self.register_tool("write_file", self.save, text_arguments("path", "content"))

    def save(self, path: str, content: str) -> str:
        """`write_file` as a tool."""
        self.write_file(path, content)
        return f"saved {path}"

    def register_tool(self, name: str, fn: Callable[..., str], schema: dict[str, Any]) -> None:
        """Makes `fn` known as a tool; `schema` is the JSON Schema of its arguments."""
        self.tools[name] = (fn, schema)

    def call_tool(self, name: str, arguments: dict[str, Any]) -> str:
        """Returns what the tool returns, or text that begins with `Error:`. Never raises."""
        try:
            fn, _ = self.tools[name]
            return fn(**arguments)
        except jsonschema.ValidationError as error:
            return f"Error: wrong arguments for {name}: {error.message}"
        except Exception as error:
            return f"Error: {type(error).__name__}: {error}"
