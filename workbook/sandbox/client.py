r"""A client of the sandbox's service.

    with SandboxClient(url, token).session() as agent:
        agent.filesystem.write("data.csv", "a,b\n1,2\n")
        print(agent.execute("import csv; list(csv.reader(open('data.csv')))").text)
        agent.list_files("/")
        agent.http_fetch("https://example.org/", retries=3, on_error="retry_with_backoff")

It asks again where the service is away or full: a restart of the service is survived, and a cell is executed once. The
work is done by `client_async`, in a thread with an event loop; so this client may be used in a notebook, and by several
threads. For asynchronous code there is `AsyncSandboxClient`.
"""

from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import httpx

from workbook.sandbox.client_async import AsyncContext, AsyncSandboxClient, AsyncSession, OnError, OnOutput
from workbook.sandbox.client_errors import (
    BadAnswer,
    ConnectionLost,
    EgressDenied,
    EnvironmentChanged,
    EnvironmentUnavailable,
    FetchFailed,
    FetchTimeout,
    FileRefused,
    Forbidden,
    Full,
    Invalid,
    KeyConflict,
    MountError,
    NotFound,
    QuotaExceeded,
    SandboxError,
    SessionExists,
    SessionNotFound,
    Unauthorized,
    Unavailable,
)
from workbook.sandbox.client_files import Filesystem
from workbook.sandbox.client_programs import Program
from workbook.sandbox.client_results import CellFailed, CellResult, Fetched, FileEntry
from workbook.sandbox.client_runner import Runner

__all__ = [
    "AsyncSandboxClient",
    "BadAnswer",
    "CellFailed",
    "CellResult",
    "ConnectionLost",
    "Context",
    "EgressDenied",
    "EnvironmentChanged",
    "EnvironmentUnavailable",
    "FetchFailed",
    "FetchTimeout",
    "Fetched",
    "FileEntry",
    "FileRefused",
    "Filesystem",
    "Forbidden",
    "Full",
    "Invalid",
    "KeyConflict",
    "MountError",
    "NotFound",
    "Program",
    "QuotaExceeded",
    "SandboxClient",
    "SandboxError",
    "Session",
    "SessionExists",
    "SessionNotFound",
    "Unauthorized",
    "Unavailable",
]

_T = TypeVar("_T")


