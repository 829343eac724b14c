"""CUDA kernels as functions of torch: a wrapper is written around the text, and built by torch's `load_inline`.

    add = joined(TEXT, "add")
    add(grid, block, x, y, z, n)  # on tensors of a GPU, in place, on torch's current stream

A function like that can be called in `forward` and `backward` of a torch.autograd.Function; `run_cuda` instead runs a
kernel once, on copies, and waits for it. Two files are compiled. nvcc is given the kernel's text and its launch, with
few headers; the C++ compiler is given the checks of the arguments, with torch's.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import sysconfig
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from filelock import FileLock

from workbook.gpu import compiling, cuda_launch, cuda_nvcc, cuda_source
from workbook.gpu.code import CompileError, NotRunError
from workbook.gpu.cuda_gpu import no_gpu
from workbook.gpu.cuda_source import Parameter, Signature

_DTYPES = {
    **{"float32": ("at::kFloat",), "float64": ("at::kDouble",), "bool": ("at::kBool",)},
    **{"float16": ("at::kHalf",), "bfloat16": ("at::kBFloat16",)},
    **{
        "int8": ("at::kChar", "at::kByte"),
        "uint8": ("at::kByte", "at::kChar"),
    },  # signed or not, the bytes are the same
    **{"int16": ("at::kShort", "at::kUInt16"), "int32": ("at::kInt", "at::kUInt32")},
    "int64": ("at::kLong", "at::kUInt64"),
}
_NUMBERS = {
    **{"f": "float", "d": "double", "?": "bool", "e": "c10::Half"},
    **{"b": "signed char", "B": "unsigned char", "h": "short", "H": "unsigned short"},
    **{"i": "int", "I": "unsigned int", "q": "long long", "Q": "unsigned long long"},
}

_LAUNCHER_HEAD = """\
#include <c10/cuda/CUDAException.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <sys/types.h>

#include <cmath>
#include <cstdint>
typedef unsigned char uchar;
"""

_BINDING_HEAD = """\
#include <c10/core/GradMode.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/utils/pybind.h>

#include <array>
#include <cmath>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

namespace workbook_extension {

enum Layout { CONTIGUOUS, STRIDED };
enum Use { READ, WRITTEN };

std::string shown(PyObject* value) {
  return py::cast<std::string>(py::repr(value)).substr(0, 50);
}

struct Tensors {
  std::optional<c10::Device> device;
  std::vector<at::Tensor> written;

  void* address(PyObject* value, const char* name, const char* type, const char* takes,
                std::initializer_list<at::ScalarType> dtypes, Layout layout, Use use) {
    TORCH_CHECK_TYPE(THPVariable_Check(value), name, " is ", type, ", so it takes a tensor, not ", shown(value));
    const at::Tensor& tensor = THPVariable_Unpack(value);
    bool known = false;
    for (at::ScalarType dtype : dtypes) known = known || tensor.scalar_type() == dtype;
    TORCH_CHECK_TYPE(known, name, " is ", type, ", so it takes torch.", takes, ", not ",
                     py::cast<std::string>(py::str(py::handle(value).attr("dtype"))));
    TORCH_CHECK_TYPE(tensor.layout() == at::kStrided, name, " is a sparse tensor");
    TORCH_CHECK_VALUE(layout == STRIDED || tensor.is_contiguous(), name, " has the sizes ", tensor.sizes(),
                      " and the strides ", tensor.strides(), ", so it is not contiguous: pass ", name,
                      ".contiguous(), or name it in `strided` if the kernel is given its strides");
    TORCH_CHECK(!at::GradMode::is_enabled() || !tensor.requires_grad(), name,
                " requires a gradient, of which a kernel knows nothing: call it in a torch.autograd.Function, or under "
                "torch.no_grad()");
    TORCH_CHECK_TYPE(tensor.is_cuda(), name, " is a tensor on ", tensor.device(), ", and the kernel runs on a GPU");
    TORCH_CHECK_TYPE(!device || *device == tensor.device(), name, " is a tensor on ", tensor.device(),
                     ", and others are on ", *device);
    device = tensor.device();
    if (use == WRITTEN) written.push_back(tensor);
    return tensor.data_ptr();
  }

