"""What all routes share: the service as it is configured, and who asks."""

import asyncio
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Literal

from fastapi import Depends, Header, Request, Security
from fastapi.security import HTTPBearer

from workbook.sandbox.service.auth import Hops, Tenant, Tenants
from workbook.sandbox.service.environments import Environments
from workbook.sandbox.service.metrics import Metrics
from workbook.sandbox.service.mounts import Mounts
from workbook.sandbox.service.node import Node
from workbook.sandbox.service.problems import Problem, invalid

MAX_JSON = 2 << 20
"""Bytes of a request's body, unless it is a file's contents."""

MAX_UPLOAD = 60 << 20
"""Bytes of a file that is sent; a box takes no larger messages, and no store larger blobs."""

Access = Literal["open", "loopback", "token"]
"""Who may see a page: everybody; this machine, and others with a token; those with a token."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_KEY = re.compile(r"[\x21-\x7e]{1,200}")


@dataclass
class Service:
    """A node, and what its HTTP interface needs beside it.

    Attributes:
        node: Has the sessions.
        tenants: Who may ask.
        metrics: What is counted; the node's observer.
        hops: Marks what one node passes on to another.
        environments: Those that sessions may have; None for the default one alone.
        mounts: Those that sessions may have.
        docs: Who may see the pages that describe the interface.
        metrics_access: Who may see what is counted.
        heartbeat: Seconds after which a silent stream says that it lives.
        longest: Seconds that a cell may be given.
        under_way: Requests of each tenant.
        uploading: Bytes of files that are being sent.
        background: Cells that go on though nobody may follow them.
    """

    node: Node
    tenants: Tenants
    metrics: Metrics
    hops: Hops
    environments: Environments | None = None
    mounts: Mounts = field(default_factory=lambda: Mounts({}))
    docs: Access = "open"
    metrics_access: Access = "loopback"
    heartbeat: float = 10.0
    longest: float = 3600.0
    under_way: Counter[str] = field(default_factory=Counter)
    uploading: int = 0
    background: set["asyncio.Task[object]"] = field(default_factory=set)


async def _service(request: Request) -> Service:
    service: Service = request.scope["sandbox.service"]
    return service


async def _tenant(request: Request, _: Annotated[object, Security(HTTPBearer(auto_error=False))]) -> Tenant:
    tenant: Tenant | None = request.scope["sandbox.tenant"]
    if tenant is None:
        raise Problem(401, "unauthorized", "A token is needed", "send `Authorization: Bearer` and your token")
    return tenant


async def _key(
    idempotency_key: Annotated[str | None, Header(description="Done once, however often sent.")] = None,
) -> str:
    if idempotency_key is not None and not _KEY.fullmatch(idempotency_key):
        raise invalid("an Idempotency-Key is 1 to 200 printable ASCII characters without spaces")
    return idempotency_key or ""


def full_name(tenant: str, session: str) -> str:
    """Returns what the store calls a session: each tenant has names of its own, and cannot even ask for another's.

    Raises:
        Problem: No session is called so.
    """
    if not _ID.fullmatch(session):
        raise Problem(404, "unknown-session", "There is no such session", "no session has an id like this")
    return f"{tenant}/{session}"


async def _name(session: str, tenant: Annotated[Tenant, Depends(_tenant)]) -> str:
    return full_name(tenant.name, session)


TheService = Annotated[Service, Depends(_service)]
TheTenant = Annotated[Tenant, Depends(_tenant)]
TheKey = Annotated[str, Depends(_key)]
TheName = Annotated[str, Depends(_name)]
