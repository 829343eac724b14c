# mistake: keeps all output, however much
# killed_by: output-stays-in-its-cell

# %% nbgrader={"grade_id": "output"}
LIMIT = 100_000  # characters
CUT = "… [truncated]"


class Output:
    """Text that is gathered piece by piece, and cut at LIMIT characters."""

    def __init__(self) -> None:
        self.text = ""
        self.cut = False

    def add(self, text: str) -> None:
        """Adds what was printed, as far as there is room for it."""
        self.text += text

    def add_line(self, text: str) -> None:
        """Adds text on a line of its own."""
        if self.text and not self.text.endswith("\n"):
            self.add("\n")
        self.add(text + "\n")

    def finished(self, error: str) -> str:
        """Returns the text, the mark if it was cut, and `Error: …` on a line of its own if any."""
        text = self.text + CUT if self.cut else self.text.removesuffix("\n")
        if not error:
            return text
        return f"{text}\nError: {error[:LIMIT]}" if text else f"Error: {error[:LIMIT]}"
