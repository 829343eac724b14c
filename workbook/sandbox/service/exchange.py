"""One request as far as its last redirect, each step to an address that was checked just before.

A name is looked up once a step, all its addresses are vetted, and the connection goes to a vetted one by number: there
is no second look-up, which might answer differently (DNS rebinding). TLS and the `Host` header still have the name.
Each step has a connection of its own: one that was verified for a name would else serve another name at its address.
"""

import math
import re
import socket
import ssl
from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import dataclass, replace

import httpx

from workbook.sandbox.service.egress import EgressDenied, EgressPolicy, FetchError, Target
from workbook.sandbox.service.gunzip import Gunzip
from workbook.sandbox.service.world import Deadline, World

METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# What frames a message or names its receiver is set here alone (RFC 9110, section 7.6.1; RFC 9112, section 6): a caller
# who had a say in it could smuggle a second request, or ask an allowed address for another name.
_OURS = re.compile(
    "host|connection|content-length|transfer-encoding|accept-encoding|te|trailer|upgrade|expect|keep-alive|proxy-.*|:.*"
)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\x20\x09\x21-\x7e]*[\x21-\x7e])?)?")  # section 5.5, without obs-text
# Any other header may be a credential, whatever it is called, and stays with the origin that it was meant for.
_KEPT_ACROSS_ORIGINS = frozenset(
    {"accept", "accept-language", "content-language", "content-type", "idempotency-key", "range", "user-agent"}
)
_USER_AGENT = ("user-agent", "inference-workbook")


class TooLarge(FetchError):  # noqa: N818  # the response is, and that is for its server to say
    """A body or its headers are larger than the policy admits."""


class FetchTimeout(FetchError):  # noqa: N818  # named as what it is
    """The deadline has passed."""


class FetchFailed(FetchError):  # noqa: N818  # named as what it is
    """No response came, or one that says that the request failed.

    Attributes:
        response: What came, if a whole response did.
        transient: Whether the same request may fare better later.
    """

    def __init__(self, message: str, *, response: "Fetched | None" = None, transient: bool = False) -> None:
        super().__init__(message)
        self.response, self.transient = response, transient

    def after(self, attempts: int, seconds: float) -> "FetchFailed":
        """The same of the last of some tries, whose server asks to be left alone for some seconds."""
        wait = f": try again in {math.ceil(seconds)} s, as it asks" if seconds else ""
        message = f"{self} (try {attempts}, and the last){wait}"
        return FetchFailed(message, response=self.response, transient=self.transient)


@dataclass(frozen=True)
class Fetched:
    """What a fetch has brought.

    Attributes:
        status: The response's status; 0 where none came.
        headers: Its headers, with names in lower case; values of the same name are joined by a comma.
        body: Its body, decompressed.
        url: Where it came from, after redirects.
        attempts: How often it was tried.
        seconds: How long all took.
        truncated: Whether the body was cut off at the policy's size.
        error: Why no response came, beginning with the error's name; None where one did.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str
    attempts: int = 1
    seconds: float = 0.0
    truncated: bool = False
    error: str | None = None


@dataclass(frozen=True)
class Request:
    """What is asked of a target. The names of headers are in lower case."""

    target: Target
    method: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def checked(self, policy: EgressPolicy) -> "Request":
        """Returns the same with what every request has.

        Raises:
            EgressDenied: A header is malformed, too large, or not the caller's to set.
        """
        headers = list(self.headers)
        for name, value in headers:
            if _OURS.fullmatch(name):
                raise EgressDenied(f"the header {name!r} is not yours to set: leave it out")
            if not (_TOKEN.fullmatch(name) and _VALUE.fullmatch(value)):
                raise EgressDenied(f"the header {name[:100]!r} is malformed: a value is one line of ASCII")
        if (size := sum(len(name) + len(value) for name, value in headers)) > policy.max_header_bytes:
            raise EgressDenied(f"headers of {size:,} bytes: at most {policy.max_header_bytes:,} are sent")
        if _USER_AGENT[0] not in dict(headers):
            headers.append(_USER_AGENT)
        return replace(self, headers=tuple(headers))

    def redirected(self, status: int, location: str) -> "Request":
        """The request that follows a redirect (RFC 9110, section 15.4).

        Raises:
            EgressDenied: It must not be followed.
        """
        target, headers, method, body = self.target.join(location), self.headers, self.method, self.body
        if self.target.scheme == "https" and target.scheme != "https":
            raise EgressDenied(f"{self.target.url} redirects to {target.origin}, which is not encrypted")
        if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
            method, body = "GET", b""
            headers = tuple((name, value) for name, value in headers if not name.startswith("content-"))
        if target.origin != self.target.origin:
            headers = tuple((name, value) for name, value in headers if name in _KEPT_ACROSS_ORIGINS)
        return Request(target, method, headers, body)


async def follow(request: Request, policy: EgressPolicy, world: World, deadline: Deadline, *, cut: bool) -> Fetched:
    """Sends a request and follows where it is redirected.

    Args:
        request: What is sent first, checked.
        policy: Where it may go, and how large an answer may be.
        world: What it touches.
        deadline: When it ends.
        cut: Cut a body that is too large off, instead of raising.

    Raises:
        EgressDenied: The policy refuses it, or a redirect.
        TooLarge: What came is too large.
        FetchFailed: The connection failed, or what came is no response.
        TimeoutError: The deadline has passed.
    """
    for _ in range(policy.max_redirects + 1):
        policy.check(request.target)
        addresses = policy.vet(request.target, await _addresses(request.target, world))
        try:
            answer = await _first_reachable(addresses, request, policy, world, deadline, cut=cut)
        except TimeoutError:
            raise
        except (httpx.TransportError, OSError) as error:  # httpx lets some of the TLS layer's through
            deadline.left()
            raise _broken(request.target, error) from error
        if answer.status not in _REDIRECTS or "location" not in answer.headers:
            return answer
        try:
            location = answer.headers["location"].encode("latin-1").decode()
        except UnicodeDecodeError:
            raise FetchFailed(f"{answer.url} redirects to what is no URL") from None
        request = request.redirected(answer.status, location)
    raise FetchFailed(f"more than {policy.max_redirects} redirects, the last to {request.target.url}")


async def _addresses(target: Target, world: World) -> Sequence[str]:
    if target.address is not None:
        return [target.host]
    try:
        addresses = await world.resolve(target.host, target.port)
    except (OSError, UnicodeError) as error:
        for_good = isinstance(error, UnicodeError) or error.errno in (socket.EAI_NONAME, socket.EAI_NODATA)
        raise FetchFailed(f"{target.host} was not found ({error}): check the name", transient=not for_good) from None
    if not addresses:
        raise FetchFailed(f"{target.host} has no address: check the name")
    return addresses


async def _first_reachable(
    addresses: Sequence[str], request: Request, policy: EgressPolicy, world: World, deadline: Deadline, *, cut: bool
) -> Fetched:
    """Asks the first address that takes a connection: until then nothing was sent, whatever the method."""
    for later, address in zip(range(len(addresses) - 1, -1, -1), addresses, strict=True):
        left = deadline.left()
        seconds = {"connect": left / (later + 1), "read": left, "write": left, "pool": left}
        try:
            return await _ask(address, request, policy, world, deadline, seconds, cut=cut)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            if not later:
                raise
    raise AssertionError("there is an address")


def _broken(target: Target, error: BaseException) -> FetchFailed:
    """Says what a connection failed of. That a certificate is not trusted does not pass."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return FetchFailed(f"the certificate of {target.host} is not to be trusted: {cause}")
        cause = cause.__cause__ or cause.__context__
    kind = str(error) or type(error).__name__
    return FetchFailed(f"the connection for {target.url} failed: {kind}", transient=True)


