# differs: an async client and an async manager, in an event loop that has a thread of its own; one class for all cells

# %% nbgrader={"grade_id": "executor"}
import asyncio
import threading

from jupyter_client.manager import AsyncKernelManager


class Executor:
    """Waits for coroutines, which a thread runs for as long as the executor is open."""

    def __init__(self) -> None:
        self.folder = Path.cwd()
        self.manager: Any = None
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def wait_for(self, coroutine: Any) -> Any:
        """Returns what a coroutine returns."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def execute(self, code: str, timeout: float = 10.0) -> str:
        """Returns what the cell printed, its value, its error."""
        return self.wait_for(self.run(code, timeout))

    def close(self) -> None:
        """Ends the kernel, then the loop and its thread."""
        if self.thread.is_alive():
            self.wait_for(self.discard())
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join()
            self.loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    async def begin(self) -> None:
        """Starts a kernel and makes its stdout and stderr one."""
        self.private = tempfile.TemporaryDirectory(prefix="agent-")
        path = f"{self.private.name}/kernel"
        self.manager = AsyncKernelManager(transport="ipc", ip=path, connection_file=f"{path}.json")
        folder = str(self.folder)
        await self.manager.start_kernel(cwd=folder, stdout=DEVNULL, stderr=DEVNULL)
        self.client = self.manager.client()
        self.client.start_channels()
        await self.client.wait_for_ready(timeout=60)
        self.client.execute("import sys; sys.stderr = sys.stdout")

    async def discard(self) -> None:
        """Ends the kernel, if there is one."""
        manager, self.manager = self.manager, None
        if manager is not None:
            self.client.stop_channels()
            await manager.shutdown_kernel(now=True)
            self.private.cleanup()

    async def run(self, code: str, timeout: float) -> str:
        """Executes a cell to one of its ends."""
        if self.manager is None:
            await self.begin()
        output, self.error = Output(), ""
        request = self.client.execute(code, allow_stdin=False)
        cell = asyncio.ensure_future(self.cell(request, output))
        death = asyncio.ensure_future(self.death())
        why = f"TimeoutError: {timeout:g} s are over"
        await asyncio.wait({cell, death}, timeout=timeout, return_when="FIRST_COMPLETED")
        in_time = cell.done() or death.done()
        if not in_time:
            await self.manager.interrupt_kernel()
            await asyncio.wait({cell, death}, timeout=2.0, return_when="FIRST_COMPLETED")
        ended, dead = cell.done(), death.done()
        for task in (cell, death):
            task.cancel()
        await asyncio.gather(cell, death, return_exceptions=True)
        if ended:
            return output.finished(self.error if in_time else why)
        await self.discard()
        return output.finished(f"{'DeadKernelError: it died' if dead else why}; state lost")

    async def death(self) -> None:
        """Ends when the process does."""
        while await self.manager.is_alive():
            await asyncio.sleep(0.05)

    async def cell(self, request: str, output: Output) -> None:
        """Reads both channels to the cell's end."""
        printed = asyncio.ensure_future(self.printed(request, output))
        try:
            reply = await self.client.get_shell_msg()
            while reply["parent_header"].get("msg_id") != request:
                reply = await self.client.get_shell_msg()
            content = reply["content"]
            if content["status"] == "error":
                self.error = f"{content['ename']}: {content['evalue']}"
            await asyncio.wait({printed}, timeout=1.0)
        finally:
            printed.cancel()

    async def printed(self, request: str, output: Output) -> None:
        """Gathers output until the kernel is idle again."""
        while True:
            message = await self.client.get_iopub_msg()
            kind, content = message["msg_type"], message["content"]
            if message["parent_header"].get("msg_id") != request:
                continue
            if kind == "stream":
                output.add(content["text"])
            elif kind == "execute_result":
                output.add_line(content["data"]["text/plain"])
            elif kind == "status" and content["execution_state"] == "idle":
                return


# %% nbgrader={"grade_id": "jupyter-agent"}
class JupyterAgent(Agent):
    """All of it is there already."""
