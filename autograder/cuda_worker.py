"""The entry module of the clean process in which CUDA kernels are compiled and run.

In it there is a kernel's text, as `cuda_lifting` has cut it out, and no other code of a student's. The kernel itself
runs in a process of its own below this one: see `workbook.gpu.cuda_build` for why what that reports can be believed.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from workbook.gpu import cuda_build, cuda_launch, cuda_nvrtc
from workbook.gpu.code import CompileError, NotRunError
from workbook.sandbox.isolation.channel import Channel

Compile = Callable[[str, dict[str, Any]], dict[str, Any]]

_WARM = "__global__ void nothing(float* x) { x[threadIdx.x] += 1.0f; }"


def prepare() -> None:
    """Loads NVRTC, and compiles what is slow to compile and the same for all kernels."""
    for module in (cuda_nvrtc, cuda_build):
        with suppress(NotRunError):  # a question says so
            module.build({"source": _WARM, "name": "nothing", "arch": 80, "options": []})


def run(channel: Channel) -> None:
    """Answers questions until nobody asks any more."""
    while True:
        message, blobs = channel.receive()
        answer, sent = answered(message, blobs, _built)
        channel.send(answer, sent)


def answered(message: dict[str, Any], blobs: list[bytes], build: Compile) -> tuple[dict[str, Any], list[bytes]]:
    """Answers a question.

    Args:
        message: `verb` and `asked`: "compile" as `cuda_nvrtc.build` takes it, "build" as `cuda_build.build` does, or
            "launch", a `cuda_launch.Launch` with `variables` and `seconds`.
        blobs: For a launch the program, and what goes with the launch.
        build: Puts a question to "module:function".
    """
    asked = message["asked"]
    try:
        match message["verb"]:
            case "compile":
                made = build("workbook.gpu.cuda_nvrtc:build", asked)
                return {"ptx": made["ptx"]}, [made["cubin"]]
            case "build":
                made = build("workbook.gpu.cuda_build:build", asked)
                return {"variables": made["variables"]}, [made["program"]]
        program, *given = blobs
        launch = cuda_launch.Launch(**asked["launch"])
        outcome = cuda_launch.run(program, asked["variables"], launch, given, asked["seconds"])
        return {"fault": outcome.fault, "counts": outcome.counts}, outcome.buffers
    except CompileError as error:
        return {"error": str(error)}, []
    except NotRunError as error:
        return {"not run": str(error)}, []
    except Exception as error:  # noqa: BLE001 - it is the answer
        return {"error": f"{type(error).__name__}: {error}"}, []


def as_data(launch: cuda_launch.Launch) -> dict[str, Any]:
    """Returns a launch as JSON data."""
    data: dict[str, Any] = json.loads(json.dumps(asdict(launch)))
    return data


def _built(entry: str, question: dict[str, Any]) -> dict[str, Any]:
    if entry == "workbook.gpu.cuda_nvrtc:build":
        return cuda_nvrtc.build(question)
    return cuda_build.build(question)
