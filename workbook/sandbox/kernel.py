"""Executes code in a Jupyter kernel, and comes back: with its output, or with the reason why there is none.

`AsyncKernel` and `Kernel` are one executor in two dresses. Cells run one at a time. A message belongs to a cell if its
parent is that cell's request; a cell is over when both the reply and the status "idle" have come. At its deadline a
cell is interrupted, and if that does not help the kernel is killed; the next cell then gets a new one. So does the
next cell after a kernel that died.

What comes out of a kernel is not to be trusted: the code in it holds the key that signs its messages, so it can forge
output, a reply, an early end, also those of later cells while something of it still runs. It cannot make a call hang
or fill our memory. In a flood a kernel may drop messages from the middle of its output, which nothing shows.
"""

import asyncio
import atexit
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from workbook.sandbox.outputs import CellError, Outputs, Result, Status, cell_error, execution_count
from workbook.sandbox.process import LONGEST_MESSAGE, KernelError, KernelProcess, Message

__all__ = ["AsyncKernel", "Kernel", "KernelError", "Limits", "Message", "Result"]

SKIMMED = 65_536  # bytes; longer messages are not even read once output is truncated
TICK = 0.05  # s, how often a kernel that says nothing is looked at: has it died, is it time?
T = TypeVar("T")
OnMessage = Callable[[Message], None]


@dataclass(frozen=True)
class Limits:
    """What a cell may take.

    Attributes:
        output_bytes: of output kept; the rest is dropped.
        outputs: entries kept in `Result.outputs`; consecutive prints share one.
        interrupt_grace: seconds that a cell has to end after its deadline's interrupt, before its kernel is killed.
        idle_grace: seconds to wait for the status "idle" after the reply; a kernel drops it in a flood of output.
        start_timeout: seconds for a kernel to become ready.
    """

    output_bytes: int = 1_000_000
    outputs: int = 1_000
    interrupt_grace: float = 2.0
    idle_grace: float = 1.0
    start_timeout: float = 60.0


class _Exchange:
    """A request to a kernel and what has come back for it."""

    def __init__(self, request: Message, limits: Limits, on_message: OnMessage | None) -> None:
        self.request = request
        self.outputs = Outputs(limits.output_bytes, limits.outputs)
        self.reply: dict[str, Any] | None = None
        self.replied_at = 0.0
        self.begun = self.idle = False
        self.execution_count: int | None = None
        self.on_message = on_message

    def take(self, message: Message) -> None:
        if self.on_message is not None:
            self.on_message(message)
        if message.parent_id != self.request.id:
            return  # an earlier cell's, late
        if message.channel == "shell":
            if message.type == "execute_reply":
                self.reply, self.replied_at = message.content, message.time
        elif message.type == "status":
            self.idle |= message.content.get("execution_state") == "idle"
        elif message.type == "execute_input":
            self.begun = True
            self.execution_count = execution_count(message.content)
        else:
            self.outputs.add(message)

    def result(self, status: Status, error: CellError | None, *, state_lost: bool = False) -> Result:
        outputs = self.outputs
        if error is not None:
            error = outputs.bounded(error)
        return Result(
            outputs=outputs.list,
            status=status,
            error=error,
            state_lost=state_lost,
            truncated=outputs.truncated,
            seconds=time.perf_counter() - self.request.time,
            execution_count=self.execution_count,
        )


