# mistake: appends the todo list at each step
# killed_by: history-is-appended

# %% nbgrader={"grade_id": "history"}
class History:
    """Says the list again and again."""

    def __init__(self, system, tools):
        lines = [canonical(tool) for tool in sorted(tools, key=lambda tool: tool["name"])]
        self._messages = []
        self.append("system", "\n".join([system, "Tools:", *lines]))

    def append(self, role, content):
        self._messages.append({"role": role, "content": content})

    def add_user(self, text):
        self.append("user", text)

    def add_assistant(self, text):
        self.append("assistant", text)

    def add_error(self, text, tool):
        self.append("tool", canonical({"tool": tool, "error": text}))

    def render(self, todo, now):
        lines = [f"- [{'x' if done else ' '}] {text}" for text, done in todo]
        tail = {"role": "user", "content": "\n".join([*lines, f"It is {now}."])}
        self._messages.append(tail)
        return list(self._messages)
