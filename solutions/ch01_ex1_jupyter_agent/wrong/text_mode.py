# mistake: uses text mode, which changes the ends of lines
# killed_by: files-come-back

# %% nbgrader={"grade_id": "files"}
class Workspace(Executor):
    """An executor and the files of its folder."""

    def read_file(self, path: str) -> str:
        """Returns a file's text. Raises OSError, FileNotFoundError for one."""
        return (self.folder / path).read_text(encoding="utf-8")

    def write_file(self, path: str, content: str) -> None:
        """Makes a file of this text, in place of what was there. Raises OSError."""
        (self.folder / path).write_text(content, encoding="utf-8")