async def _ask(
    address: str,
    request: Request,
    policy: EgressPolicy,
    world: World,
    deadline: Deadline,
    seconds: Mapping[str, float],
    *,
    cut: bool,
) -> Fetched:
    target = request.target
    sent = httpx.Request(
        request.method,
        httpx.URL(scheme=target.scheme, host=address, port=target.port, raw_path=target.path.encode()),
        headers=[("host", target.authority), ("accept-encoding", "gzip"), ("connection", "close"), *request.headers],
        content=request.body,
        extensions={"sni_hostname": target.host, "timeout": dict(seconds)},
    )
    async with world.transport() as transport:
        response = await transport.handle_async_request(sent)
        try:
            deadline.left()
            size = sum(len(name) + len(value) for name, value in response.headers.raw)
            if size > policy.max_header_bytes:
                raise TooLarge(f"{target.url} answered with headers of {size:,} bytes; see max_header_bytes")
            headers: dict[str, str] = {}
            for raw_name, raw_value in response.headers.raw:
                name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
            status = response.status_code
            if not 200 <= status <= 599:
                raise FetchFailed(f"{target.url} answered {status}, which is no final status of HTTP")
            if status in _REDIRECTS and "location" in headers:
                return Fetched(status, headers, b"", target.url)  # nobody reads what it says besides
            return await _read(response, headers, request, policy, deadline, cut=cut)
        finally:
            await response.aclose()


async def _read(
    response: httpx.Response,
    headers: dict[str, str],
    request: Request,
    policy: EgressPolicy,
    deadline: Deadline,
    *,
    cut: bool,
) -> Fetched:
    """Reads a body, no more than the policy admits, and decompresses it as it comes."""
    url, most = request.target.url, policy.max_bytes
    too_large = TooLarge(f"{url} has more than {most:,} bytes: ask for less of it, or see max_bytes")
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", "", "gzip", "x-gzip"):
        raise FetchFailed(f"{url} is encoded as {coding[:100]!r}, which was not asked for")
    gunzip = Gunzip() if "gzip" in coding else None
    length = headers.get("content-length", "")
    if gunzip and request.method != "HEAD":  # they are about what was sent, not about the body that is given out
        headers = {name: value for name, value in headers.items() if name not in ("content-encoding", "content-length")}
    if request.method != "HEAD" and not cut and length.isdecimal() and (len(length) > 18 or int(length) > most):
        raise too_large
    body, came = bytearray(), 0
    assert isinstance(response.stream, AsyncIterable)
    async for chunk in response.stream:
        deadline.left()
        came += len(chunk)
        room = most - len(body) + 1
        try:
            body += gunzip.feed(chunk, room) if gunzip else chunk[:room]
        except ValueError as error:
            raise FetchFailed(f"{url}: {error}") from None
        if max(came, len(body)) > most:
            if cut:
                return Fetched(response.status_code, headers, bytes(body[:most]), url, truncated=True)
            raise too_large
    if gunzip and came and not gunzip.complete:
        raise FetchFailed(f"{url} ended in the middle", transient=True)
    return Fetched(response.status_code, headers, bytes(body), url)
