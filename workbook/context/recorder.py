"""Records an agent at work, line by line, so that a trace of it is left whatever happens to the process.

    with Recorder(Path("trace.jsonl"), name="mine", about="…") as recorder:
        run = recorder.run("task 1")
        llm = run.watch(llm)            # records each llm.chat(messages)
        read = run.tool("read", read)   # records each read(path="…")
        …

Each record is handed to the operating system as it happens: a process that is killed loses at most the line it was
writing, and `read_trace` takes what is left. (A machine that loses its power may lose more; with `durable=True` each
line waits for the disk.)
"""

import contextlib
import copy
import datetime
import itertools
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from workbook.context.trace import (
    End,
    File,
    Header,
    Message,
    Record,
    Request,
    Response,
    Run,
    Tool,
    Usage,
    common,
    encode,
)


class Recorder:
    """Writes one trace; its runs may be at work in several threads.

    Args:
        path: The file, which must not exist.
        name: The trace's name.
        about: What is recorded and how: what is real in it, and what is not.
        source: Its provenance: program, version, commit, seed, licence.
        durable: Waits for the disk after each line.
        clock: Returns seconds.

    Raises:
        FileExistsError: There is such a file: a trace is never overwritten.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str,
        about: str,
        source: Mapping[str, Any] | None = None,
        durable: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._clock, self._durable = clock, durable
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        self._numbers = itertools.count(1)
        self._start = clock()
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self._write(Header(name=name, about=about, recorded=now, source=dict(source or {})))

    def run(self, task: str, *, agent: str = "") -> "RunRecorder":
        """Begins a run."""
        run = f"run-{next(self._numbers)}"
        self._write(Run(run=run, time=self.now(), task=task, agent=agent))
        return RunRecorder(self, run)

    def now(self) -> float:
        """Returns the seconds since the recording began."""
        return round(self._clock() - self._start, 6)

    def _write(self, record: Header | Record) -> None:
        line = encode(record)
        with self._lock:
            size = os.fstat(self._file).st_size
            try:
                while line:
                    line = line[os.write(self._file, line) :]
            except BaseException:
                # A full disk takes a part of a line, and the next record would stand behind it.
                with contextlib.suppress(OSError):
                    os.ftruncate(self._file, size)
                raise
            if self._durable:
                os.fsync(self._file)

    def close(self) -> None:
        """Ends the recording."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RunRecorder:
    """Records one run; made by `Recorder.run`. Not for several threads at once.

    Attributes:
        name: The run's name in the trace.
    """

    def __init__(self, recorder: Recorder, name: str) -> None:
        self.name = name
        self._recorder = recorder
        self._requests, self._executions = itertools.count(1), itertools.count(1)
        self._last: str | None = None
        self._messages: list[Message] = []
        self._tools: list[dict[str, Any]] = []

    def request(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        model: str = "",
        server: str = "",
        retry_of: str | None = None,
    ) -> str:
        """Records that a context is sent, and returns the request's id."""
        keep = common(self._messages, messages)
        # What the agent changes afterwards must not change what its next context is compared with.
        definitions = [copy.deepcopy(dict(tool)) for tool in tools]
        new = [copy.deepcopy(dict(message)) for message in messages[keep:]]
        name = f"{self.name}/{next(self._requests)}"
        self._recorder._write(
            Request(
                run=self.name,
                id=name,
                time=self._recorder.now(),
                after=self._last,
                keep=keep if self._last else 0,
                messages=new,
                tools=None if definitions == self._tools else definitions,
                model=model,
                server=server,
                retry_of=retry_of,
            )
        )
        self._messages = [*self._messages[:keep], *new]
        self._last, self._tools = name, definitions
        return name

    def response(
        self,
        request: str,
        seconds: float,
        *,
        message: Message | None = None,
        usage: Usage | None = None,
        error: str | None = None,
    ) -> None:
        """Records what came back."""
        now = self._recorder.now()
        said = None if message is None else dict(message)
        self._recorder._write(
            Response(request=request, time=now, seconds=round(seconds, 6), message=said, usage=usage, error=error)
        )

    def executed(
        self,
        name: str,
        arguments: Mapping[str, Any],
        seconds: float,
        *,
        call: str = "",
        result: str | None = None,
        error: str | None = None,
        files: Sequence[File] = (),
    ) -> None:
        """Records that a tool ran, just now."""
        self._recorder._write(
            Tool(
                run=self.name,
                id=f"{self.name}/t{next(self._executions)}",
                call=call,
                name=name,
                time=round(max(self._recorder.now() - seconds, 0.0), 6),
                seconds=round(seconds, 6),
                request=self._last,
                arguments=dict(arguments),
                result_bytes=None if result is None else len(result.encode(errors="surrogatepass")),
                error=error,
                files=list(files),
            )
        )

    def end(self, outcome: str = "done") -> None:
        """Records that the run has ended."""
        self._recorder._write(End(run=self.name, time=self._recorder.now(), outcome=outcome))

    def watch(self, llm: Any, *, model: str = "") -> "Watched":
        """Returns a model whose `chat` is that of `llm` and is recorded; for `workbook.serving.LLM` and its like."""
        return Watched(self, llm, model or str(getattr(llm, "model", "")))

    def tool(
        self,
        name: str,
        function: Callable[..., str],
        *,
        call: str = "",
        describe: Callable[[BaseException], str] = lambda error: f"{type(error).__name__}: {error}",
        files: Callable[..., Sequence[File]] | None = None,
    ) -> Callable[..., str]:
        """Returns a tool that does what `function` does, and records it: its name, arguments, time, and errors.

        Args:
            name: The tool's name.
            function: Takes keyword arguments and returns text. What it raises is recorded and raised again.
            call: The id that the model gave the call.
            describe: Says what went wrong, "type: text".
            files: Says, given the same arguments, which files that uses.
        """

        def run(**arguments: Any) -> str:
            used = files(**arguments) if files else ()
            start = time.perf_counter()
            try:
                result = function(**arguments)
            except BaseException as error:
                seconds = time.perf_counter() - start
                self.executed(name, arguments, seconds, call=call, error=describe(error), files=used)
                raise
            self.executed(name, arguments, time.perf_counter() - start, call=call, result=result, files=used)
            return result

        return run


class Watched:
    """A model whose `chat` is recorded; made by `RunRecorder.watch`. Everything else is the model's own."""

    def __init__(self, run: RunRecorder, llm: Any, model: str) -> None:
        self._run, self._llm, self._model = run, llm, model

    def chat(self, messages: Sequence[Message], *arguments: Any, **options: Any) -> Any:
        """Calls the model's `chat`, and records what was sent, what came back, and how long it took."""
        request = self._run.request(messages, model=self._model)
        start = time.perf_counter()
        try:
            reply = self._llm.chat(messages, *arguments, **options)
        except BaseException as error:
            self._run.response(request, time.perf_counter() - start, error=f"{type(error).__name__}: {error}")
            raise
        self._run.response(
            request,
            reply.seconds,
            message={"role": "assistant", "content": reply.text},
            usage=Usage(
                input_tokens=reply.prompt_tokens,
                cached_tokens=reply.cached_tokens,
                output_tokens=reply.completion_tokens,
            ),
        )
        return reply

    def __getattr__(self, name: str) -> Any:
        return getattr(self._llm, name)
