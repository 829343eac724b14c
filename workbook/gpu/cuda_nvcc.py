"""Whole CUDA programs, with host code and `<<<>>>`, by the nvcc of NVIDIA's wheels: compiled anywhere, run on a GPU."""

import functools
import importlib.metadata
import subprocess
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workbook.gpu.code import CompileError, NotRunError
from workbook.gpu.compiling import compiled
from workbook.gpu.cuda_gpu import no_gpu

_SECONDS = 240
_PACKAGES = ("nvidia-cuda-nvcc", "nvidia-cuda-crt", "nvidia-cuda-runtime", "nvidia-cuda-cccl", "nvidia-nvvm")


def compile_program(source: str, arch: int = 90, *, std: str = "c++17") -> bytes:
    """Compiles and links a program; nothing of CUDA but a driver need be there where it runs.

    Args:
        source: CUDA C++, with a `main`.
        arch: 80 for sm_80, and so on.
        std: The C++ that it is written in.

    Raises:
        CompileError: It does not compile.
        NotRunError: nvcc is missing.
    """
    question = {"source": source, "arch": arch, "std": std}
    made = compiled("workbook.gpu.cuda_nvcc:build", question, versions())
    program = made["program"]
    assert isinstance(program, bytes)
    return program


def run_program(program: bytes, arguments: Sequence[str] = (), *, seconds: float = 60.0) -> str:
    """Runs a program; returns what it prints.

    Raises:
        NotRunError: There is no GPU, and so the program has failed; with what it has said.
        subprocess.CalledProcessError: It has failed although there is one.
        subprocess.TimeoutExpired: It took longer.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "program")
        path.write_bytes(program)
        path.chmod(0o700)
        done = subprocess.run([str(path), *arguments], capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode and (reason := no_gpu()):
        said = (done.stderr + done.stdout).strip()
        raise NotRunError(f"{reason}; the program says: {said}" if said else reason)
    done.check_returncode()
    return done.stdout


def versions() -> dict[str, str]:
    """Returns the versions of what compiles.

    Raises:
        NotRunError: Something of it is missing.
    """
    nvcc()
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def build(question: dict[str, Any]) -> dict[str, Any]:
    """Compiles and links; an entry for `compiling.compiled`. Takes `source`, `arch`, `std`; returns `program`.

    Raises:
        CompileError: It does not compile.
        NotRunError: nvcc is missing.
    """
    compiler = nvcc()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "program.cu").write_text(question["source"], encoding="utf-8")
        command = [str(compiler), f"-arch=sm_{question['arch']}", f"-std={question['std']}", "-cudart", "static"]
        command += [f"-L{compiler.parent.parent / 'lib'}", "-lineinfo", "program.cu", "-o", "program"]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise CompileError(f"nvcc took more than {_SECONDS} s") from None
        if done.returncode:
            raise CompileError((done.stderr + done.stdout).strip()[:4000])
        return {"program": Path(folder, "program").read_bytes()}


@functools.cache
def nvcc() -> Path:
    """Returns where the wheels' nvcc is.

    Raises:
        NotRunError: There is none.
    """
    spec = find_spec("nvidia")
    for root in spec.submodule_search_locations or () if spec else ():
        if (path := Path(root, "cu13", "bin", "nvcc")).is_file():
            return path
    raise NotRunError("not run: nvcc is missing: install nvidia-cuda-nvcc, or run `make setup`")
