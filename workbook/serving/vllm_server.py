"""vLLM as an OpenAI-compatible HTTP server: for what needs HTTP, several clients, or vLLM in a process of its own."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from workbook.serving import guard
from workbook.serving.environment import VLLM_CPU_OPTIONS, VLLM_CPU_SETTINGS, VLLM_SETTINGS, tail
from workbook.serving.interface import (
    LLM,
    PortInUseError,
    PromptTooLongError,
    Reply,
    Sampling,
    ServerDiedError,
    ServingError,
)
from workbook.serving.progress import loading

HOST = "127.0.0.1"
POLL_SECONDS = 0.2
# A reply may take long; a server that stays silent for this long hangs.
REPLY_SECONDS = 600.0
CLIENT_THREADS = 32
# The time that a server which broke may take to end.
DEATH_SECONDS = 10.0

# A line of a log that says what is wrong, as opposed to where: `ValueError: …`, `error: unrecognized arguments`.
_ERROR = re.compile(r"\b([A-Z]\w*(Error|Exception)|error): ")
# The list of routes, and the complaints of Triton's bindings at exit, which push what matters out of sight.
_NOISE = re.compile(r"\] Route: |^nanobind: | - leaked |^ - \.\.\. skipped|^See https://nanobind")


class VLLMServer(LLM):
    """A model on vLLM in a process of its own, which speaks OpenAI's HTTP API on this machine's loopback alone.

    `chat` and the other calls go through HTTP too; `base_url` is for any other client.

    Attributes:
        base_url: Where the API is: `{base_url}/chat/completions`.
        port: The port it listens on.
        log: What the server writes. Removed when the server is closed, unless an error has named it.

    Args:
        model: The model's folder.
        device: "cpu" or "cuda".
        max_model_len: Tokens that a prompt and its reply may have together.
        port: The port to listen on; 0 takes a free one.
        timeout: Seconds that it may take until it is ready.
        options: Further arguments, as `vllm.LLM` has them; each becomes the flag of that name. They win over the
            settings made here.

    Raises:
        PortInUseError: The port is taken.
        ServerDiedError: The server ended before it was ready; the message has the end of its log.
        ServingError: It was not ready in time.
    """

    engine = "vllm server"

    def __init__(
        self, model: Path, device: str, max_model_len: int, port: int, timeout: float, options: dict[str, Any]
    ) -> None:
        self.port = _available(port)
        self.base_url = f"http://{HOST}:{self.port}/v1"
        self._cache_salt: str | None = None
        # vLLM's sockets go there too: it leaves them behind where it is killed.
        self._folder = Path(tempfile.mkdtemp(prefix="vllm-server-"))
        self.log = self._folder / "server.log"
        self._http = httpx.Client(
            base_url=f"http://{HOST}:{self.port}", timeout=httpx.Timeout(10, read=REPLY_SECONDS), trust_env=False
        )
        self._keep_log = False
        self._guard: subprocess.Popen[bytes] | None = None
        super().__init__(model, device, max_model_len)
        settings = {
            "model": str(model),
            "served_model_name": self.name,
            "host": HOST,
            "port": self.port,
            "max_model_len": max_model_len,
            "enable_prompt_tokens_details": True,
            **(VLLM_CPU_OPTIONS if device == "cpu" else {}),
            **options,
        }
        try:
            with loading(f"{self.name} on a vLLM server ({device})"):
                self._guard = guard.start(_command(settings), _environment(device, self._folder), self.log)
                self._await_ready(self._guard, timeout)
        except BaseException:
            self.close()
            raise

    def _await_ready(self, process: subprocess.Popen[bytes], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise self._death(process, "before it was ready")
            try:
                if self._http.get("/health").is_success:
                    return
            except httpx.TransportError:
                pass  # nobody listens yet
            time.sleep(POLL_SECONDS)
        raise ServingError(f"the vLLM server was not ready after {timeout:g} s. {self._log_end()}")

    def complete(
        self,
        prompt: str | Sequence[int],
        *,
        max_tokens: int = 16,
        schema: Mapping[str, Any] | None = None,
        extra_args: Mapping[str, Any] | None = None,
        salt: str | None = None,
    ) -> Reply:
        """Continues a text as it stands, greedily: no chat template, and nothing is put before it.

        Args:
            prompt: The text, in which special tokens may stand, or its token ids.
            max_tokens: At most this many tokens are generated.
            schema: A JSON schema that the reply keeps.
            extra_args: What a logits processor reads of the request.
            salt: Requests with different ones share nothing in the prefix cache.

        Raises:
            PromptTooLongError: The prompt alone fills `max_model_len`.
            ClosedError: The server was closed.
            ServingError: It failed.
            ValueError: It refuses the request.
        """
        self._check_open()
        body: dict[str, Any] = {
            "model": self.name,
            "prompt": prompt if isinstance(prompt, str) else list(prompt),
            "max_tokens": min(max_tokens, self.max_model_len),
            "temperature": 0.0,
            "add_special_tokens": False,
            "cache_salt": salt or self._cache_salt,
            "vllm_xargs": None if extra_args is None else dict(extra_args),
            "structured_outputs": None if schema is None else {"json": dict(schema)},
        }
        return self._reply(
            "/v1/completions", body, lambda: self._count(prompt) if isinstance(prompt, str) else len(prompt)
        )

    def _complete(self, conversations: list[list[dict[str, str]]], sampling: Sampling) -> list[Reply]:
        if len(conversations) == 1:
            return [self._ask(conversations[0], sampling)]
        threads = ThreadPoolExecutor(min(len(conversations), CLIENT_THREADS))
        try:
            return list(threads.map(lambda messages: self._ask(messages, sampling), conversations))
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def _ask(self, messages: list[dict[str, str]], sampling: Sampling) -> Reply:
        body: dict[str, Any] = {
            "model": self.name,
            "messages": messages,
            # vLLM cuts it down to the room that the prompt leaves, but refuses more than there is without one.
            "max_tokens": min(sampling.max_tokens, self.max_model_len),
            "temperature": sampling.temperature,
            "seed": sampling.seed,
            "cache_salt": self._cache_salt,
        }
        if sampling.schema is not None:
            # Not `guided_json`: vLLM ignores it without a word.
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "reply", "schema": dict(sampling.schema), "strict": True},
            }
        return self._reply("/v1/chat/completions", body, lambda: self._count(messages))

    def _reply(self, path: str, body: dict[str, Any], count: Callable[[], int]) -> Reply:
        """Returns what the server answers to a request; `count` tells the length of its prompt."""
        start = time.perf_counter()
        try:
            answer = self._post(path, body)
        except ValueError:
            tokens = count()
            if tokens >= self.max_model_len:
                raise PromptTooLongError(tokens, self.max_model_len) from None
            raise
        seconds = time.perf_counter() - start
        choice, usage = answer["choices"][0], answer["usage"]
        if choice["finish_reason"] not in ("stop", "length"):
            raise ServingError(f"the vLLM server ended a request with {choice['finish_reason']!r}")
        return Reply(
            text=(choice["message"]["content"] if "message" in choice else choice["text"]) or "",
            prompt_tokens=usage["prompt_tokens"],
            # Absent where nothing was cached.
            cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
            completion_tokens=usage["completion_tokens"],
            finish_reason=choice["finish_reason"],
            seconds=seconds,
        )

    def _count(self, prompt: str | list[dict[str, str]]) -> int:
        what = {"prompt": prompt, "add_special_tokens": False} if isinstance(prompt, str) else {"messages": prompt}
        return int(self._post("/tokenize", {"model": self.name, **what})["count"])

    def _reset_prefix_cache(self) -> None:
        # vLLM's own reset over HTTP comes with endpoints that let anybody on this machine change the weights.
        # Blocks under another salt are never reused, which is what a caller can see of a reset.
        self._cache_salt = uuid.uuid4().hex

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        """Returns the JSON that the server answers.

        Raises:
            ValueError: The server refuses the request.
            ServerDiedError, ServingError: It failed.
        """
        try:
            response = self._http.post(path, json=body)
        except httpx.TransportError as error:
            self._check_open()
            raise self._failure(f"the vLLM server does not answer ({type(error).__name__}: {error})") from error
        if response.is_success:
            return response.json()
        message = _error_message(response)
        if response.status_code in (400, 422):
            raise ValueError(f"the vLLM server refuses this request: {message}")
        raise self._failure(f"the vLLM server answers {response.status_code}: {message}")

    def _failure(self, what: str) -> ServingError:
        """Tells a server that died from one that only failed: a dying one may still answer, or need a moment to end."""
        process = self._guard
        if process is not None:
            try:
                process.wait(DEATH_SECONDS)
            except subprocess.TimeoutExpired:
                return ServingError(f"{what}. {self._log_end()}")
            return self._death(process, "while it was in use")
        return ServingError(what)

    def _death(self, process: subprocess.Popen[bytes], when: str) -> ServingError:
        if "address already in use" in self._read_log().lower():
            return PortInUseError(_PORT_IN_USE.format(port=self.port))
        return ServerDiedError(f"the vLLM server ended {when} (exit status {process.returncode}). {self._log_end()}")

    def _log_end(self) -> str:
        """Says what the log tells, and sees to it that the log is kept."""
        self._keep_log = True
        lines = [line for line in self._read_log().splitlines() if line.strip() and not _NOISE.search(line)]
        errors = list(dict.fromkeys(line for line in lines if _ERROR.search(line) and " WARNING " not in line))[-5:]
        told = f"Its log is {self.log}"
        if errors:
            told += "\nIts errors, the last of them:\n" + "\n".join(errors)
        return told + "\nIts last lines:\n" + tail("\n".join(lines))

    def _read_log(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _close(self) -> None:
        if self._guard is not None:
            guard.stop(self._guard)
        self._http.close()
        if not self._keep_log:
            shutil.rmtree(self._folder, ignore_errors=True)


def _available(port: int) -> int:
    """Returns the port, or a free one for 0.

    Raises:
        PortInUseError: Somebody listens there.
        ValueError: It is no port.
    """
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port < 2**16:
        raise ValueError(f"port must be a whole number from 0 (any free port) to 65535, not {port!r}")
    with socket.socket() as probe:
        # As the server will: a port on which old connections linger is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError as error:
            raise ServingError(f"port {port} may not be opened by this user: choose one above 1023") from error
        except OSError as error:
            raise PortInUseError(_PORT_IN_USE.format(port=port)) from error
        return int(probe.getsockname()[1])


_PORT_IN_USE = "port {port} is in use: choose another, or 0 for a free one"


def _command(settings: dict[str, Any]) -> list[str]:
    # `vllm serve` needs the metadata of a distribution called "vllm", which vllm-cpu is not.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    for name, value in settings.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            command.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            values = value if isinstance(value, list) else [value]
            command += [f"--{flag}", *(json.dumps(one) if isinstance(one, dict | list) else str(one) for one in values)]
    return command


def _environment(device: str, folder: Path) -> dict[str, str]:
    settings = {**VLLM_SETTINGS, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    if device == "cpu":
        settings |= {**VLLM_CPU_SETTINGS, "OMP_NUM_THREADS": "1"}
    return {name: value for name, value in os.environ.items() if name != "VLLM_CPU_KVCACHE_SPACE"} | settings


def _error_message(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:500]
