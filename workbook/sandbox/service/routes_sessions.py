"""Routes: sessions, their contexts, and what there is for them."""

import dataclasses
import hashlib
import secrets
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from workbook.sandbox.isolation.limits import Limits
from workbook.sandbox.service.auth import Tenant
from workbook.sandbox.service.boxes import DEFAULT
from workbook.sandbox.service.context import Service, TheKey, TheName, TheService, TheTenant, full_name
from workbook.sandbox.service.environments import name_of
from workbook.sandbox.service.node import ElsewhereError
from workbook.sandbox.service.problems import Problem, invalid
from workbook.sandbox.service.session import Session
from workbook.sandbox.service.session_calls import KeyConflictError
from workbook.sandbox.service.store import Event, NewEvent, SessionExistsError, SessionRecord, UnknownSessionError

router = APIRouter(prefix="/v1", tags=["sessions"])

MOUNTED = "session.mounted"
"""The event that a new session has all that it was to have."""

_MOST_EVENTS = 4 << 20  # bytes of an answer with events


class AskedLimits(BaseModel):
    """What a session may use; at most what the node says, and that where nothing is asked for. Sizes are bytes."""

    model_config = ConfigDict(extra="forbid")
    memory: int | None = Field(default=None, gt=0)
    processes: int | None = Field(default=None, gt=0)
    cpus: float | None = Field(default=None, gt=0)
    cpu_seconds: int | None = Field(default=None, gt=0)
    workspace: int | None = Field(default=None, gt=0)
    temporary: int | None = Field(default=None, gt=0)
    shared_memory: int | None = Field(default=None, gt=0)


class NewSession(BaseModel):
    """A session to be made."""

    model_config = ConfigDict(extra="forbid")
    id: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", description="Its name, among yours."
    )
    environment: str = Field(default=DEFAULT, max_length=64, description="What it can import.")
    limits: AskedLimits = AskedLimits()
    mounts: dict[str, str] = Field(
        default={}, max_length=32, description="Data that it begins with: the folder of each."
    )


