"""A papermill engine that executes a notebook in an ordinary Jupyter kernel and ends everything that it started."""

import contextlib
import logging
import os
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
from jupyter_client.manager import AsyncKernelManager
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines

from autograder.notebooks import KERNELSPEC

ENGINE = "kernel"
_MARK = "AUTOGRADER_RUN"  # in the environment of a kernel and of all its descendants


class KernelExitError(Exception):
    """A cell asked its kernel to exit."""


class Execution:
    """One execution of a notebook in a kernel of its own: what it may do, how far it has come, what it left.

    Attributes:
        notebook: The notebook with the outputs so far; None before the start.
        current: The code cell that is executing; None between cells.
        exit_status: The kernel's, where it died by itself: a signal's number, negative, or what it exited with.
        log: What the kernel and the libraries around it wrote besides the cells' outputs.
        left_behind: Names of processes that the notebook had started and that outlived its kernel; they were ended.
    """

    def __init__(self, cwd: Path, timeout: int, on_cell: Callable[[Any], None], *, past_errors: bool = False) -> None:
        """Prepares an execution.

        Args:
            cwd: The kernel's working directory.
            timeout: Limit of a cell, in seconds.
            on_cell: Is called with each code cell before it executes; what it raises ends the execution.
            past_errors: Go on behind a cell that raises an error.
        """
        self.cwd = cwd
        self.timeout = timeout
        self.past_errors = past_errors
        self.notebook: Any = None
        self.current: Any = None
        self.exit_status: int | None = None
        self.log = ""
        self.left_behind: list[str] = []
        self._on_cell = on_cell
        self._mark = uuid.uuid4().hex

    def environment(self, folder: Path) -> dict[str, str]:
        """Returns the kernel's environment: ours, the mark, and two folders in `folder`.

        They are for IPython, which then has none of this user's settings, and for temporary files, which a killed
        kernel does not remove.
        """
        temporary = folder / "tmp"
        temporary.mkdir()
        return {**os.environ, _MARK: self._mark, "IPYTHONDIR": str(folder / "ipython"), "TMPDIR": str(temporary)}

    def cell_starts(self, cell: Any, cell_index: int) -> None:  # noqa: ARG002 - nbclient names its arguments
        """Notes which cell executes."""
        self._on_cell(cell)
        self.current = cell

    def cell_replied(self, cell: Any, cell_index: int, execute_reply: dict[str, Any]) -> None:  # noqa: ARG002
        """Notes that the cell is done.

        Raises:
            KernelExitError: By `quit()` or the like. It would show only at the next cell, and after the last one never.
        """
        if any(payload.get("source") == "ask_exit" for payload in execute_reply["content"].get("payload", [])):
            raise KernelExitError
        self.current = None

    def note_exit(self, manager: Any) -> None:
        """Notes how the kernel ended, if it has."""
        process = getattr(manager.provisioner, "process", None)  # a local provisioner's subprocess.Popen
        self.exit_status = process and process.poll()

    def processes(self) -> list[psutil.Process]:
        """Returns the kernel and all that it started, also what has left its process group or lost its parent."""
        return [process for process in psutil.process_iter() if self._is_marked(process)]

    def _is_marked(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(_MARK) == self._mark
        except (psutil.Error, OSError):
            return False

    def kill(self) -> None:
        """Kills the kernel and all that it started. May be called from a signal handler, at any time, repeatedly."""
        for _ in range(5):  # again, for what was started meanwhile
            processes = self.processes()
            if not processes:
                return
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(processes, timeout=5)

    def end_left_behind(self, grace: float = 3.0) -> None:
        """Kills what outlived the kernel, after a moment in which it can end by itself."""
        deadline = time.monotonic() + grace
        while (processes := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        for process in processes:
            with contextlib.suppress(psutil.Error):
                self.left_behind.append(f"{process.name()} ({process.pid})")
        self.kill()


class _Client(PapermillNotebookClient):  # type: ignore[misc]
    """papermill's client, except that it does not ask a kernel politely which hangs, is dead, or is about to exit."""

    execution: Execution

    def papermill_execute_cells(self) -> None:
        try:
            super().papermill_execute_cells()
        except BaseException:
            self.execution.note_exit(self.km)
            self.execution.kill()
            raise


class KernelEngine(Engine):  # type: ignore[misc]
    """Executes a notebook in an ordinary kernel; takes an `Execution` as its engine argument `execution`."""

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: Any,
        kernel_name: str,
        *,
        execution: Execution,
        **_: Any,
    ) -> None:
        """Executes the notebook.

        Args:
            nb_man: papermill's NotebookExecutionManager.
            kernel_name: A Jupyter kernel spec.
            execution: What it may do, and where its progress is noted.

        Raises:
            nbclient.exceptions.CellTimeoutError: A cell took longer than the limit, or its outputs did not arrive.
            nbclient.exceptions.DeadKernelError: The kernel died.
            RuntimeError: The kernel did not start.
            KernelExitError: A cell asked for it.
        """
        execution.notebook = nb_man.nb
        with tempfile.TemporaryDirectory(prefix="run-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            log = folder / "log"
            try:
                with _logging_to(log), log.open("ab") as kernel_output:
                    client = _Client(
                        nb_man,
                        # Unix sockets in a folder of its own: quicker than TCP, and kernels cannot meet on a port.
                        km=AsyncKernelManager(
                            kernel_name=kernel_name,
                            transport="ipc",
                            ip=str(folder / "socket"),
                            connection_file=str(folder / "kernel.json"),
                        ),
                        kernel_name=kernel_name,
                        timeout=execution.timeout,
                        allow_errors=execution.past_errors,
                        iopub_timeout=60,  # a busy machine may need a while for large outputs
                        shell_timeout_interval=1,
                        on_cell_execute=execution.cell_starts,
                        on_cell_executed=execution.cell_replied,
                    )
                    client.execution = execution
                    # A kernel's own stdout is not ours: that may carry JSON.
                    client.execute(
                        cleanup_kc=True,
                        cwd=str(execution.cwd),
                        env=execution.environment(folder),
                        stdout=kernel_output,
                        stderr=subprocess.STDOUT,
                    )
            finally:
                execution.end_left_behind()
                execution.log = log.read_text(encoding="utf-8", errors="replace")


papermill_engines.register(ENGINE, KernelEngine)


def execute_notebook(path: Path, execution: Execution, parameters: Mapping[str, Any] | None = None) -> None:
    """Executes a notebook; what it puts out is in `execution.notebook`, the file stays as it is.

    Args:
        path: The notebook.
        execution: What it may do, and where its progress is noted.
        parameters: Values for the names in its parameters cells.

    Raises:
        papermill.exceptions.PapermillExecutionError: A cell raised an error.
        Exception: What KernelEngine raises.
    """
    import papermill

    papermill.execute_notebook(
        str(path).replace("{", "{{").replace("}", "}}"),  # papermill fills in parameters
        None,
        parameters=dict(parameters or {}),
        engine_name=ENGINE,
        kernel_name=KERNELSPEC["name"],
        language=KERNELSPEC["language"],
        progress_bar=False,
        execution=execution,
    )


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Sends what libraries log to a file: shown when a run fails, noise when it does not."""
    handler = logging.FileHandler(path, encoding="utf-8")
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
