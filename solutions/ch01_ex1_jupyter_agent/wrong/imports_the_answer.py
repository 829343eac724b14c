# mistake: hands the work to the workbook's own executor
# killed_by: prints-come-back

# %% nbgrader={"grade_id": "jupyter-agent"}
class JupyterAgent(Agent):
    """The workbook's kernel behind the same call."""

    def execute(self, code: str, timeout: float = 10.0) -> str:
        """Returns the text of the workbook's result."""
        import workbook.sandbox.kernel

        self.kernel = self.kernel or workbook.sandbox.kernel.Kernel(cwd=self.folder)
        return self.kernel.execute(code, timeout).text
