# mistake: reads and writes files by cells that it builds around names and texts
# killed_by: files-come-back

# %% nbgrader={"grade_id": "files"}
class Workspace(Executor):
    """An executor and the files of its folder."""

    def read_file(self, path: str) -> str:
        """Returns a file's text. Raises OSError, FileNotFoundError for one."""
        return self.execute(f"print(open('{path}').read(), end='')")

    def write_file(self, path: str, content: str) -> None:
        """Makes a file of this text, in place of what was there. Raises OSError."""
        self.execute(f"open('{path}', 'w').write('{content}')")
