"""Routes: cells."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from pydantic import BaseModel, ConfigDict, Field

from workbook.sandbox.service.context import Service, TheKey, TheName, TheService, TheTenant
from workbook.sandbox.service.live_types import CellLimits
from workbook.sandbox.service.logs import LOGGER
from workbook.sandbox.service.problems import Problem, invalid, problem_of
from workbook.sandbox.service.session import MAIN, Session
from workbook.sandbox.service.streams import Stream, answer

router = APIRouter(prefix="/v1/sessions/{session}", tags=["cells"])


class Cell(BaseModel):
    """A cell to be executed."""

    model_config = ConfigDict(extra="forbid")
    code: str
    context: str = Field(default=MAIN, max_length=64)
    timeout: float = Field(default=30.0, gt=0, allow_inf_nan=False, description="Seconds that it may take.")
    output_bytes: int = Field(default=1_000_000, gt=0, le=8_000_000, description="Output that is kept.")
    outputs: int = Field(default=1000, gt=0, le=10_000, description="Outputs that are kept.")


class Interruption(BaseModel):
    """What is to be interrupted."""

    model_config = ConfigDict(extra="forbid")
    context: str = Field(default=MAIN, max_length=64)


@router.post(
    "/execute",
    summary="Execute a cell",
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def execute(
    cell: Cell,
    name: TheName,
    service: TheService,
    tenant: TheTenant,
    key: TheKey,
    accept: Annotated[str, Header()] = "",
) -> Response:
    """Executes a cell when those before it in its context are done, and returns its result.

    With `Accept: text/event-stream` the answer is a stream: an event `output` for each message as it comes, with its
    type and content, a comment as heartbeat when nothing comes, and at the end an event `result` with the result, or
    `problem` with a problem document. A cell goes on when whoever asked hangs up; asking again with the same
    Idempotency-Key gives its result.
    """
    if cell.timeout > service.longest:
        raise invalid(f"a cell may take at most {service.longest:g} s")
    key = key or f"-{secrets.token_hex(12)}"  # so that a cell that is begun a second time finds the calls of its first
    limits = CellLimits(cell.output_bytes, cell.outputs)
    stream = Stream() if "text/event-stream" in accept else None
    on_message = _into(stream) if stream else None
    began = time.perf_counter()

    async def action(session: Session) -> dict[str, Any]:
        return await session.execute(
            cell.code, context=cell.context, timeout=cell.timeout, key=key, limits=limits, on_message=on_message
        )

    async def run() -> bytes:
        value = await service.node.use(name, tenant.name, action)
        service.metrics.executed(value["status"], time.perf_counter() - began)
        return json.dumps(value).encode()

    if stream is None:
        return Response(await run(), media_type="application/json")
    await service.node.get(name, tenant.name)  # what is wrong already is no matter for a stream
    return answer(_followed(service, stream, run))


def _into(stream: Stream) -> Callable[[str, dict[str, Any]], None]:
    return lambda kind, content: stream.put("output", {"msg_type": kind, "content": content})


async def _followed(service: Service, stream: Stream, run: Callable[[], Awaitable[bytes]]) -> AsyncIterator[bytes]:
    async def to_the_end() -> None:
        try:
            stream.put_packed("result", await run(), last=True)
        except Exception as error:  # noqa: BLE001 - it goes to whoever follows
            problem = problem_of(error)
            if problem.status == 500:
                LOGGER.error("a cell's stream failed", exc_info=error)
            stream.put("problem", problem.document() | {"retry_after": problem.retry_after}, last=True)

    task = asyncio.create_task(to_the_end())  # it goes on when nobody follows any more
    service.background.add(task)
    task.add_done_callback(service.background.discard)
    async for packed in stream.read(service.heartbeat):
        yield packed


@router.post("/interrupt", status_code=202, summary="Interrupt a cell")
async def interrupt(body: Interruption, name: TheName, service: TheService, tenant: TheTenant) -> Any:
    """Raises KeyboardInterrupt in the cell that runs in a context; where none runs, nothing happens."""
    session = await service.node.get(name, tenant.name)
    if body.context not in session.contexts:
        raise Problem(404, "unknown-context", "There is no such context", body.context)
    session.interrupt(body.context)
    return {}