  // Tells autograd that what it may have saved has other values now.
  void changed() {
    for (const at::Tensor& tensor : written)
      if (!tensor.is_inference()) tensor.unsafeGetTensorImpl()->bump_version();
  }
};

template <typename T>
T number(PyObject* value, const char* name, const char* type) {
  constexpr bool real = std::is_floating_point_v<T> || std::is_same_v<T, c10::Half>;
  TORCH_CHECK_TYPE(PyLong_Check(value) || (real && PyFloat_Check(value)), name, " is ", type, ", and ", shown(value),
                   " is no such number");
  bool fits = true;
  T result{};
  if constexpr (std::is_same_v<T, bool>) {
    result = PyObject_IsTrue(value) == 1;
  } else if constexpr (real) {
    const double exact = PyFloat_AsDouble(value);
    fits = !PyErr_Occurred();
    PyErr_Clear();
    result = static_cast<T>(static_cast<std::conditional_t<std::is_same_v<T, double>, double, float>>(exact));
    fits = fits && (std::isfinite(static_cast<double>(result)) || !std::isfinite(exact));
  } else {
    try {
      result = py::handle(value).cast<T>();
    } catch (const py::cast_error&) {
      fits = false;
    }
  }
  TORCH_CHECK_TYPE(fits, name, " is ", type, ", and ", shown(value), " does not fit");
  return result;
}

dim3 three(const std::array<unsigned, 3>& sizes) {
  return dim3(sizes[0], sizes[1], sizes[2]);
}

"""

_TAKEN = ("HALF_OPERATORS", "HALF_CONVERSIONS", "HALF2_OPERATORS", "BFLOAT16_CONVERSIONS")
FLAGS = ("-std=c++17", "-lineinfo", *(f"-U__CUDA_NO_{name}__" for name in _TAKEN))
"""nvcc's: the C++ that NVRTC is told to read, with the operators of halves, which torch takes away."""

MAX_TEXT = 4000
"""Characters of a compiler's errors that are passed on."""

_building = threading.RLock()
_loaded: dict[str, ModuleType] = {}


@dataclass(frozen=True)
class Wrapper:
    """What is compiled around a kernel's text.

    Attributes:
        launcher: CUDA C++ that follows the text: makes the launch.
        binding: C++ that includes torch's headers: a function `launch` for Python, which checks the arguments.
    """

    launcher: str
    binding: str


@dataclass(frozen=True, repr=False)
class Joined:
    """A kernel that is called with torch's tensors.

    Attributes:
        signature: Of the kernel.
        module: The extension, with a function `launch`.
    """

    signature: Signature
    module: Any

    def __call__(self, grid: int | Sequence[int], block: int | Sequence[int], *arguments: Any, shared: int = 0) -> None:
        """Launches the kernel on torch's current stream of the GPU that the tensors are on, and does not wait for it.

        Args:
            grid: Blocks, in one to three dimensions.
            block: Threads of a block, likewise.
            arguments: For each parameter: a tensor for a pointer, else a number.
            shared: Bytes of dynamic shared memory.

        Raises:
            RuntimeError: CUDA reports an error; or autograd would have to know what the kernel does, and does not.
            TypeError: The arguments are not of the kernel's types, or not on one GPU.
            ValueError: There can be no such launch; or a tensor is not contiguous.
        """
        blocks, threads = cuda_launch.three(grid), cuda_launch.three(block)
        cuda_launch.check(blocks, threads, 0, 0)  # how much shared memory there may be, the GPU itself tells
        if type(shared) is not int or not 0 <= shared < 1 << 31:
            raise ValueError(f"shared memory is a number of bytes, not {shared!r}")
        self.module.launch(blocks, threads, shared, arguments)

    def __repr__(self) -> str:
        names = ", ".join(parameter.name for parameter in self.signature.parameters)
        return f"<{self.signature.name}(grid, block, {names}, shared=0) on a GPU>"


def joined(source: str, name: str, *, strided: Collection[str] = ()) -> Joined:
    """Makes a kernel a function of torch; the first time, that takes a minute.

    What was built lies in the user's cache, and is found there the next time.

    Args:
        source: CUDA C; see `cuda_source` for what it may hold.
        name: Of the `__global__` function.
        strided: Names of the pointers whose tensors need not be contiguous, for the kernel has their strides as
            parameters of its own.

    Raises:
        CompileError: The text may not be compiled, or cannot be.
        NotRunError: There is no GPU, or something that builds is missing; says what.
        TypeError: A parameter is a number that Python has none of.
        ValueError: `strided` names no pointer.
    """
    signature = cuda_source.kernel(source, name)
    wrapper = wrapper_of(signature, strided=strided)
    home = need()
    import torch

