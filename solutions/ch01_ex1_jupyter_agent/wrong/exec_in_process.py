# mistake: executes cells in its own process, which a cell can stop for ever
# killed_by: deadlines-hold
# dies_of: timeout

# %% nbgrader={"grade_id": "jupyter-agent"}
import ast
import contextlib
import io


class JupyterAgent(Agent):
    """No kernel at all."""

    def __init__(self) -> None:
        super().__init__()
        self.variables: dict[str, Any] = {"__name__": "__main__"}

    def execute(self, code: str, timeout: float = 10.0) -> str:
        """Returns the output, after however long it takes."""
        printed, output, error = io.StringIO(), Output(), ""
        value = None
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            try:
                tree = ast.parse(code)
                last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
                exec(compile(tree, "cell", "exec"), self.variables)
                if last is not None:
                    value = eval(
                        compile(ast.Expression(last.value), "cell", "eval"), self.variables
                    )
            except Exception as raised:
                error = f"{type(raised).__name__}: {raised}"
        output.add(printed.getvalue())
        if value is not None:
            output.add_line(repr(value))
        return output.finished(error)
