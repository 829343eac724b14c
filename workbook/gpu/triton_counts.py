"""What kernels do, counted where they run on a CPU: the bytes they move and the operations they make."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Counts:
    """What one or several launches have done.

    Bytes are those of the lanes that a mask lets through; lanes of one access that share an element count once. Whether
    the element was in a cache is not considered, so this is what the kernel asks for, not what the memory delivers.

    Attributes:
        launches: How many there were.
        programs: That ran, of all launches.
        loaded: Bytes that were read with loads, by the name of the parameter.
        stored: Bytes that were written with stores, likewise.
        updated: Bytes that atomic operations have read and written, likewise.
        dot_flops: Of `tl.dot`: 2 M N K for each.
        flops: Of all else on floating-point numbers: one for each element of the result of an arithmetic operation,
            minimum, maximum, root, exponential or other function, two for fused multiply-add, and n - 1 for a sum or
            extreme of n. All elements of a block count, for the hardware computes the masked ones too. Comparisons,
            selections, casts, negation and absolute values do not count.
    """

    launches: int = 0
    programs: int = 0
    loaded: Counter[str] = field(default_factory=Counter)
    stored: Counter[str] = field(default_factory=Counter)
    updated: Counter[str] = field(default_factory=Counter)
    dot_flops: int = 0
    flops: int = 0

    @property
    def bytes(self) -> int:
        """Returns the bytes that are moved in both directions; an atomic operation moves each of its bytes twice."""
        return self.loaded.total() + self.stored.total() + 2 * self.updated.total()

    @property
    def all_flops(self) -> int:
        """Returns the floating-point operations, those of `tl.dot` included."""
        return self.dot_flops + self.flops

    def add(self, other: "Counts") -> None:
        """Adds what others have done."""
        self.launches += other.launches
        self.programs += other.programs
        self.loaded += other.loaded
        self.stored += other.stored
        self.updated += other.updated
        self.dot_flops += other.dot_flops
        self.flops += other.flops