    devices = range(torch.cuda.device_count())
    archs = sorted({10 * major + minor for major, minor in map(torch.cuda.get_device_capability, devices)})
    return Joined(signature, built(source, name, wrapper, home, archs))


def wrapper_of(signature: Signature, *, strided: Collection[str] = ()) -> Wrapper:
    """Writes what is compiled around a kernel's text.

    Args:
        signature: Of the kernel.
        strided: As for `joined`.

    Raises:
        TypeError: A parameter is a number that Python has none of.
        ValueError: `strided` names no pointer.
    """
    pointers = [parameter.name for parameter in signature.parameters if parameter.pointer]
    if isinstance(strided, str) or (unknown := sorted(set(strided) - set(pointers))):
        wrong = repr(strided) if isinstance(strided, str) else ", ".join(unknown)
        raise ValueError(f"`strided` is a list of pointers of {signature.name} ({', '.join(pointers)}), not {wrong}")
    for parameter in signature.parameters:
        if not parameter.pointer and not parameter.code:
            raise TypeError(
                f"{parameter.name} is {parameter.type}, and no number of Python's becomes one: take a float"
            )
    return Wrapper(_launcher(signature), _BINDING_HEAD + _binding(signature, strided))


def need() -> Path:
    """Returns what torch calls CUDA_HOME: the folder of the wheels' nvcc.

    Raises:
        NotRunError: There is no GPU, or something that builds is missing; says what.
    """
    if reason := no_gpu():
        raise NotRunError(reason)
    import torch

    if torch.version.cuda is None:
        raise NotRunError("not run: this torch is built without CUDA: install requirements/gpu.txt")
    if not torch.cuda.is_available():
        raise NotRunError("not run: torch finds no GPU; the driver may be too old for it")
    home = cuda_nvcc.nvcc().parent.parent
    major = home.name.removeprefix("cu")
    if torch.version.cuda.split(".")[0] != major:
        raise NotRunError(f"not run: nvcc is of CUDA {major}, and torch of CUDA {torch.version.cuda}")
    compiler = os.environ.get("CXX", "c++")
    for command, package in ((compiler, "the Debian package g++"), ("ninja", "the package ninja from PyPI")):
        if shutil.which(command, path=_path()) is None:
            raise NotRunError(f"not run: `{command}` is missing: install {package}")
    return home


def built(
    source: str,
    name: str,
    wrapper: Wrapper,
    home: Path,
    archs: Sequence[int],
    *,
    flags: Sequence[str] = (),
    libraries: Sequence[str] = (),
) -> ModuleType:
    """Builds the extension, or finds it in the user's cache, and loads it.

    Args:
        source: The kernel's text.
        name: Of the kernel.
        wrapper: What is written around it.
        home: CUDA_HOME.
        archs: 80 for sm_80, and so on: of the GPUs.
        flags: More of them for both compilers.
        libraries: Folders where the linker looks first.

    Raises:
        CompileError: It does not compile.
        NotRunError: CUDA's runtime is missing.
    """
    import torch
    from torch.utils import cpp_extension

