"""Routes: the files of a session, beneath its workspace."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import StreamingResponse

from workbook.sandbox.service.context import Service, TheKey, TheName, TheService, TheTenant
from workbook.sandbox.service.live_types import FileRefused
from workbook.sandbox.service.problems import Problem
from workbook.sandbox.service.session_files import CHUNK

router = APIRouter(prefix="/v1/sessions/{session}", tags=["files"])

_ROOM = 512 << 20  # bytes of uploads that are in memory at once
_SAFE = {  # what a session has made is not to be run by a browser, as if it were of this service
    "X-Content-Type-Options": "nosniff",
    "Content-Disposition": "attachment",
    "Content-Security-Policy": "sandbox",
}
_BYTES: dict[str, Any] = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}


class NewFolder(BaseModel):
    """A folder to be made."""

    model_config = ConfigDict(extra="forbid")
    path: str = Field(max_length=4096)


@router.put("/files/{path:path}", summary="Write a file", openapi_extra={"requestBody": {"required": True, **_BYTES}})
async def write(
    path: str,
    name: TheName,
    request: Request,
    service: TheService,
    tenant: TheTenant,
    key: TheKey,
    append: Annotated[bool, Query(description="At its end.")] = False,
) -> Any:
    """Writes a file, and makes the folders above it. Who reads it meanwhile sees the old one or the new one whole.

    With an Idempotency-Key it is done once, however often it is asked for.
    """
    parts, size = [], 0
    try:
        async for part in request.stream():
            parts.append(part)
            size += len(part)
            service.uploading += len(part)
            if service.uploading > _ROOM:
                raise Problem(429, "busy", "Too much is under way", "too many files are sent at once", retry_after=1)
        data = b"".join(parts)
        parts.clear()
        await _file(service, name, tenant.name, "write", [data], key=key, path=path, append=append)
    finally:
        service.uploading -= size
    return {"path": path, "size": size}


@router.get("/files/{path:path}", summary="Read a file", response_class=Response, responses={200: _BYTES})
async def read(path: str, name: TheName, service: TheService, tenant: TheTenant) -> Response:
    """Returns a file's bytes as they are while they are read."""
    _, (first,) = await _file(service, name, tenant.name, "read", path=path, offset=0, size=CHUNK)
    media = "application/octet-stream"
    if len(first) < CHUNK:
        return Response(first, media_type=media, headers=_SAFE)

    async def parts() -> AsyncIterator[bytes]:
        part, offset = first, 0
        while part:
            yield part
            offset += len(part)
            _, (part,) = await _file(service, name, tenant.name, "read", path=path, offset=offset, size=CHUNK)

    return StreamingResponse(parts(), media_type=media, headers=_SAFE)


@router.get("/files", summary="List a folder")
async def entries(
    name: TheName, service: TheService, tenant: TheTenant, path: Annotated[str, Query(max_length=4096)] = ""
) -> Any:
    """Lists what is in a folder, by name."""
    found, _ = await _file(service, name, tenant.name, "list", path=path)
    return {"entries": found}


@router.get("/stat", summary="Look at a file")
async def stat(
    name: TheName, service: TheService, tenant: TheTenant, path: Annotated[str, Query(max_length=4096)]
) -> Any:
    """Tells what a path is: kind, size, when it was modified."""
    found, _ = await _file(service, name, tenant.name, "stat", path=path)
    return found


@router.delete("/files/{path:path}", status_code=204, summary="Remove a file")
async def remove(path: str, name: TheName, service: TheService, tenant: TheTenant, key: TheKey) -> None:
    """Removes a file, or a folder with all that is in it; with an Idempotency-Key once."""
    await _file(service, name, tenant.name, "remove", key=key, path=path)


@router.post("/folders", status_code=201, summary="Make a folder")
async def make_folder(body: NewFolder, name: TheName, service: TheService, tenant: TheTenant, key: TheKey) -> Any:
    """Makes a folder in one that is there; with an Idempotency-Key once."""
    await _file(service, name, tenant.name, "make_folder", key=key, path=body.path)
    return {"path": body.path}


async def _file(
    service: Service, name: str, tenant: str, action: str, blobs: list[bytes] | None = None, **arguments: Any
) -> tuple[Any, list[bytes]]:
    try:
        arguments["path"].encode()
    except UnicodeEncodeError:
        raise FileRefused("EINVAL", "a path is text") from None
    return await service.node.use(name, tenant, lambda session: session.file(action, blobs or (), **arguments))
