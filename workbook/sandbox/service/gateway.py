"""What each request goes through first: who asks, how large it is, and whether another node is to answer it."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workbook.sandbox.service.addresses import parse_address
from workbook.sandbox.service.auth import Hops, Tenant
from workbook.sandbox.service.context import MAX_JSON, MAX_UPLOAD, Access, Service, full_name
from workbook.sandbox.service.forward import Forwarder
from workbook.sandbox.service.logs import LOGGER
from workbook.sandbox.service.problems import Problem, problem_of, too_large

PATIENCE = 60.0
"""Seconds for which the next part of a body is waited for."""

_STORE_ONLY = {"", "events"}  # what any node can answer of a session, besides its end


class BodyTooLarge(HTTPException):
    """A body is beyond its bound. Of this kind since FastAPI takes any other for a body that is no JSON."""

    def __init__(self, most: int) -> None:
        super().__init__(413)
        self.problem = too_large(most)


class Gateway:
    """An ASGI application around another."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        """Takes the application, and what it needs to know."""
        self._app, self._service = app, service
        self._forwarder: Forwarder | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            raise NotImplementedError(f"no {scope['type']}")

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._forwarder = Forwarder(self._service.hops)
        try:
            await self._app(scope, receive, send)
        finally:
            await self._forwarder.close()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, status = time.perf_counter(), 0
        request = Request(scope, receive)
        number = request.headers.get("x-request-id", "")
        number = number if number.isascii() and number.isalnum() and len(number) <= 64 else secrets.token_hex(8)

        async def sends(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", number.encode())]
            await send(message)

        tenant: Tenant | None = None
        try:
            tenant, hop = self._who(request)
            scope.update({"sandbox.service": self._service, "sandbox.tenant": tenant, "sandbox.hop": hop})
            bounded = _bounded(scope, receive)
            if tenant is None:
                await self._outside(request, bounded, sends)
            else:
                await self._inside(Request(scope, bounded), tenant, hop, bounded, sends)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an answer
            problem = error.problem if isinstance(error, BodyTooLarge) else problem_of(error)
            if problem.status == 500:
                LOGGER.error("a request failed", exc_info=error, extra={"request": number})
            if not status:
                await problem.response()(scope, receive, sends)
        except asyncio.CancelledError:  # the service is ending, and has waited long enough
            if not status and self._service.node.draining:
                problem = Problem(503, "ending", "The service is ending", "ask again", retry_after=1)
                await problem.response()(scope, receive, sends)
            raise
        finally:
            self._note(scope, tenant, status, time.perf_counter() - began, number)

    def _who(self, request: Request) -> tuple[Tenant | None, bool]:
        """Returns who asks, and whether another node has passed the request on."""
        tenants = self._service.tenants
        if mark := request.headers.get(Hops.HEADER):
            path = quote(request.scope["path"], safe="/-._~")
            name = self._service.hops.tenant(mark, request.method, path)
            if name is not None and name in tenants:
                return tenants[name], True
            raise Problem(401, "unauthorized", "A token is needed", f"{Hops.HEADER} is for nodes of this service")
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and token:
            if found := tenants.of_token(token.strip()):
                return found, False
            self._service.metrics.refused("token")
            raise Problem(401, "unauthorized", "A token is needed", "this one is not known")
        return None, False

    async def _outside(self, request: Request, receive: Receive, send: Send) -> None:
        """Answers without a token: what tells of the service itself, as far as it is open."""
        path = request.scope["path"]
        access: Access = "token"
        if path in ("/healthz", "/readyz"):
            access = "open"
        elif path in ("/docs", "/openapi.json", "/"):
            access = self._service.docs
        elif path == "/metrics":
            access = self._service.metrics_access
        if access == "open" or (access == "loopback" and _is_here(request)):
            await self._app(request.scope, receive, send)
        else:
            self._service.metrics.refused("token")
            raise Problem(401, "unauthorized", "A token is needed", "send `Authorization: Bearer` and your token")

    async def _inside(self, request: Request, tenant: Tenant, hop: bool, receive: Receive, send: Send) -> None:
        under_way = self._service.under_way
        if under_way[tenant.name] >= tenant.at_once:
            self._service.metrics.refused("busy")
            detail = f"{tenant.at_once} requests of yours are under way"
            raise Problem(429, "busy", "Too much is under way", detail, retry_after=1)
        under_way[tenant.name] += 1
        try:
            assert self._forwarder is not None
            scope = request.scope
            scope["sandbox.forward"] = partial(self._forward, tenant)
            if not hop and (url := await self._elsewhere(request, tenant)) is not None:
                scope["sandbox.route"] = "forwarded"
                response: Callable[[Scope, Receive, Send], Awaitable[None]]
                response = await self._forwarder(request, url, tenant.name)
                await response(scope, receive, send)
            else:
                await self._app(scope, receive, send)
        finally:
            under_way[tenant.name] -= 1

    async def _forward(self, tenant: Tenant, request: Request, url: str, body: bytes | None = None) -> Response:
        assert self._forwarder is not None
        return await self._forwarder(request, url, tenant.name, body)

    async def _elsewhere(self, request: Request, tenant: Tenant) -> str | None:
        """Returns the URL of the node that has the session that a request is about, if that is not this one."""
        parts = request.scope["path"].split("/", 4)  # "", "v1", "sessions", its id, the rest
        if len(parts) < 4 or parts[2] != "sessions":
            return None
        rest = parts[4] if len(parts) == 5 else ""
        if rest in _STORE_ONLY and request.method != "DELETE":
            return None
        return await self._service.node.elsewhere(full_name(tenant.name, parts[3]), tenant.name)

    def _note(self, scope: Scope, tenant: Tenant | None, status: int, seconds: float, number: str) -> None:
        route = str(scope.get("sandbox.route") or getattr(scope.get("route"), "path", "other"))
        self._service.metrics.requested(route, status or 499, seconds)
        if route in ("/healthz", "/readyz", "/metrics") and status < 400:
            return
        what = {
            "request": number,
            "method": scope["method"],
            "route": route,
            "status": status or 499,
            "seconds": round(seconds, 6),
            "tenant": tenant.name if tenant else None,
            "session": scope.get("path_params", {}).get("session"),
        }
        LOGGER.info("request", extra=what)


def _bounded(scope: Scope, receive: Receive) -> Receive:
    """Returns what gives a request's body as long as it keeps to its bound, in size and in time."""
    upload = scope["method"] == "PUT" and "/files/" in scope["path"]
    most = MAX_UPLOAD if upload else MAX_JSON
    size, ended = 0, False
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > most:
            raise BodyTooLarge(most)

    async def bounded() -> Message:
        nonlocal size, ended
        if ended:
            return await receive()  # of somebody who may hang up
        try:
            async with asyncio.timeout(PATIENCE):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408) from None
        size += len(message.get("body", b""))
        ended = not message.get("more_body", False)
        if size > most:
            raise BodyTooLarge(most)
        return message

    return bounded


def _is_here(request: Request) -> bool:
    """Whether somebody on this machine asks, and not through a proxy on this machine."""
    address = parse_address(request.client.host) if request.client else None
    proxied = any(name in request.headers for name in ("forwarded", "x-forwarded-for", "via"))
    return address is not None and address.is_loopback and not proxied