class NewContext(BaseModel):
    """A context to be opened."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")


@router.post("/sessions", status_code=201, summary="Make a session")
async def create(
    request: Request, response: Response, body: NewSession, service: TheService, tenant: TheTenant, key: TheKey
) -> Any:
    """Makes a session; with an Idempotency-Key once, however often it is asked for."""
    name = body.id or (f"s-{hashlib.sha256(key.encode()).hexdigest()[:24]}" if key else f"s-{secrets.token_hex(12)}")
    full, limits = full_name(tenant.name, name), _limits(service, body.limits)
    if body.environment != DEFAULT and (
        service.environments is None or body.environment not in service.environments.names()
    ):
        raise Problem(422, "environment", "The environment cannot be had", f"there is no {body.environment!r}")
    files = await _mounted(service, body.mounts)
    try:
        session = await service.node.create(
            tenant.name,
            environment=service.environments.pinned(body.environment) if service.environments else DEFAULT,
            limits=limits,
            session=full,
            quota=tenant.sessions,
            key=key,
            placed=request.scope["sandbox.hop"],
        )
    except ElsewhereError as error:
        forward = request.scope["sandbox.forward"]
        return await forward(request, error.url, body.model_copy(update={"id": name}).model_dump_json().encode())
    except SessionExistsError:
        if not key:
            raise Problem(409, "session-exists", "There is such a session already", name) from None
        session = await _made_before(service, tenant, full, body, key)
        response.status_code = 200
    if files and (response.status_code != 200 or await service.node.store.last(full, MOUNTED) is None):
        try:
            await session.write_files(files)
            await session.note(NewEvent(MOUNTED, {"mounts": body.mounts}))
        except BaseException:
            await service.node.close_session(full, tenant.name)
            raise
    response.headers["Location"] = f"/v1/sessions/{name}"
    return {**_shown(session.record), "contexts": session.contexts}


async def _made_before(service: Service, tenant: Tenant, full: str, body: NewSession, key: str) -> Session:
    """Returns the session that an earlier request with the same key has made."""
    for first in await service.node.store.events(full, limit=1):
        if first.data.get("key") != key:
            raise Problem(409, "session-exists", "There is such a session already", full.partition("/")[2])
    try:
        session = await service.node.get(full, tenant.name)
    except UnknownSessionError:
        raise KeyConflictError("the session that was made with this key is closed") from None
    if name_of(session.record.environment) != body.environment:
        raise KeyConflictError("this key was used for another session")
    return session


def _limits(service: Service, asked: AskedLimits) -> Limits | None:
    wanted = asked.model_dump(exclude_none=True)
    most = dataclasses.asdict(service.node.settings.limits)
    if beyond := [f"{name} of at most {most[name]}" for name, value in wanted.items() if value > most[name]]:
        raise invalid(f"a session may have {', '.join(beyond)}")
    return Limits(**{**most, **wanted}) if wanted else None


async def _mounted(service: Service, mounts: Mapping[str, str]) -> dict[str, bytes]:
    """Reads what a session begins with, before there is one: what cannot be had costs nothing."""
    files = {}
    for mount, folder in mounts.items():
        prefix = folder.strip("/")
        if ".." in prefix.split("/") or "\0" in prefix:
            raise invalid(f"{folder[:200]!r} is no folder of a workspace")
        for path, content in (await service.mounts.materialise(mount)).items():
            files[f"{prefix}/{path}" if prefix else path] = content
    return files


@router.get("/sessions", summary="List the sessions")
async def sessions(
    service: TheService,
    tenant: TheTenant,
    everybody: Annotated[bool, Query(alias="all", description="Those of all tenants; for admins.")] = False,
) -> Any:
    """Lists the open sessions, oldest first."""
    if everybody and not tenant.admin:
        raise Problem(403, "forbidden", "You may not do this", "it is for admins")
    found = await service.node.store.sessions(tenant=None if everybody else tenant.name)
    return {"sessions": [_shown(record, tenant=everybody) for record in found]}


@router.get("/sessions/{session}", summary="Look at a session")
async def look(name: TheName, service: TheService) -> Any:
    """Tells of a session what the store knows; a session that is not live stays so."""
    record = await service.node.store.session(name)
    if record.closed:
        raise UnknownSessionError(name)
    return _shown(record)


@router.delete("/sessions/{session}", status_code=204, summary="End a session")
async def end(
    name: TheName,
    service: TheService,
    tenant: TheTenant,
    forget: Annotated[bool, Query(description="Its log and its files too, for good.")] = False,
) -> None:
    """Ends a session for good."""
    await service.node.close_session(name, tenant.name)
    if forget:
        await service.node.store.delete_session(name)


@router.get("/sessions/{session}/events", summary="Read the log")
async def events(
    name: TheName,
    service: TheService,
    after: Annotated[int, Query(ge=0, description="The number of the last one that is known.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Any:
    """Returns what is in the log of a session, of one that has ended too; less where it is much at once.

    `more` says whether there may be more: ask again, with the number of the last one as `after`.
    """
    found: list[Any] = []
    size = 0
    more: list[Event] = []
    while len(found) < limit and size < _MOST_EVENTS:
        more = await service.node.store.events(name, after=after, limit=min(10, limit - len(found)))
        for event in more:
            found.append({**dataclasses.asdict(event), "time": round(event.time, 6)})
            size += len(str(event.data))
        if not more:
            break
        after = more[-1].seq
    return {"events": found, "more": bool(more)}


@router.get("/sessions/{session}/contexts", summary="List the contexts")
async def contexts(name: TheName, service: TheService, tenant: TheTenant) -> Any:
    """Lists the contexts of a session, each with variables of its own."""
    return {"contexts": (await service.node.get(name, tenant.name)).contexts}


@router.post("/sessions/{session}/contexts", status_code=201, summary="Open a context")
async def open_context(body: NewContext, name: TheName, service: TheService, tenant: TheTenant) -> Any:
    """Opens a context; one of that name that is there already stays as it is."""

    async def action(session: Session) -> None:
        if body.name not in session.contexts:
            if len(session.contexts) >= 32:
                raise Problem(403, "quota", "The tenant has as much as it may have", "a session has 32 contexts")
            await session.open_context(body.name)

    await service.node.use(name, tenant.name, action)
    return {"name": body.name}


@router.delete("/sessions/{session}/contexts/{context}", status_code=204, summary="End a context")
async def end_context(context: str, name: TheName, service: TheService, tenant: TheTenant) -> None:
    """Ends a context, in the middle of a cell too."""
    await service.node.use(name, tenant.name, lambda session: session.end_context(context))


@router.get("/environments", summary="List the environments")
async def environments(service: TheService, _: TheTenant) -> Any:
    """Lists what sessions can have: environments by name, mounts by name, and the most that they may use."""
    names = service.environments.names() if service.environments else [DEFAULT]
    limits = dataclasses.asdict(service.node.settings.limits)
    return {"environments": names, "mounts": service.mounts.names(), "limits": limits}


@router.get("/nodes", summary="List the nodes")
async def nodes(service: TheService, tenant: TheTenant) -> Any:
    """Lists the nodes that are alive; for admins."""
    if not tenant.admin:
        raise Problem(403, "forbidden", "You may not do this", "it is for admins")
    return {"nodes": [dataclasses.asdict(node) for node in await service.node.store.nodes(5.0)]}


def _shown(record: SessionRecord, *, tenant: bool = False) -> dict[str, Any]:
    whose, _, name = record.id.partition("/")
    return {
        "id": name,
        **({"tenant": whose} if tenant else {}),
        "environment": name_of(record.environment),
        "limits": dict(record.limits),
        "created": round(record.created, 3),
        "node": record.owner,
    }