class SandboxClient:
    """Asks a service for sessions. A context manager; what it has not closed ends with the process."""

    def __init__(
        self, url: str, token: str, *, patience: float = 60.0, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """Prepares it; nothing is sent yet.

        Args:
            url: Of the service.
            token: Who asks.
            patience: Seconds for which it asks again where the service is away or full.
            transport: For tests.
        """
        self._runner = Runner()
        self._client = self._runner.run(_made(url, token, patience, transport))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends its connections. Sessions stay."""
        self._runner.run(self._client.close())
        self._runner.stop()

    def session(
        self,
        *,
        name: str | None = None,
        environment: str = "default",
        limits: Mapping[str, float] | None = None,
        mounts: Mapping[str, str] | Sequence[str] = (),
    ) -> "Session":
        """Makes a session; as a context manager it ends with its block. Arguments: see `AsyncSandboxClient.create`.

        Raises:
            MountError: Data that it was to begin with cannot be had.
            SandboxError: Or something else is in the way; see `client_errors`.
        """
        made = self._client.create(name=name, environment=environment, limits=limits, mounts=mounts)
        return Session(self._runner, self._runner.run(made))

    def attach(self, session: str) -> "Session":
        """Returns a session that there is already, by its id."""
        return Session(self._runner, self._client.attach(session))

    def sessions(self) -> list[str]:
        """Returns the ids of your open sessions."""
        return self._runner.run(self._client.sessions())

    def environments(self) -> list[str]:
        """Returns the names of the environments."""
        return self._runner.run(self._client.environments())


class Session:
    """A session. A context manager, which ends it.

    Attributes:
        id: What the service calls it.
        filesystem: Its files.
    """

    def __init__(self, runner: Runner, session: AsyncSession) -> None:
        self._runner, self._session = runner, session
        self.id = session.id
        self.filesystem = Filesystem(runner, session.filesystem)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def execute(
        self,
        code: str,
        *,
        context: str = "main",
        timeout: float = 30.0,
        on_output: OnOutput | None = None,
        key: str | None = None,
        wait: float | None = None,
    ) -> CellResult:
        """Executes a cell; see `AsyncSession.execute`. Ctrl-C interrupts the cell, too.

        Raises:
            SandboxError: There is no result. A cell that ends badly is one: see `CellResult.check`.
        """

        def start(on_output: OnOutput | None) -> Coroutine[Any, Any, CellResult]:
            return self._session.execute(
                code, context=context, timeout=timeout, on_output=on_output, key=key, wait=wait
            )

        try:
            if on_output is None:
                return self._runner.run(start(None))
            return self._runner.run_calling(start, on_output)
        except KeyboardInterrupt:
            with suppress(SandboxError):
                self.interrupt(context)
            raise

    def interrupt(self, context: str = "main") -> None:
        """Raises KeyboardInterrupt in the cell that runs in a context."""
        self._runner.run(self._session.interrupt(context))

    def context(self, name: str) -> "Context":
        """Returns a context, which is opened where it is not there."""
        return Context(self, self._runner.run(self._session.context(name)))

    def contexts(self) -> list[str]:
        """Returns the names of its contexts."""
        return self._runner.run(self._session.contexts())

    def list_files(self, path: str = "") -> list[FileEntry]:
        """Returns what is in a folder of it."""
        return self.filesystem.list(path)

    def http_fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout: float = 10.0,
        retries: int = 2,
        on_error: OnError = "raise",
    ) -> Fetched:
        """Has the service fetch a URL, by its rules; what comes is in the session's log.

        Raises:
            EgressDenied: It may not be fetched.
            FetchTimeout, FetchFailed: It could not be.
        """
        asked = self._session.http_fetch(
            url, method=method, headers=headers, body=body, timeout=timeout, retries=retries, on_error=on_error
        )
        return self._runner.run(asked)

    def run(
        self, command: Sequence[str], *, environment: Mapping[str, str] | None = None, has_input: bool = False
    ) -> "Program":
        """Starts a program in the workspace; see `AsyncSession.run`."""
        started = self._session.run(command, environment=environment, has_input=has_input)
        return Program(self._runner, self._runner.run(started))

    def events(self, after: int = 0, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """Gives what is in its log, to the end; see `AsyncSession.events`."""
        pages = self._session._pages(after, limit)
        while (page := self._runner.run(_next(pages))) is not None:
            yield from page

    def close(self, *, forget: bool = False) -> None:
        """Ends it for good; its log is kept, unless it is to be forgotten."""
        self._runner.run(self._session.close(forget=forget))

    def __repr__(self) -> str:
        return f"<Session {self.id}>"


@dataclass
class Context:
    """A context of a session: it has variables of its own, and the files of all."""

    session: Session
    _context: AsyncContext = field(repr=False)

    @property
    def name(self) -> str:
        """What it is called by."""
        return self._context.name

    def execute(self, code: str, **options: Any) -> CellResult:
        """Executes a cell in it. Arguments: see `Session.execute`."""
        return self.session.execute(code, context=self.name, **options)

    def interrupt(self) -> None:
        """Raises KeyboardInterrupt in the cell that it runs."""
        self.session.interrupt(self.name)

    def end(self) -> None:
        """Ends it, with all that its cells have defined."""
        self.session._runner.run(self._context.end())


async def _next(items: AsyncIterator[_T]) -> _T | None:
    return await anext(items, None)


async def _made(
    url: str, token: str, patience: float, transport: httpx.AsyncBaseTransport | None
) -> AsyncSandboxClient:
    return AsyncSandboxClient(url, token, patience=patience, transport=transport)
