"""The asynchronous client of the sandbox's service; `client` has the one for everybody else.

async with AsyncSandboxClient(url, token) as client, client.session() as agent:
result = await agent.execute("1 + 1")
"""

import base64
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, Self

import httpx

from workbook.sandbox.client_errors import BadAnswer, SessionNotFound
from workbook.sandbox.client_files import AsyncFilesystem
from workbook.sandbox.client_programs import AsyncProgram
from workbook.sandbox.client_results import (
    CellResult,
    Fetched,
    FileEntry,
    fetched_of,
    result_of,
    typed,
)
from workbook.sandbox.client_wire import Request, Wire, new_key, quoted

OnOutput = Callable[[str, dict[str, Any]], None]
"""Takes a message's type and content, as Jupyter's protocol has them, while a cell runs."""

OnError = Literal["raise", "return", "retry_with_backoff"]

_STREAMED_FROM = 30.0  # seconds of a cell from which on its answer is a stream, whose silence tells that it is dead
_PAGE = 1000  # events that the service is asked for at once; it sends fewer where they are large
_MORE = 300.0  # seconds that a cell may wait for those before it


class AsyncSandboxClient:
    """Asks a service for sessions. An asynchronous context manager."""

    def __init__(
        self, url: str, token: str, *, patience: float = 60.0, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """Prepares it; nothing is sent yet. Arguments: see `client_wire.Wire`."""
        self._wire = Wire(url, token, patience=patience, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends its connections. Sessions stay."""
        await self._wire.close()

    async def create(
        self,
        *,
        name: str | None = None,
        environment: str = "default",
        limits: Mapping[str, float] | None = None,
        mounts: Mapping[str, str] | Sequence[str] = (),
    ) -> "AsyncSession":
        """Makes a session, which lasts until it is closed.

        Args:
            name: What it is called, among yours.
            environment: What it can import.
            limits: What it may use, as `{"memory": 1 << 30}`; at most, and otherwise, what the service says.
            mounts: Data that it begins with: names, or the folder of each name.

        Raises:
            MountError: Data cannot be had.
            EnvironmentUnavailable: The environment cannot.
            Full, QuotaExceeded, SessionExists: There is no room, for you, or under this name.
        """
        folders = dict(mounts) if isinstance(mounts, Mapping) else {mount: mount for mount in mounts}
        body: dict[str, Any] = {"environment": environment, "limits": dict(limits or {}), "mounts": folders}
        if name is not None:
            body["id"] = name
        asked = Request("POST", "/v1/sessions", body=body, key=new_key(), seconds=660.0)  # an environment may be made
        answer = await self._wire.json(asked)
        return AsyncSession(self._wire, typed(answer, "id", str))

    def attach(self, session: str) -> "AsyncSession":
        """Returns a session that there is already, by its id."""
        return AsyncSession(self._wire, session)

    @asynccontextmanager
    async def session(self, **options: Any) -> AsyncIterator["AsyncSession"]:
        """Makes a session for a block, which ends with it. Arguments: see `create`."""
        made = await self.create(**options)
        try:
            yield made
        finally:
            await made.close()

    async def sessions(self) -> list[str]:
        """Returns the ids of your open sessions."""
        answer = await self._wire.json(Request("GET", "/v1/sessions"))
        return [typed(one, "id", str) for one in typed(answer, "sessions", list)]

    async def environments(self) -> list[str]:
        """Returns the names of the environments."""
        answer = await self._wire.json(Request("GET", "/v1/environments"))
        return [str(name) for name in typed(answer, "environments", list)]


@dataclass
class AsyncContext:
    """A context of a session: it has variables of its own, and the files of all.

    Attributes:
        name: What it is called by.
    """

    session: "AsyncSession"
    name: str

    async def execute(self, code: str, **options: Any) -> CellResult:
        """Executes a cell in it. Arguments: see `AsyncSession.execute`."""
        return await self.session.execute(code, context=self.name, **options)

    async def interrupt(self) -> None:
        """Raises KeyboardInterrupt in the cell that it runs."""
        await self.session.interrupt(self.name)

    async def end(self) -> None:
        """Ends it, with all that its cells have defined."""
        await self.session._delete(f"/contexts/{quoted(self.name)}")


class AsyncSession:
    """A session.

    Attributes:
        id: What the service calls it.
        filesystem: Its files.
    """

    def __init__(self, wire: Wire, session: str) -> None:
        self.id, self._wire = session, wire
        self._path = f"/v1/sessions/{quoted(session)}"
        self.filesystem = AsyncFilesystem(wire, self._path)

    async def execute(
        self,
        code: str,
        *,
        context: str = "main",
        timeout: float = 30.0,
        on_output: OnOutput | None = None,
        key: str | None = None,
        wait: float | None = None,
    ) -> CellResult:
        """Executes a cell when those before it in its context are done. A restart of the service is survived.

        Args:
            code: Its source.
            context: Where.
            timeout: Seconds that it may take.
            on_output: Is called with its messages while it runs; after a lost connection some may come again, or never.
            key: What makes it one cell, however often it is sent; by itself each call is a cell of its own.
            wait: Seconds until the result must be there, with the cells before it; five minutes more than `timeout`.

        Raises:
            SandboxError: There is no result. A cell that ends badly is one: see `CellResult.check`.
        """
        asked = Request(
            "POST",
            f"{self._path}/execute",
            body={"code": code, "context": context, "timeout": timeout},
            key=key or new_key(),
            seconds=timeout + _MORE if wait is None else wait,
        )
        if on_output is None and timeout <= _STREAMED_FROM:
            return result_of(await self._wire.json(asked))
        results: list[CellResult] = []

        def on_event(_: str, kind: str, data: dict[str, Any]) -> bool:
            if kind == "output" and on_output is not None:
                on_output(typed(data, "msg_type", str), typed(data, "content", dict))
            elif kind == "result":
                results.append(result_of(data))
            elif kind == "problem":
                self._wire.refuse(data)
            return kind == "result"

        await self._wire.stream(asked, on_event)
        return results[0]

    async def interrupt(self, context: str = "main") -> None:
        """Raises KeyboardInterrupt in the cell that runs in a context."""
        await self._wire.json(Request("POST", f"{self._path}/interrupt", body={"context": context}))

    async def context(self, name: str) -> AsyncContext:
        """Returns a context, which is opened where it is not there."""
        await self._wire.json(Request("POST", f"{self._path}/contexts", body={"name": name}))
        return AsyncContext(self, name)

    async def contexts(self) -> list[str]:
        """Returns the names of its contexts."""
        answer = await self._wire.json(Request("GET", f"{self._path}/contexts"))
        return [str(name) for name in typed(answer, "contexts", list)]

    async def list_files(self, path: str = "") -> list[FileEntry]:
        """Returns what is in a folder of it."""
        return await self.filesystem.list(path)

    async def http_fetch(
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
        asked = {
            **{"url": url, "method": method, "headers": dict(headers or {}), "timeout": timeout, "retries": retries},
            **{"on_error": on_error, "body_base64": base64.b64encode(body).decode()},
        }
        request = Request("POST", f"{self._path}/http_fetch", body=asked, key=new_key(), seconds=timeout + 60.0)
        return fetched_of(await self._wire.json(request))

    async def run(
        self, command: Sequence[str], *, environment: Mapping[str, str] | None = None, has_input: bool = False
    ) -> "AsyncProgram":
        """Starts a program in the workspace.

        Args:
            command: The program and its arguments.
            environment: Variables besides those that there are.
            has_input: Whether `write` will give it something to read.

        Raises:
            FileRefused: It cannot be started.
        """
        body = {"command": list(command), "environment": dict(environment or {}), "input": has_input}
        answer = await self._wire.json(Request("POST", f"{self._path}/processes", body=body, key=new_key()))
        return AsyncProgram(self._wire, self._path, typed(answer, "id", str), list(command))

    async def events(self, after: int = 0, limit: int | None = None) -> AsyncIterator[dict[str, Any]]:
        """Gives what is in its log, to the end, for people who debug; it is read as it is taken.

        Args:
            after: The `seq` of the last one that is known.
            limit: How many at most.
        """
        async for page in self._pages(after, limit):
            for one in page:
                yield one

    async def _pages(self, after: int, limit: int | None) -> AsyncIterator[list[dict[str, Any]]]:
        """Gives the log as the service does, in parts, of which each goes on where the last one ended."""
        more = True
        while more and (limit is None or limit > 0):
            asked = _PAGE if limit is None else min(_PAGE, limit)
            params = {"after": str(after), "limit": str(asked)}
            answer = await self._wire.json(Request("GET", f"{self._path}/events", params=params))
            page, more = typed(answer, "events", list), typed(answer, "more", bool)
            if len(page) > asked:
                raise BadAnswer("the service has sent more of a log than it was asked for")
            for one in page:
                if not isinstance(one, dict) or typed(one, "seq", int) <= after:
                    raise BadAnswer("the service has sent a log that does not go forward")
                after = one["seq"]
            more &= bool(page)
            limit = None if limit is None else limit - len(page)
            yield page

    async def close(self, *, forget: bool = False) -> None:
        """Ends it for good; its log is kept, unless it is to be forgotten. One that has ended stays so."""
        await self._delete("", forget="true" if forget else "false")

    async def _delete(self, path: str, **params: str) -> None:
        try:
            await self._wire.json(Request("DELETE", self._path + path, params=params))
        except SessionNotFound:
            if path:
                raise
