"""`http_fetch` over real sockets, to a server of this process that behaves as badly as one can."""

import asyncio
import gzip
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from workbook.sandbox.service.egress import EgressDenied, EgressPolicy
from workbook.sandbox.service.fetch import Fetched, FetchFailed, FetchTimeout, TooLarge, World, direct, http_fetch

Serve = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


def fetch(
    serve: Serve,
    path: str = "/",
    *,
    host: str = "site.test",
    address: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
    trust: ssl.SSLContext | None = None,
    names: dict[str, list[str]] | None = None,
    policy: Callable[[int], EgressPolicy] | None = None,
    **options: Any,
) -> tuple[Fetched, list[bytes]]:
    """Fetches `path` of `host` from a server that runs meanwhile; returns what came and what was sent."""
    asked: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            await serve(asked[-1], writer)
            await writer.drain()
        writer.close()

    async def resolve(name: str, port: int) -> Sequence[str]:
        return (names or {}).get(name, [address])

    async def main() -> Fetched:
        server = await asyncio.start_server(handle, address, 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        here = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        allowed = policy(port) if policy else EgressPolicy(allow=(f"{host}:{port}", f"*.test:{port}", here))
        world = World(resolve=resolve, transport=direct(trust))
        url = f"{'https' if tls else 'http'}://{host}:{port}{path}"
        try:
            return await http_fetch(url, policy=allowed, world=world, **options)
        finally:
            server.close()

    return asyncio.run(main()), asked


def answering(head: str, body: bytes = b"") -> Serve:
    async def serve(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 " + head.encode() + b"\r\n\r\n" + body)

    return serve


def test_what_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    fetched, [request] = fetch(
        answering("200 OK\r\nContent-Length: 5", b"hello"), "/a%20b?c", method="PUT", body=b"data"
    )
    assert fetched.body == b"hello"
    lines = request.decode().split("\r\n")
    assert lines[0] == "PUT /a%20b?c HTTP/1.1"
    assert lines[1].startswith("host: site.test:")
    assert "Content-Length: 4" in lines


def test_ipv6() -> None:
    fetched, _ = fetch(answering("200 OK", b"six"), address="::1")
    assert fetched.body == b"six"


def test_a_literal_address_is_refused_unless_it_is_on_the_list() -> None:
    assert fetch(answering("200 OK", b"x"), host="127.0.0.1")[0].body == b"x"
    with pytest.raises(EgressDenied, match="not on the allow-list"):
        fetch(answering("200 OK"), host="127.0.0.1", policy=lambda port: EgressPolicy(allow=(f"site.test:{port}",)))
    with pytest.raises(EgressDenied, match="loopback"):
        fetch(answering("200 OK"), policy=lambda port: EgressPolicy(allow=(f"site.test:{port}",)))


def test_the_real_resolver_is_checked_too() -> None:
    async def main() -> None:
        await http_fetch("http://localhost/", policy=EgressPolicy(allow=("localhost",)))

    with pytest.raises(EgressDenied, match="loopback"):
        asyncio.run(main())


@pytest.mark.parametrize(
    "location", ["http://169.254.169.254/latest/meta-data/", "http://inner.test:{port}/", "http://2130706433/"]
)
def test_a_redirect_to_a_private_address(location: str) -> None:
    async def serve(request: bytes, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        writer.write(f"HTTP/1.1 302 Found\r\nLocation: {location.format(port=port)}\r\n\r\n".encode())

    with pytest.raises(EgressDenied):
        fetch(serve, names={"inner.test": ["10.0.0.1"]})


def test_redirects_in_a_circle() -> None:
    with pytest.raises(FetchFailed, match="more than 5 redirects"):
        fetch(answering("302 Found\r\nLocation: /"))


@pytest.mark.parametrize(
    "head", ["", "HTTP/1.1 200 OK\r\nX: ", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n"]
)
def test_what_comes_drop_by_drop_or_not_at_all_ends_in_time(head: str) -> None:
    async def serve(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode())
        while True:
            await writer.drain()
            await asyncio.sleep(0.05)
            if head:
                writer.write(head.encode() if "100" in head else b"x")

    began = time.monotonic()
    with pytest.raises(FetchTimeout, match=r"more than 0\.5 s"):
        fetch(serve, timeout=0.5, on_error="retry_with_backoff")
    assert time.monotonic() - began < 2


def test_a_server_that_does_not_even_speak_tls_ends_in_time(certificate: Path) -> None:
    async def serve(request: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    async def main() -> None:
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        policy = EgressPolicy(allow=(f"127.0.0.1:{port}",))
        await http_fetch(f"https://127.0.0.1:{port}/", policy=policy, timeout=0.3)

    with pytest.raises(FetchTimeout):
        asyncio.run(main())


@pytest.mark.parametrize(
    "head", ["200 OK", "200 OK\r\nContent-Length: 100000000", "200 OK\r\nTransfer-Encoding: chunked"]
)
def test_a_body_without_end(head: str) -> None:
    sent = 0

    async def serve(request: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(f"HTTP/1.1 {head}\r\n\r\n".encode())
        piece = bytes(1 << 16)
        while sent < 1000:
            writer.write(b"10000\r\n" + piece + b"\r\n" if "chunked" in head else piece)
            await writer.drain()
            sent += 1

    with pytest.raises(TooLarge):
        fetch(serve, policy=lambda port: EgressPolicy(allow=(f"*.test:{port}", f"127.0.0.1:{port}"), max_bytes=1 << 20))
    assert sent < 1000


def test_a_gzip_bomb() -> None:
    bomb = gzip.compress(gzip.compress(bytes(100 << 20)))[:-8] + bytes(8)
    fetched, _ = fetch(answering("200 OK\r\nContent-Encoding: gzip", gzip.compress(bytes(20 << 20))), on_error="return")
    assert (len(fetched.body), fetched.truncated) == (10 << 20, True)
    with pytest.raises(FetchFailed, match="not gzip"):  # its checksum is wrong; the inner one stays packed
        fetch(answering("200 OK\r\nContent-Encoding: gzip", bomb))


@pytest.mark.parametrize(
    "extra", ["X: " + "x" * 200_000, "\r\n".join(f"X{number}: {number}" for number in range(20_000))]
)
def test_headers_without_end(extra: str) -> None:
    with pytest.raises((TooLarge, FetchFailed)):
        fetch(answering(f"200 OK\r\n{extra}", b"x"))


@pytest.mark.parametrize(
    "garbage",
    [
        "200 OK\r\nContent-Length: 5\r\nContent-Length: 6",
        "200 OK\r\nContent-Length: -1",
        "nonsense",
        "200 OK\r\nno header",
    ],
)
def test_what_is_no_http(garbage: str) -> None:
    with pytest.raises(FetchFailed, match="connection"):
        fetch(answering(garbage, b"123456"))


def test_a_connection_that_is_reset_is_tried_again() -> None:
    tries = 0

    async def serve(request: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            writer.transport.abort()
        elif tries == 2:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole")

    fetched, _ = fetch(serve, on_error="retry_with_backoff")
    assert (fetched.body, fetched.attempts) == (b"whole", 3)


@pytest.mark.parametrize("dated", [False, True])
def test_retry_after(dated: bool) -> None:
    date = (datetime.now(UTC) + timedelta(seconds=2)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    heads = [f"503 Busy\r\nRetry-After: {date if dated else 1}", "200 OK"]

    async def serve(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {heads.pop(0)}\r\n\r\n".encode())

    fetched, _ = fetch(serve, on_error="retry_with_backoff")
    assert fetched.attempts == 2
    assert fetched.seconds >= 0.9


def test_nobody_there() -> None:
    async def main() -> None:
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        await http_fetch(f"http://127.0.0.1:{port}/", policy=EgressPolicy(allow=(f"127.0.0.1:{port}",)))

    with pytest.raises(FetchFailed, match="connection for"):
        asyncio.run(main())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for site.test and ::1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "site.test")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("site.test"), x509.IPAddress(ip_address("::1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + private)
    return path


def test_tls(certificate: Path) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    trust = ssl.create_default_context(cafile=certificate)
    served = answering("200 OK", b"safe")
    assert fetch(served, tls=tls, trust=trust)[0].body == b"safe"  # the name is verified, though an address is dialled
    assert fetch(served, tls=tls, trust=trust, host="[::1]", address="::1")[0].body == b"safe"
    for options in ({}, {"trust": trust, "host": "other.test"}, {"trust": trust, "host": "127.0.0.1"}):
        with pytest.raises(FetchFailed, match=r"certificate of .* is not to be trusted"):
            fetch(served, tls=tls, on_error="retry_with_backoff", **options)  # type: ignore[arg-type]


def test_a_connection_is_verified_for_each_name_anew(certificate: Path) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)

    async def serve(request: bytes, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        head = f"302 Found\r\nLocation: https://other.test:{port}/\r\nContent-Length: 0\r\nConnection: keep-alive"
        writer.write(f"HTTP/1.1 {head}\r\n\r\n".encode())

    with pytest.raises(FetchFailed, match=r"certificate of other\.test"):
        fetch(serve, tls=tls, trust=ssl.create_default_context(cafile=certificate))
