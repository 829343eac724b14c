# mistake: takes the workbook's own context
# killed_by: history-is-appended

# %% nbgrader={"grade_id": "history"}
class History:
    """The workbook's context under another name."""

    def __init__(self, system, tools):
        from workbook.context.agent_context import AgentContext

        self._context = AgentContext(system, tools)

    def add_user(self, text):
        self._context.add_user(text)

    def add_assistant(self, text):
        self._context.add_assistant(text)

    def add_error(self, text, tool):
        self._context.add_error(text, tool=tool)

    def render(self, todo, now):
        from workbook.context.agent_context import Task

        self._context.recite([Task(text, done) for text, done in todo], f"It is {now}.")
        return [dict(message) for message in self._context.messages()]