class AsyncKernel:
    """A Jupyter kernel that executes one cell at a time. An async context manager; starts when first needed.

    Args:
        cwd: the kernel's working folder; ours by default.
        env: its whole environment; ours by default.
        limits: what a cell may take.
        kernel_name: as `jupyter kernelspec list` shows it.
    """

    def __init__(
        self,
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        limits: Limits = Limits(),
        kernel_name: str = "python3",
    ) -> None:
        self.limits = limits
        self._start_arguments = (kernel_name, cwd, env, limits.start_timeout)
        self._process: KernelProcess | None = None
        self._lock = asyncio.Lock()  # held by whoever uses or replaces the process
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The kernel's process id; None while there is no kernel."""
        return self._process.pid if self._process is not None else None

    async def __aenter__(self) -> Self:
        async with self._lock:
            await self._ensure_process()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def execute(self, code: str, timeout: float = 10.0, *, on_message: OnMessage | None = None) -> Result:
        """Executes a cell and waits for its result.

        If the call is cancelled, or `on_message` raises, the cell is interrupted first, or its kernel killed.

        Args:
            code: what a notebook's cell may hold: Python, magics, shell commands.
            timeout: seconds until the cell is interrupted; the wait for earlier cells does not count.
            on_message: is given each message on the shell and iopub channels, other cells' late ones included.

        Raises:
            KernelError: the kernel cannot be started, or is closed.
        """
        async with self._lock:
            process = await self._ensure_process()
            exchange = _Exchange(process.execute(code), self.limits, on_message)
            try:
                if on_message is not None:
                    on_message(exchange.request)
                return await self._finish(process, exchange, timeout)
            except BaseException:
                exchange.on_message = None
                await self._calm(process, exchange)
                raise

    async def interrupt(self) -> None:
        """Raises KeyboardInterrupt in the running cell; an idle kernel ignores it."""
        if self._process is not None:
            await self._process.interrupt()

    async def restart(self) -> None:
        """Kills the kernel, in the middle of a cell too, and starts a new one.

        Raises:
            KernelError: the kernel cannot be started, or is closed.
        """
        if self._process is not None:
            self._process.kill()
        async with self._lock:
            await self._discard()
            await self._ensure_process()

    async def close(self) -> None:
        """Kills the kernel, in the middle of a cell too, and removes all that it had. Safe to call twice."""
        self._closed = True
        if self._process is not None:
            self._process.kill()
        async with self._lock:
            await self._discard()

    async def _ensure_process(self) -> KernelProcess:
        if self._closed:
            raise KernelError("this kernel is closed; make a new one")
        if self._process is None:
            self._process = await KernelProcess.start(*self._start_arguments)
        return self._process

    async def _discard(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await process.close()

    async def _finish(self, process: KernelProcess, exchange: _Exchange, timeout: float) -> Result:
        """Waits for the end of a cell, one way or another."""
        deadline = exchange.request.time + timeout
        interrupts, allowed = 0, 1
        while True:
            wait = max(0.0, min(TICK, deadline - time.perf_counter()))
            messages = await process.receive(wait, SKIMMED if exchange.outputs.truncated else LONGEST_MESSAGE)
            for message in messages:
                exchange.take(message)
            now = time.perf_counter()
            quiet = not messages and now - exchange.replied_at > self.limits.idle_grace
            ended = exchange.reply is not None and (exchange.idle or quiet or now > deadline)
            # An interrupt that hits ipykernel's own code, just before the cell begins, costs the reply.
            unanswered = interrupts and exchange.idle and now > deadline
            if ended or unanswered:
                return await self._conclude(process, exchange, timeout if interrupts else None)
            if not messages and not await process.is_alive():
                why = f"the kernel {await process.how_it_ended()}; state lost"
                await self._discard()
                return exchange.result("died", CellError("DeadKernelError", why), state_lost=True)
            if now < deadline:
                continue
            if interrupts == allowed:
                why = f"the cell ran for {timeout:g} s and ignored the interrupt, so its kernel was killed; state lost"
                await self._discard()
                return exchange.result("timeout", CellError("TimeoutError", why), state_lost=True)
            if not interrupts and not exchange.begun:
                allowed = 2  # the first one is ignored if it comes before the cell has begun
            await process.interrupt()
            interrupts += 1
            deadline = now + self.limits.interrupt_grace / allowed

    async def _conclude(self, process: KernelProcess, exchange: _Exchange, overrun: float | None) -> Result:
        """The result of a cell that has ended; `overrun` is the timeout at which it was interrupted, if it was."""
        reply = exchange.reply or {}
        end = "the cell ended the kernel" if _asks_to_exit(reply) else None
        if end is None and not exchange.idle:
            # In a flood the kernel drops messages; and an enormous one ends the connection.
            exchange.outputs.truncated = True
            try:
                await process.resubscribe(self.limits.interrupt_grace)
            except KernelError as error:
                end = str(error)
        if end is not None:
            await self._discard()
            return exchange.result("died", CellError("DeadKernelError", f"{end}; state lost"), state_lost=True)
        if overrun is not None:
            why = f"the cell was interrupted after {overrun:g} s; what earlier cells defined is kept"
            return exchange.result("timeout", CellError("TimeoutError", why))
        if reply.get("status") == "ok":
            return exchange.result("ok", None)
        return exchange.result("error", cell_error(reply))

    async def _calm(self, process: KernelProcess, exchange: _Exchange) -> None:
        """Ends a cell that nobody waits for any more, so that it does not keep the kernel busy."""
        if self._process is None:
            return
        try:
            await self._finish(process, exchange, timeout=0.0)
        except BaseException:
            await self._discard()
            raise


def _asks_to_exit(reply: dict[str, Any]) -> bool:
    """Whether a cell called IPython's `exit` or `quit`, which is not an error to the kernel."""
    payload = reply.get("payload")
    return any(
        isinstance(item, dict) and item.get("source") == "ask_exit" and not item.get("keepkernel")
        for item in (payload if isinstance(payload, list) else [])
    )


class Kernel:
    """`AsyncKernel` for code that is not async. A context manager; may be shared by threads.

    It works inside a notebook too, whose own event loop already runs: its loop has a thread of its own, in which
    `on_message` is called.
    """

    def __init__(
        self,
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        limits: Limits = Limits(),
        kernel_name: str = "python3",
    ) -> None:
        self._kernel = AsyncKernel(cwd=cwd, env=env, limits=limits, kernel_name=kernel_name)
        self._loop = asyncio.SelectorEventLoop()  # ZeroMQ cannot work with Windows' default
        self._thread = threading.Thread(target=self._loop.run_forever, name="kernel", daemon=True)
        self._thread.start()
        self._gate = threading.Lock()  # nothing is handed to the loop while it is being closed
        atexit.register(self.close)

    @property
    def pid(self) -> int | None:
        """The kernel's process id; None while there is no kernel."""
        return self._kernel.pid

    def __enter__(self) -> Self:
        try:
            self._wait_for(self._kernel.__aenter__())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def execute(self, code: str, timeout: float = 10.0, *, on_message: OnMessage | None = None) -> Result:
        """Executes a cell and waits for its result; see `AsyncKernel.execute`. Ctrl-C interrupts the cell as well."""
        return self._wait_for(self._kernel.execute(code, timeout, on_message=on_message))

    def interrupt(self) -> None:
        """Raises KeyboardInterrupt in the running cell; an idle kernel ignores it."""
        self._wait_for(self._kernel.interrupt())

    def restart(self) -> None:
        """Kills the kernel, in the middle of a cell too, and starts a new one."""
        self._wait_for(self._kernel.restart())

    def close(self) -> None:
        """Kills the kernel, in the middle of a cell too, and removes all that it had. Safe to call twice."""
        with self._gate:
            if not self._thread.is_alive():
                return
            asyncio.run_coroutine_threadsafe(self._kernel.close(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
        atexit.unregister(self.close)

    def _wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        with self._gate:
            if not self._thread.is_alive():
                coroutine.close()
                raise KernelError("this kernel is closed; make a new one")
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        finally:
            future.cancel()  # without effect on what is done; after Ctrl-C, ends what nobody waits for
