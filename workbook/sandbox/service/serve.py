"""Serving a node over HTTP, until a signal ends it."""

import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn

from workbook.sandbox.service.app import make_app
from workbook.sandbox.service.auth import Hops, Tenant, Tenants, digest_of, new_token, read_tenants
from workbook.sandbox.service.context import Access, Service
from workbook.sandbox.service.egress import EgressPolicy
from workbook.sandbox.service.environments import Environments, only_the_default
from workbook.sandbox.service.fetching import fetch_call
from workbook.sandbox.service.logs import LOGGER
from workbook.sandbox.service.metrics import Metrics
from workbook.sandbox.service.mounts import Mounts, Source
from workbook.sandbox.service.node import Node, NodeSettings
from workbook.sandbox.service.retention import removing
from workbook.sandbox.service.session_calls import Call
from workbook.sandbox.service.store import Store

TENANT = "default"
"""The tenant that there is where no file names others."""


class SettingsError(Exception):
    """The service cannot be started like this. The message says what to change."""


@dataclass(frozen=True)
class Settings:
    """How a node is served.

    Attributes:
        node: What it may do.
        store: `sqlite:PATH`, or the URL of a Redis.
        host: The address to listen at.
        port: The port; 0 for any.
        tenants: File of tenants; without it there is one, whose token is made.
        token_file: Where that token is kept; a service that is started again has the same one.
        insecure: Whether that one tenant may be served beyond this machine.
        allow: What that tenant's sessions may fetch.
        secret_file: What all nodes share.
        locks: Folder of the environments' locks.
        cache: Where environments are kept.
        mounts: Folders and archives that sessions may begin with, by name.
        docs: Who may see the pages that describe the interface.
        metrics: Who may see what is counted.
        keep_logs: Days for which the logs of closed sessions are kept.
        grace: Seconds in which requests that are under way may end, when the service does.
        heartbeat: Seconds after which a silent stream says that it lives.
    """

    node: NodeSettings
    store: str
    host: str = "127.0.0.1"
    port: int = 0
    tenants: Path | None = None
    token_file: Path | None = None
    insecure: bool = False
    allow: tuple[str, ...] = ()
    secret_file: Path | None = None
    locks: Path | None = None
    cache: Path | None = None
    mounts: Mapping[str, str] = field(default_factory=dict)
    docs: Access = "open"
    metrics: Access = "loopback"
    keep_logs: float = 30.0
    grace: int = 20
    heartbeat: float = 10.0


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    return host == "localhost" or host.startswith("127.") or host == "::1"


def tenants_of(settings: Settings) -> tuple[Tenants, str]:
    """Returns those that may ask, and the token if there is one that was made.

    Raises:
        SettingsError: The one tenant would be served beyond this machine.
        TenantsError: The file of tenants is none.
    """
    if settings.tenants is not None:
        return read_tenants(settings.tenants), ""
    if not is_loopback(settings.host) and not settings.insecure:
        raise SettingsError(
            f"{settings.host} is reached from other machines: name who may ask with --tenants, "
            "or say --allow-generated-token"
        )
    assert settings.token_file is not None
    token = _kept(settings.token_file, new_token)
    return Tenants([Tenant(TENANT, (digest_of(token),), allow=settings.allow, admin=True)]), token


