"""The entry module of the clean process in which lifted kernels are compiled and run.

In it there is Triton and the text that `lifting` has cut out, and no other code of a student's. The counts of what a
kernel does, and its machine code, come from here alone.
"""

import socket
import sys
from contextlib import suppress
from typing import Any

from autograder.values import decode, encode
from workbook.gpu import triton_cpu, triton_private
from workbook.gpu.code import CompileError, NotRunError
from workbook.gpu.triton_compiler import compile_text, explained, load
from workbook.gpu.triton_counts import Counts
from workbook.gpu.triton_faults import KernelFault
from workbook.sandbox.isolation.channel import Channel, ChannelClosed

MAX_TEXT = 4000
"""Characters of an error that are passed on: its end, which says what went wrong."""

_WARM = """import triton
import triton.language as tl

@triton.jit
def nothing(x):
    tl.store(x, tl.load(x) + 1)
"""


def prepare() -> None:
    """Imports what is slow to import; compiles and runs a first kernel, which is slower than all that follow."""
    import torch

    kernel = {"text": _WARM, "name": "nothing"}
    compile_text({**kernel, "signature": {"x": "*fp32"}, "constexprs": {}, "aligned": [], "arch": 80, "options": {}})
    with suppress(NotRunError):  # whoever asks for a run is told so then
        triton_cpu.install()
        _run({**kernel, "grid": [1], "shuffle": None, "views": {}}, {"x": torch.zeros(1)})


def run(channel: Channel) -> None:
    """Answers questions until nobody asks any more. A question is a `compile` or a `run`."""
    while True:
        message, blobs = channel.receive()
        answer, sent = _answer(message, blobs)
        channel.send(answer, sent)


def _answer(message: dict[str, Any], blobs: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    sent: list[bytes] = []
    try:
        if message["verb"] == "compile":
            value: Any = compile_text(message)
        else:
            value = _run(message, decode(message["arguments"], blobs))
        return {"value": encode(value, sent)}, sent
    except NotRunError as error:
        return {"not run": str(error)}, []
    except Exception as error:  # noqa: BLE001 - it is the answer
        return {"error": _text(error)[-MAX_TEXT:]}, []


def _run(message: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Runs a kernel; returns its tensors as they are then, in the order of its parameters, and what it has done."""
    import torch

    triton_private.check()
    given = arguments | {name: arguments[name].as_strided(*layout) for name, layout in message["views"].items()}
    function = load(message["text"], message["name"])
    with triton_cpu.watch(shuffle=message["shuffle"]) as counts:
        function[tuple(message["grid"])](**given)
    tensors = [value.contiguous() for value in given.values() if isinstance(value, torch.Tensor)]
    return {"tensors": tensors, "counts": _plain(counts)}


def _plain(counts: Counts) -> dict[str, Any]:
    """Returns counts as plain data."""
    return {name: dict(value) if isinstance(value, dict) else value for name, value in vars(counts).items()}


def _text(error: Exception) -> str:
    """Returns what an error says."""
    return str(error) if isinstance(error, KernelFault | CompileError) else explained(error)


if __name__ == "__main__":  # an ordinary process on a student's machine; the argument is the number of its socket
    with socket.socket(fileno=int(sys.argv[1])) as end:
        prepare()
        with suppress(ChannelClosed):
            run(Channel(end))
