# mistake: strips all white space, where only the final newline is to go
# killed_by: prints-come-back

# %% nbgrader={"grade_id": "output"}
LIMIT = 100_000


class Output:
    """Text that is gathered piece by piece."""

    def __init__(self) -> None:
        self.text = ""

    def add(self, text: str) -> None:
        """Adds what was printed."""
        self.text += text[: LIMIT - len(self.text)]

    def add_line(self, text: str) -> None:
        """Adds the value."""
        self.text += f"\n{text}"

    def finished(self, error: str) -> str:
        """Returns the text, stripped, and the error."""
        return f"{self.text}\nError: {error}".strip() if error else self.text.strip()
