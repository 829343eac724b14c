"""What one box may use."""

from dataclasses import dataclass, fields

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Bounds of one box, and of all that runs in it. Sizes are bytes.

    Attributes:
        memory: Memory of all its processes and file systems together. Without a control group a watchdog bounds it,
            which needs a moment, and the kernel the private memory of each process.
        processes: How many processes and threads may live at once.
        cpus: Processor cores; two halves of a core count as one. Not bounded without a control group.
        cpu_seconds: Processor time of each process; without a control group also of all together.
        workspace: Size of `/workspace`, where the box works.
        temporary: Size of `/tmp`.
        shared_memory: Size of `/dev/shm`.
        output: What it may write in its life, to its pipes and its channel together.
    """

    memory: int = 2048 * MIB
    processes: int = 128
    cpus: float = 1.0
    cpu_seconds: int = 600
    workspace: int = 64 * MIB
    temporary: int = 512 * MIB
    shared_memory: int = 256 * MIB
    output: int = 64 * MIB

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"{field.name} must be above zero, not {getattr(self, field.name)!r}")