    launcher = launcher_file(source, wrapper)
    versions = {**cuda_nvcc.versions(), "torch": torch.__version__, "python": platform.python_version()}
    what = [launcher, wrapper.binding, list(archs), versions, str(home), list(flags), list(libraries), FLAGS]
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
    folder = compiling.folder().parent / "extensions" / f"{name}-{digest[:32]}"
    with _building:
        if digest in _loaded:
            return _loaded[digest]
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")), _environment(cpp_extension, home):
            (folder / "lock").unlink(missing_ok=True)  # torch's own: after a crash it would wait for it for ever
            try:
                _loaded[digest] = cpp_extension.load_inline(  # type: ignore[no-untyped-call]
                    f"workbook_{digest[:32]}",
                    cpp_sources=[wrapper.binding],
                    cuda_sources=[launcher],
                    functions=["launch"],
                    extra_cflags=list(flags),
                    extra_cuda_cflags=[f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
                    + [*FLAGS, *flags],
                    extra_ldflags=[f"-L{place}" for place in (*libraries, _runtime(home, folder))],
                    build_directory=str(folder),
                    no_implicit_headers=True,
                )
            except RuntimeError as error:
                raise CompileError(errors(str(error))) from None
        return _loaded[digest]


def launcher_file(source: str, wrapper: Wrapper) -> str:
    """Returns the file that nvcc is given: headers, the kernel's text with line numbers of its own, the launch."""
    return f'{_LAUNCHER_HEAD}#line 1 "kernel.cu"\n{source}\n#line 1 "launcher.cu"\n{wrapper.launcher}'


def errors(log: str) -> str:
    """Returns the errors in what a build has said, with the lines of the kernel's text; all of it if there are none."""
    found = re.findall(
        r"^(?!ninja: |FAILED: |\d+ errors? detected).*\b(?:error|undefined reference)\b.*(?:\n(?!\[\d+/).+)*",
        log,
        re.MULTILINE,
    )
    text = "\n".join(found) or log.strip()
    return re.sub(r"^kernel\.cu\((\d+)\): error:", r"line \1:", text, flags=re.MULTILINE)[:MAX_TEXT]


def _launcher(signature: Signature) -> str:
    passed = ["\n      " + _passed(parameter, place) for place, parameter in enumerate(signature.parameters)]
    return f"""\
namespace workbook_extension {{

void launch({_declared(signature)}) {{
  if (shared > 48 << 10) {{
    int device = 0, most = 0;
    C10_CUDA_CHECK(cudaGetDevice(&device));
    C10_CUDA_CHECK(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    TORCH_CHECK_VALUE(shared <= most, "a block has at most ", most, " bytes of shared memory here, not ", shared);
    C10_CUDA_CHECK(cudaFuncSetAttribute(::{signature.name}, cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
  }}
  ::{signature.name}<<<grid, block, shared, stream>>>({",".join(passed)});
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}}

}}  // namespace workbook_extension
"""


def _binding(signature: Signature, strided: Collection[str]) -> str:
    count, names = len(signature.parameters), ", ".join(parameter.name for parameter in signature.parameters)
    lines = [_read(parameter, place, strided) for place, parameter in enumerate(signature.parameters)]
    given = "".join(f", p{place}" for place in range(count))
    return f"""\
void launch({_declared(signature)});

}}  // namespace workbook_extension

void launch(std::array<unsigned, 3> grid, std::array<unsigned, 3> block, int shared, py::tuple given) {{
  using namespace workbook_extension;
  TORCH_CHECK_TYPE(given.size() == {count}, "{signature.name} takes {count} arguments ({names}), not ", given.size());
  Tensors tensors;
{"".join(lines)}\
  c10::cuda::OptionalCUDAGuard guard(tensors.device);
  workbook_extension::launch(three(grid), three(block), shared, c10::cuda::getCurrentCUDAStream(){given});
  tensors.changed();
}}
"""


def _declared(signature: Signature) -> str:
    """Returns the parameters of the function that stands between the two files."""
    fixed = ["dim3 grid", "dim3 block", "int shared", "cudaStream_t stream"]
    own = [f"{_between(parameter)} p{place}" for place, parameter in enumerate(signature.parameters)]
    return ", ".join(fixed + own)


def _between(parameter: Parameter) -> str:
    """Returns as what a parameter goes from one file to the other: the first knows nothing of CUDA's vectors."""
    if parameter.pointer:
        return "void*"
    return "float" if parameter.code == "e" else _NUMBERS[parameter.code]


def _passed(parameter: Parameter, place: int) -> str:
    """Writes an argument of the kernel."""
    if parameter.pointer:
        return f"static_cast<{parameter.type[: parameter.type.index('*') + 1]}>(p{place})"
    return f"__float2half(p{place})" if parameter.code == "e" else f"p{place}"


def _read(parameter: Parameter, place: int, strided: Collection[str]) -> str:
    """Writes how an argument is taken from what Python gives."""
    item = f'PyTuple_GET_ITEM(given.ptr(), {place}), "{parameter.name}", "{parameter.type}"'
    if not parameter.pointer:
        return f"  {_between(parameter)} p{place} = number<{_NUMBERS[parameter.code]}>({item});\n"
    dtypes = ", ".join(_DTYPES[parameter.dtype])
    layout = "STRIDED" if parameter.name in strided else "CONTIGUOUS"
    use = "READ" if "const" in parameter.type.split("*")[0].split() else "WRITTEN"
    return (
        f"  void* p{place} = tensors.address({item},\n"
        f'                             "{parameter.dtype}", {{{dtypes}}}, {layout}, {use});\n'
    )


def _path() -> str:
    """Returns where commands are looked for: a notebook's kernel may not have this Python's folder among them."""
    return os.pathsep.join(filter(None, [sysconfig.get_path("scripts"), os.environ.get("PATH")]))


@contextmanager
def _environment(cpp_extension: Any, home: Path) -> Iterator[None]:
    """Lets torch find nvcc and ninja."""
    before, path = cpp_extension.CUDA_HOME, os.environ.get("PATH")
    cpp_extension.CUDA_HOME, os.environ["PATH"] = str(home), _path()
    try:
        yield
    finally:
        cpp_extension.CUDA_HOME = before
        if path is None:
            del os.environ["PATH"]
        else:
            os.environ["PATH"] = path


def _runtime(home: Path, folder: Path) -> Path:
    """Returns a folder with `libcudart.so`, which the linker asks for: the wheels have it with a number alone."""
    libraries = home / "lib64" if (home / "lib64").is_dir() else home / "lib"
    if (libraries / "libcudart.so").exists():
        return libraries
    numbered = sorted(libraries.glob("libcudart.so.*"))
    if not numbered:
        raise NotRunError("not run: libcudart is missing: install nvidia-cuda-runtime, or run `make setup`")
    link = folder / "libcudart.so"
    link.unlink(missing_ok=True)
    link.symlink_to(numbered[0])
    return folder
