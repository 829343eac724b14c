"""What a compiler makes of a kernel, and what is said where there is none, or no GPU."""

import hashlib
from dataclasses import dataclass


class CompileError(Exception):
    """A kernel does not compile. The message is the compiler's, as far as it helps."""


class NotRunError(Exception):
    """Something is not done on this machine. The message begins with "not run:" and names what is missing."""


@dataclass(frozen=True)
class GpuCode:
    """A kernel as machine code of one architecture.

    Attributes:
        name: Of the kernel.
        arch: 80 for sm_80, and so on.
        cubin: An ELF file.
        ptx: The text that the machine code was assembled from.
        source: What was compiled: Triton's Python or CUDA C.
        shared: Bytes of dynamic shared memory that a launch asks for, where the compiler decides on it.
        threads: Of a block, where the compiler decides on them (Triton: 32 a warp).
    """

    name: str
    arch: int
    cubin: bytes
    ptx: str
    source: str
    shared: int = 0
    threads: int | None = None

    @property
    def sha256(self) -> str:
        """Returns the digest of the machine code."""
        return hashlib.sha256(self.cubin).hexdigest()

    @property
    def source_sha256(self) -> str:
        """Returns the digest of what was compiled."""
        return hashlib.sha256(self.source.encode()).hexdigest()
