"""What a kernel may do wrong that its run on a CPU shows."""


class KernelFault(Exception):  # noqa: N818 - it says what happened
    """A kernel does what a GPU may do anything for.

    Attributes:
        what: What it does.
        program: The program that does it.
        kernel: The function that does it.
        line: The text of its line.
        line_number: Of the line, in its file.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.program: tuple[int, ...] = ()
        self.kernel = self.line = ""
        self.line_number = 0

    def __str__(self) -> str:
        program = f" (program {self.program})" if self.program else ""
        return f"{self.what}{program}" + (f", in {self.kernel}: {self.line}" if self.line else "")


class OutOfBounds(KernelFault):
    """A kernel reads or writes what is no element of its tensors."""


class Undefined(KernelFault):
    """A kernel computes what has no defined result."""
