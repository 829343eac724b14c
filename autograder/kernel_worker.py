"""The entry module of the clean process in which lifted kernels are compiled, and of the one in which they are run.

In it there is Triton and the text that `lifting` has cut out, and no other code of a student's. Triton decides when it
is imported whether functions are compiled or interpreted, by TRITON_INTERPRET, so one process does one of the two.
"""

import importlib.util
import os
import socket
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from autograder.kernel_memory import OutOfBounds, bounded, fenced
from autograder.kernel_numbers import Undefined, number, typed
from autograder.values import decode, encode
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
    """Imports what is slow to import, and compiles a first kernel, which is slower than all that follow."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        import torch  # noqa: F401
        import triton.runtime.interpreter  # noqa: F401
    else:
        what = {"text": _WARM, "name": "nothing", "signature": {"x": "*fp32"}, "constexprs": {}, "options": {}}
        with tempfile.TemporaryDirectory() as folder:
            _compile({**what, "arch": 80}, folder)


def run(channel: Channel) -> None:
    """Answers questions until nobody asks any more. A question is a `compile` or a `run`."""
    while True:
        message, blobs = channel.receive()
        answer, sent = _answer(message, blobs)
        channel.send(answer, sent)


def _answer(message: dict[str, Any], blobs: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    sent: list[bytes] = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            if message["verb"] == "compile":
                value: Any = _compile(message, folder)
            else:
                value = _run(message, decode(message["arguments"], blobs), folder)
        return {"value": encode(value, sent)}, sent
    except Exception as error:  # noqa: BLE001 - it is the answer
        return {"error": _text(error)[-MAX_TEXT:]}, []


def _function(message: dict[str, Any], folder: str) -> Any:
    """Returns the kernel, imported from a file: Triton reads the source of what it compiles."""
    path = Path(folder, "lifted.py")
    path.write_text(message["text"], encoding="utf-8")
    spec = importlib.util.spec_from_file_location("lifted", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, message["name"])


def _compile(message: dict[str, Any], folder: str) -> bytes:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    function = _function(message, folder)
    constexprs = decode(message["constexprs"], [])
    signature = {name: "constexpr" if name in constexprs else message["signature"][name] for name in function.arg_names}
    places = {(function.arg_names.index(name),): value for name, value in constexprs.items()}
    source = ASTSource(function, signature, constexprs=places)
    compiled = triton.compile(source, target=GPUTarget("cuda", message["arch"], 32), options=message["options"])
    cubin: bytes = compiled.asm["cubin"]
    return cubin


def _run(message: dict[str, Any], arguments: dict[str, Any], folder: str) -> list[Any]:
    """Runs a kernel; returns its tensors as they are then, in the order of its parameters."""
    import torch

    given = {name: fenced(value) if isinstance(value, torch.Tensor) else value for name, value in arguments.items()}
    tensors = {name: value for name, value in given.items() if isinstance(value, torch.Tensor)}
    given |= {name: number(given[name], kind) for name, kind in message["types"].items()}
    function = _function(message, folder)
    with bounded(tensors), typed(function):
        function[tuple(message["grid"])](**given)
    return [tensor.clone() for tensor in tensors.values()]


def _text(error: BaseException) -> str:
    """Returns what an error says, and the one that it came of: Triton puts errors of its own around all others."""
    if isinstance(error, OutOfBounds | Undefined):
        return str(error)
    cause = error.__cause__
    if cause is not None and type(error).__name__ == "InterpreterError":
        return _text(cause)
    own = f"{type(error).__name__}: {error}"
    return own if cause is None or str(cause) in own else f"{own}\n{_text(cause)}"


if __name__ == "__main__":  # an ordinary process on a student's machine; the argument is the number of its socket
    with socket.socket(fileno=int(sys.argv[1])) as end:
        prepare()
        with suppress(ChannelClosed):
            run(Channel(end))
