"""What attacks are stopped by, and for each defence the test that fails when that defence alone is switched off."""

from dataclasses import dataclass

_OFF = "tests/attacks/test_defences.py::test_without_a_defence_its_attacks_get_through"
_PROBES = "tests/sandbox/isolation/test_probes.py::test_a_layer_that_is_broken_is_noticed"


@dataclass(frozen=True)
class Defence:
    """A defence.

    Attributes:
        about: What it is.
        test: The test that fails without it.
    """

    about: str
    test: str


def _off(name: str, about: str) -> tuple[str, Defence]:
    return name, Defence(about, f"{_OFF}[{name}]")


def _layer(name: str, about: str) -> tuple[str, Defence]:
    return name, Defence(about, _PROBES)


DEFENCES: dict[str, Defence] = dict(
    [
        # Reading
        _off("regular files alone", "links, pipes and sockets in a submission are not opened"),
        _off("bounded reading", "size, number and depth of what is read are bounded"),
        _off("restoration", "the graded notebook is built from the release; of a submission only texts are taken"),
        # Executing
        _off("judged from outside", "graded cells are not executed: the judge asks, and writes their outputs"),
        _off("cells end", "a cell and all cells together have a limit; a process that will not end is killed"),
        _off("bounded outputs", "what a cell puts out is bounded, and made valid"),
        _off("clean outputs", "what a submission puts into a page is no script"),
        # Asking
        _off("plain values", "only plain data of exact types crosses, and is compared outside"),
        _off("secret seed", "inputs come from a seed that is not in the box"),
        _off("nothing to find", "the box holds no expected value: the judge's work is done in another process"),
        _off("one answer a question", "an answer belongs to the question that was asked, or the process is lost"),
        _off("criteria end", "a criterion has a deadline, callbacks count in it"),
        _off("callbacks end with their call", "a function of the judge's can be called only while it is lent"),
        _off("purity", "calls are repeated, arguments and results looked at again"),
        _off("hidden modules", "what would be the answer is not in the box"),
        _off("a process for each failure", "what a failed criterion has left behind is gone for the next one"),
        # Kernels
        _off("allowed kernels", "a kernel is lifted only if all of its syntax is allowed"),
        _off("clean kernel worker", "kernels are compiled and run where no other code of the student's is"),
        # The box
        _layer("files out of reach", "a root of its own: no file of this machine but the system's and Python's"),
        _layer("read-only system", "nothing of the system, of Python and of the library can be written"),
        _layer("own file systems", "folders that can be written are the box's own, bounded, and gone with it"),
        _layer("PID namespace", "it sees and signals itself alone, and ends with all that it has started"),
        _layer("network namespace", "a network of its own, without a way out"),
        _layer("IPC namespace", "shared memory and queues of its own"),
        _layer("no capabilities", "no rights of root's, and no way to them"),
        _layer("system call filter", "calls that undo other layers are denied"),
        _layer("clean environment", "variables, arguments and descriptors are made from scratch"),
        _layer("processes are bounded", "control group and resource limit"),
        _layer("memory is bounded", "control group, or the watchdog"),
        _layer("output is bounded", "a box that writes more than it may is ended"),
    ]
)
"""By name."""
