"""Passing a request on to the node that has its session: one hop, as a stream, in both directions."""

import socket
from collections.abc import AsyncIterator, Mapping
from urllib.parse import quote

import httpx
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from workbook.sandbox.service.auth import Hops
from workbook.sandbox.service.problems import Problem

_PASSED_ON = ("accept", "content-type", "content-length", "idempotency-key", "x-request-id")
_PASSED_BACK = (
    *("content-type", "content-length", "content-disposition", "content-security-policy", "x-content-type-options"),
    *("cache-control", "location", "retry-after", "x-accel-buffering"),
)
# A machine that is gone says nothing: it is noticed by these within ten seconds, however long a cell may take.
_KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", 4), 4),
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPINTVL", 5), 2),
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPCNT", 6), 3),
]


class Forwarder:
    """Passes requests on. A context manager for a running event loop."""

    def __init__(self, hops: Hops) -> None:
        """Takes what marks them."""
        self._hops = hops
        transport = httpx.AsyncHTTPTransport(
            socket_options=_KEEPALIVE, limits=httpx.Limits(max_connections=None, max_keepalive_connections=100)
        )
        timeout = httpx.Timeout(None, connect=2.0)
        self._client = httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False)

    async def close(self) -> None:
        """Ends its connections."""
        await self._client.aclose()

    async def __call__(self, request: Request, url: str, tenant: str, body: bytes | None = None) -> Response:
        """Returns what another node answers.

        Args:
            request: What came here.
            url: Of the node.
            tenant: Whose it is.
            body: What is sent, where the request's own was read already.

        Raises:
            Problem: The node cannot be reached, or it went away.
        """
        if not url:
            raise Problem(503, "moved", "Another node has the session now", "ask again", retry_after=1)
        path = quote(request.scope["path"], safe="/-._~")
        query = request.scope["query_string"].decode("latin-1")
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        if body is not None:
            headers["content-length"] = str(len(body))
        headers[Hops.HEADER] = self._hops.mark(tenant, request.method, path)
        asked = self._client.build_request(
            request.method,
            url.rstrip("/") + path + (f"?{query}" if query else ""),
            headers=headers,
            content=_content(request) if body is None else body,
        )
        try:
            came = await self._client.send(asked, stream=True)
        except httpx.HTTPError as error:
            raise _away(error) from error
        if came.status_code // 100 == 3:  # no node sends one
            await came.aclose()
            raise _away(httpx.HTTPError("it redirects"))
        return StreamingResponse(_body(came), came.status_code, headers=_passed_back(came.headers))


def _content(request: Request) -> AsyncIterator[bytes] | None:
    lengths = request.headers
    return request.stream() if "transfer-encoding" in lengths or lengths.get("content-length", "0") != "0" else None


async def _body(came: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for part in came.aiter_raw():
            yield part
    finally:
        await came.aclose()


def _passed_back(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in _PASSED_BACK if name in headers}


def _away(error: Exception) -> Problem:
    detail = f"it did not answer ({type(error).__name__}): if it is lost, others take its sessions within seconds"
    return Problem(503, "node-away", "The node that has the session is out of reach", detail, retry_after=1)
