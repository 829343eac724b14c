# mistake: leaves the history to the baseline that the workbook has
# killed_by: history-is-appended

# %% nbgrader={"grade_id": "history"}
class History(Naive):
    """The baseline, under another name."""

    def append(self, role, content):
        self.messages.append({"role": role, "content": content})
