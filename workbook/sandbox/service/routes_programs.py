"""Routes: the programs of a session, and what it fetches."""

import asyncio
import base64
import json
import signal
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from workbook.sandbox.service.context import TheKey, TheName, TheService, TheTenant
from workbook.sandbox.service.fetching import LONGEST, MOST_RETRIES
from workbook.sandbox.service.problems import invalid
from workbook.sandbox.service.programs import Running
from workbook.sandbox.service.streams import HEARTBEAT, answer, event

router = APIRouter(prefix="/v1/sessions/{session}")


class NewProgram(BaseModel):
    """A program to be started."""

    model_config = ConfigDict(extra="forbid")
    command: list[str] = Field(min_length=1, max_length=1000)
    environment: dict[str, str] = Field(default={}, max_length=1000)
    input: bool = Field(default=False, description="Whether it gets what is sent to it; otherwise nothing.")


class Signal(BaseModel):
    """A signal to be sent."""

    model_config = ConfigDict(extra="forbid")
    signal: str = Field(default="SIGTERM", description="Its name.")


class Fetch(BaseModel):
    """Something to be fetched."""

    model_config = ConfigDict(extra="forbid")
    url: str
    method: str = "GET"
    headers: dict[str, str] = Field(default={}, max_length=100)
    body_base64: str = Field(default="", pattern=r"^[A-Za-z0-9+/]*={0,2}$")
    timeout: float = Field(default=10.0, gt=0, le=LONGEST)
    retries: int = Field(default=2, ge=0, le=MOST_RETRIES)
    on_error: Literal["raise", "return", "retry_with_backoff"] = "raise"


@router.post("/processes", status_code=201, summary="Start a program", tags=["programs"])
async def start(body: NewProgram, name: TheName, service: TheService, tenant: TheTenant, key: TheKey) -> Any:
    """Starts a program in the workspace. It is not started again when the session is brought back: it is lost then.

    With an Idempotency-Key it is started once, however often it is asked for.
    """
    if any("\0" in text for text in (*body.command, *body.environment, *body.environment.values())):
        raise invalid("a command and an environment have no NUL")
    running = await service.node.use(
        name, tenant.name, lambda session: session.start(body.command, body.environment, has_input=body.input, key=key)
    )
    return _shown(running)


@router.get("/processes", summary="List the programs", tags=["programs"])
async def processes(name: TheName, service: TheService, tenant: TheTenant) -> Any:
    """Lists the programs that run, and the last ones that have ended."""
    session = await service.node.get(name, tenant.name)
    return {"processes": [_shown(running) for running in session.programs.list()]}


@router.get("/processes/{process}", summary="Look at a program", tags=["programs"])
async def process(process: str, name: TheName, service: TheService, tenant: TheTenant) -> Any:
    """Tells of a program whether it runs, and how it has ended."""
    session = await service.node.get(name, tenant.name)
    return _shown(session.programs[process])


@router.get("/processes/{process}/output", summary="Follow a program", tags=["programs"])
async def output(
    process: str,
    name: TheName,
    service: TheService,
    tenant: TheTenant,
    after: Annotated[int, Query(ge=0, description="How much of it is known: the id of the last event.")] = 0,
) -> Response:
    """Streams what a program writes: events `output`, whose id is their place, and at its end an event `ended`.

    The last MiB is kept for those who come late.
    """
    session = await service.node.get(name, tenant.name)
    return answer(_followed(session.programs[process], after, service.heartbeat))


async def _followed(running: Running, after: int, heartbeat: float) -> AsyncIterator[bytes]:
    yield HEARTBEAT
    chunks = aiter(running.follow(after))
    coming = asyncio.ensure_future(anext(chunks))
    try:
        while True:
            done, _ = await asyncio.wait([coming], timeout=heartbeat)
            if not done:
                yield HEARTBEAT
                continue
            try:
                place, stream, data = coming.result()
            except StopAsyncIteration:
                break
            packed = json.dumps({"stream": stream, "base64": base64.b64encode(data).decode()}).encode()
            yield event("output", packed, place)
            coming = asyncio.ensure_future(anext(chunks))
    finally:
        coming.cancel()
    yield event("ended", json.dumps(_shown(running)).encode())


@router.post("/processes/{process}/input", status_code=202, summary="Write to a program", tags=["programs"])
async def write_to(
    process: str,
    name: TheName,
    request: Request,
    service: TheService,
    tenant: TheTenant,
    end: Annotated[bool, Query(description="Whether that was all.")] = False,
) -> Any:
    """Gives a program, which was started with `input`, something to read."""
    data = b"".join([part async for part in request.stream()])
    session = await service.node.get(name, tenant.name)
    if data:
        session.write_to(process, data)
    if end:
        session.write_to(process, b"")
    return {}


@router.post("/processes/{process}/signal", status_code=202, summary="Signal a program", tags=["programs"])
async def send_signal(body: Signal, process: str, name: TheName, service: TheService, tenant: TheTenant) -> Any:
    """Signals a program and what it has started."""
    try:
        number = signal.Signals[body.signal]
    except KeyError:
        raise invalid(f"there is no signal {body.signal[:40]!r}: write SIGTERM, SIGINT or SIGKILL") from None
    session = await service.node.get(name, tenant.name)
    session.signal(process, number)
    return {}


@router.post("/http_fetch", summary="Fetch a URL", tags=["network"])
async def http_fetch(body: Fetch, name: TheName, service: TheService, tenant: TheTenant, key: TheKey) -> Any:
    """Fetches a URL for a session, by the rules of its tenant; it is in the session's log, and with a key done once."""
    arguments = body.model_dump()
    if key:
        arguments["idempotency_key"] = key
    try:
        value, (content,) = await service.node.use(
            name, tenant.name, lambda session: session.call("http_fetch", arguments, key)
        )
    except ValueError as error:
        raise invalid(str(error)) from error
    return {**value, "body_base64": base64.b64encode(content).decode()}


def _shown(running: Running) -> dict[str, Any]:
    return {
        "id": running.name,
        "command": running.command,
        "pid": running.pid,
        "running": not running.ended,
        "status": running.status,
        "lost": running.lost,
        "written": running.written,
    }