def _kept(path: Path, make: Callable[[], str]) -> str:
    """Returns what a file has, which only its owner reads; it is made where there is none.

    Raises:
        SettingsError: It cannot be kept there, or others can read it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except FileExistsError:
            pass
        else:
            with os.fdopen(descriptor, "w") as file:
                file.write(make() + "\n")
        with path.open() as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read().strip()
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    if mode & 0o077 and os.name == "posix":
        raise SettingsError(f"{path} can be read by others: chmod 600 {path}")
    if len(text) < 20:
        raise SettingsError(f"{path} holds no secret of 20 characters or more: remove it, and one is made")
    return text


async def open_store(place: str) -> Store:
    """Opens a store: `sqlite:PATH`, `redis://…`, `rediss://…` or `unix://…`.

    Raises:
        StoreError: It cannot be opened.
        SettingsError: It is none of these.
    """
    kind, _, rest = place.partition(":")
    if kind == "sqlite":
        from workbook.sandbox.service.sqlite_store import SqliteStore

        path = Path(rest)
        path.parent.mkdir(parents=True, exist_ok=True)
        return await SqliteStore.open(path)
    if kind in ("redis", "rediss", "unix"):
        from workbook.sandbox.service.redis_store import RedisStore

        return await RedisStore.open(place)
    raise SettingsError(f"{place!r} is no store: write sqlite:PATH or redis://HOST:PORT/0")


def make_service(settings: Settings, store: Store, tenants: Tenants, url: str) -> Service:
    """Puts a service together.

    Raises:
        SettingsError: Nodes would share no secret.
    """
    metrics = Metrics()
    policies = {tenant.name: EgressPolicy(allow=tenant.allow, deny=tenant.deny) for tenant in tenants}

    def calls_of(tenant: str) -> Mapping[str, Call]:
        return {"http_fetch": fetch_call(policies.get(tenant, EgressPolicy()), metrics)}

    environments = None
    if settings.locks is not None:
        assert settings.cache is not None
        environments = Environments(settings.locks, settings.cache)
    node = Node(
        store,
        replace(settings.node, url=settings.node.url or url),
        calls_of,
        files_of=environments.files if environments else only_the_default,
        observer=metrics,
    )
    sources = {name: Source(place if "://" in place else Path(place)) for name, place in settings.mounts.items()}
    hosts = tuple(urlsplit(place).netloc for place in settings.mounts.values() if "://" in place)
    metrics.watch(node)
    return Service(
        node=node,
        tenants=tenants,
        metrics=metrics,
        hops=Hops(_secret(settings)),
        environments=environments,
        mounts=Mounts(sources, policy=EgressPolicy(allow=hosts)),
        docs=settings.docs,
        metrics_access=settings.metrics,
        heartbeat=settings.heartbeat,
    )


def _secret(settings: Settings) -> bytes:
    path = settings.secret_file
    if path is None and settings.store.startswith("sqlite:"):
        path = Path(settings.store.removeprefix("sqlite:") + ".secret")  # all who use that file can read this one
    if path is None:
        if settings.node.url:
            raise SettingsError("nodes of one store share a secret: give all of them the same --secret FILE")
        return secrets.token_bytes(32)
    return _kept(path, new_token).encode()


async def serve(settings: Settings, on_start: Callable[[str, str], None]) -> None:
    """Serves until SIGTERM or SIGINT; then requests that are under way may end, and sessions stay in the store.

    Args:
        settings: How.
        on_start: Is called with the URL and the token that was made, once it serves.

    Raises:
        SettingsError, TenantsError: It cannot be served like this.
        StoreError: The store cannot be opened.
        IsolationError: No box can be made on this machine.
    """
    tenants, token = tenants_of(settings)
    store = await open_store(settings.store)
    try:
        listening = _listen(settings)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        url = f"http://{host}:{listening.getsockname()[1]}"
        service = make_service(settings, store, tenants, url)
        server = _Server(_config(settings, make_app(service)), service.node, lambda: on_start(url, token))
        with listening:
            async with service.node, removing(store, settings.keep_logs * 86_400):
                await server.serve(sockets=[listening])
                LOGGER.info("ending", extra={"sessions": service.node.live})
    finally:
        await store.close()


def _listen(settings: Settings) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        return socket.create_server((settings.host, settings.port), family=family, backlog=512)
    except OSError as error:
        raise SettingsError(f"cannot listen at {settings.host}:{settings.port}: {error.strerror}") from error


def _config(settings: Settings, app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        lifespan="on",
        ws="none",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=settings.grace,
        h11_max_incomplete_event_size=64 << 10,
    )


class _Server(uvicorn.Server):
    """uvicorn's, which says when it serves, and lets a node know that it is ending."""

    def __init__(self, config: uvicorn.Config, node: Node, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._node, self._on_start = node, on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and not self.should_exit:
            self._on_start()

    def handle_exit(self, sig: int, frame: Any) -> None:  # noqa: ARG002
        # Not uvicorn's own, which raises the signal again at its end: there is more to end after that.
        self._node.draining = True
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def run(settings: Settings, on_start: Callable[[str, str], None]) -> None:
    """Serves, on uvloop where that is installed."""
    import asyncio

    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(settings, on_start))
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings, on_start))
    sys.stdout.flush()
