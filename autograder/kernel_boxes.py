"""What kernels of both languages stand on: boxes to compile and run them in, and what it means when one is silent."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from autograder.acceptance import NotRun
from autograder.asker import DIED, NO_ANSWER, WorkerLost

if TYPE_CHECKING:
    from workbook.sandbox.isolation.box import Box
    from workbook.sandbox.isolation.server import ForkServer

RUN_ARCH = 80
"""What a kernel is compiled for before it is run."""

LONGEST = 3600.0
"""Seconds that a question may take where the deadline interrupts by itself."""

Counting = Callable[[], AbstractContextManager[None]]
"""Makes a block of which the time counts."""

_PROJECT = Path(__file__).parents[1]


class KernelBoxes:
    """Gives each question a box of its own. The fork server is started when first needed; threads may share it.

    That takes seconds, which are of the time of whoever asks first; `start` is there to take them from nobody's.
    """

    def __init__(
        self, entry: str, files: Sequence[str], *, filtered: bool, environment: Mapping[str, str] | None = None
    ) -> None:
        """Prepares.

        Args:
            entry: The module that the processes run.
            files: What they find of the project, as patterns.
            filtered: Whether the boxes are under a system call filter.
            environment: Of the processes.
        """
        self._entry, self._files, self._filtered = entry, files, filtered
        self._environment = dict(environment or {})
        self._server: ForkServer | None = None
        self._starting = threading.Lock()

    def start(self) -> None:
        """Starts the server, if it can be and does not run yet; a question says why it could not."""
        from workbook.sandbox.isolation.server import IsolationError

        with suppress(IsolationError):
            self._started()

    @contextmanager
    def box(self) -> "Iterator[Box]":
        """Gives a box.

        Raises:
            NotRun: None can be made on this machine.
        """
        from workbook.sandbox.isolation.server import IsolationError

        try:
            box = self._started().box()
        except IsolationError as error:
            raise NotRun(f"no clean process for kernels can be made: {error}") from error
        with box:
            yield box

    def _started(self) -> "ForkServer":
        from workbook.sandbox.isolation.server import ForkServer

        with self._starting:
            if self._server is None:
                places = [path for name in self._files for path in _PROJECT.glob(name)]
                self._server = ForkServer(
                    self._entry,
                    library={str(path.relative_to(_PROJECT)): path for path in places},
                    environment=self._environment,
                    filtered=self._filtered,
                )
            return self._server

    def servers(self) -> "list[ForkServer]":
        """Returns the fork servers that run."""
        return [] if self._server is None else [self._server]

    def close(self) -> None:
        """Ends all processes."""
        if self._server is not None:
            self._server.close()
            self._server = None


@contextmanager
def answering(doing: str) -> Iterator[None]:
    """Raises WorkerLost in the block where a process gives no answer.

    Args:
        doing: What it had to do, as in "while it compiled add".
    """
    from workbook.sandbox.isolation.channel import ChannelClosed, ChannelError
    from workbook.sandbox.isolation.server import BoxDied

    try:
        yield
    except TimeoutError:
        raise WorkerLost(NO_ANSWER) from None
    except BoxDied as error:
        raise WorkerLost(f"{DIED}: {error.reason}, {doing}") from error
    except ChannelClosed as error:
        raise WorkerLost(f"{DIED} {doing}") from error
    except ChannelError as error:
        raise WorkerLost(f"the process broke the protocol {doing}: {error}") from error
