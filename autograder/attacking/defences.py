"""What attacks are stopped by, and for each defence the test that fails when that defence alone is switched off."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Defence:
    """A defence.

    Attributes:
        about: What it is.
        test: The test that fails without it.
    """

    about: str
    test: str


def _off(name: str) -> str:
    """The test that switches it off and sees an attack get through."""
    return f"tests/attacks/test_defences.py::test_without_a_defence_an_attack_gets_through[{name}]"


def _layer(name: str) -> str:
    """The test that switches a layer of boxes off and sees that its probe notices."""
    return f"tests/sandbox/isolation/test_probes.py::test_a_layer_that_is_broken_is_noticed[root-{name}]"


_GRADER = "tests/grading/test_grader.py::"

DEFENCES: dict[str, Defence] = {
    # Reading
    "regular files alone": Defence(
        "links, pipes and sockets in a submission are not opened", _off("regular files alone")
    ),
    "bounded reading": Defence("size, number and depth of what is read are bounded", _off("bounded reading")),
    "restoration": Defence(
        "the graded notebook is built from the release; of a submission only texts are taken", _off("restoration")
    ),
    # Executing
    "judged from outside": Defence(
        "graded cells are not executed: the judge asks, and writes their outputs", _off("judged from outside")
    ),
    "cells end": Defence(
        "a cell and all cells together have a limit; a process that will not end is killed", _off("cells end")
    ),
    "bounded outputs": Defence("what a cell puts out is bounded, and made valid", _off("bounded outputs")),
    "clean outputs": Defence(
        "what a submission puts into a page is no script",
        "tests/grading/test_nbgrader.py::test_nothing_in_feedback_is_a_script",
    ),
    # Asking
    "plain values": Defence(
        "only plain data of exact types crosses, and is compared outside",
        "tests/autograder/test_values.py::test_everything_else_is_refused",
    ),
    "secret seed": Defence(
        "inputs come from a seed that is not in the box",
        f"{_GRADER}test_all_submissions_get_the_same_inputs_and_another_grader_others",
    ),
    "nothing to find": Defence("the box holds no seed and no expected value", _off("nothing to find")),
    "one answer a question": Defence(
        "an answer belongs to the question that was asked, or the process is lost",
        f"{_GRADER}test_a_forged_handle_is_no_answer",
    ),
    "criteria end": Defence("a criterion has a deadline, and callbacks count in it", _off("criteria end")),
    "callbacks end with their call": Defence(
        "a function of the judge's can be called only while a question is open",
        "tests/autograder/test_wire.py::test_a_callback_is_dead_once_the_call_is_over",
    ),
    "purity": Defence("calls are repeated, arguments and results looked at again", _off("purity")),
    "hidden modules": Defence("what would be the answer is not in the box", _off("hidden modules")),
    "a process for each failure": Defence(
        "what a failed criterion has left behind is gone for the next one",
        "tests/autograder/test_judge.py::test_after_a_failure_and_for_a_fresh_one_there_is_a_new_process",
    ),
    # Kernels
    "allowed kernels": Defence("a kernel is lifted only if all of its syntax is allowed", _off("allowed kernels")),
    "clean kernel worker": Defence(
        "kernels are compiled and run where no other code of the student's is",
        "tests/grading/test_kernels.py::test_what_the_students_process_says_of_a_kernel_is_of_no_account",
    ),
    # The box
    "files out of reach": Defence(
        "a root of its own: no file of this machine but the system's and Python's",
        _layer("files of this machine out of reach"),
    ),
    "read-only system": Defence(
        "nothing of the system, of Python and of the library can be written", _layer("read-only system")
    ),
    "own file systems": Defence(
        "folders that can be written are the box's own, of a bounded size, and gone with it",
        _layer("file systems of bounded size"),
    ),
    "PID namespace": Defence(
        "it sees and signals itself alone, and all that it has started ends with it", _layer("PID namespace")
    ),
    "network namespace": Defence("a network of its own, without a way out", _off("network namespace")),
    "IPC namespace": Defence("shared memory and queues of its own", _off("IPC namespace")),
    "no capabilities": Defence("an ordinary user without any of root's rights", _off("no capabilities")),
    "system call filter": Defence("calls that undo other layers are denied", _off("system call filter")),
    "clean environment": Defence(
        "variables, arguments and descriptors are made from scratch", _off("clean environment")
    ),
    "processes are bounded": Defence("a control group and a limit count processes", _layer("resource limits")),
    "memory is bounded": Defence(
        "a control group counts memory, or else the watchdog", _layer("control group: memory")
    ),
    "output is bounded": Defence(
        "a box that writes more than it may is ended",
        "tests/sandbox/isolation/test_deaths.py::test_a_flood_of_output_ends_the_box",
    ),
}
"""By name, as attacks say it."""
