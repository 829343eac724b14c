"""The settings under which engines start, and what keeps them from leaking into the rest of the process."""

import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

# For vLLM, in this process or in a server's.
VLLM_SETTINGS = {
    # In this process: no engine core in a child. In a server on a CPU: the engine core works itself instead of starting
    # one more process for that, which saves 14 s of 35 and 0.7 GB.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
}
# vLLM pins threads to cores of its own choice otherwise, which on few cores costs an order of magnitude.
VLLM_CPU_SETTINGS = {"VLLM_CPU_OMP_THREADS_BIND": "nobind"}
# What vLLM is started with on a CPU; on a GPU its own choices stand.
VLLM_CPU_OPTIONS: dict[str, Any] = {
    "enforce_eager": True,  # compiling takes a minute or more at each start, for +20 % speed
    "block_size": 32,  # the smallest that the CPU attention admits: prefixes are cached in steps of this many tokens
    "kv_cache_memory_bytes": 1 << 30,
}


@contextmanager
def environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Sets environment variables, and puts all of them back as they were, those included that the body set.

    (vLLM sets a dozen, LD_PRELOAD among them, which child processes would inherit.)
    """
    before = dict(os.environ)
    # Would beat the option `kv_cache_memory_bytes`.
    os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)
    os.environ.update(settings)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update({name: value for name, value in before.items() if os.environ.get(name) != value})


@contextmanager
def quiet() -> Iterator[None]:
    """Silences warnings, and what C++ libraries write to stderr, while something loads.

    What was silenced is added to an exception that leaves the body.
    """
    with tempfile.TemporaryFile() as silenced, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sys.stderr.flush()
        stderr = os.dup(2)
        os.dup2(silenced.fileno(), 2)
        try:
            yield
        except Exception as error:
            silenced.seek(0)
            text = silenced.read().decode(errors="replace").strip()
            if text:
                error.add_note(f"Written to stderr meanwhile:\n{tail(text)}")
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)


@contextmanager
def torch_threads(device: str) -> Iterator[Callable[[], None]]:
    """Keeps torch, and vLLM's kernels with it, at one thread while a model is open on a CPU.

    With more, each step waits for the slowest of them hundreds of times: on two cores with anything else running that
    is a few times slower, and ten times or worse with vLLM's kernels, which spin. OpenMP counts threads for each
    calling thread, and OMP_NUM_THREADS is read once, when torch is first imported, which a notebook has done already:
    hence a function.

    Yields:
        What a thread has to call before it runs the model. On a GPU it does nothing.
    """
    if device != "cpu":
        yield lambda: None
        return
    import torch

    set_num_threads, threads = torch.set_num_threads, torch.get_num_threads()
    set_num_threads(1)
    try:
        yield lambda: set_num_threads(1)
    finally:
        # vLLM puts a function that does nothing in its place.
        setattr(torch, "set_num_threads", set_num_threads)  # noqa: B010
        set_num_threads(threads)


def tail(text: str, lines: int = 15) -> str:
    """Returns the last lines of a log."""
    return "\n".join(text.splitlines()[-lines:])
