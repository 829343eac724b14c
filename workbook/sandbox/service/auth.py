"""Who asks: tenants by their tokens, and nodes by a secret that they share."""

import hashlib
import hmac
import json
import re
import secrets
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FIELDS = {"name", "token_sha256", "sessions", "at_once", "allow", "deny", "admin"}
_HOP_SECONDS = 60.0  # clocks of nodes may differ by so much, together with what a request is under way


class TenantsError(Exception):
    """The file of tenants is none. The message says what to change."""


@dataclass(frozen=True)
class Tenant:
    """Somebody who may have sessions.

    Attributes:
        name: Its name.
        digests: SHA-256 of its tokens, in hexadecimal digits; two while it changes from one to the next.
        sessions: How many sessions it may have open; None for what the node says.
        at_once: How many requests of it may be under way at a node.
        allow: What its sessions may fetch; see `egress.EgressPolicy`.
        deny: To where they never may.
        admin: Whether it may see what is not its own: how all is configured, and the sessions of all.
    """

    name: str
    digests: tuple[str, ...]
    sessions: int | None = None
    at_once: int = 256
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    admin: bool = False


class Tenants:
    """Those that there are."""

    def __init__(self, tenants: Sequence[Tenant]) -> None:
        """Takes them.

        Raises:
            TenantsError: Two have the same name or token, or there is none.
        """
        self._by_name = {tenant.name: tenant for tenant in tenants}
        digests = [digest for tenant in tenants for digest in tenant.digests]
        if not tenants or len(self._by_name) < len(tenants) or len(set(digests)) < len(digests):
            raise TenantsError("there must be a tenant, and no two of the same name or token")

    def __getitem__(self, name: str) -> Tenant:
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Any:
        return iter(self._by_name.values())

    def of_token(self, token: str) -> Tenant | None:
        """Returns whose token it is. All are compared, each in constant time: how long it takes tells nothing."""
        digest = hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
        found = None
        for tenant in self._by_name.values():
            for known in tenant.digests:
                if hmac.compare_digest(known, digest):
                    found = tenant
        return found


def digest_of(token: str) -> str:
    """Returns what a file of tenants has of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_token() -> str:
    """Makes a token that nobody guesses."""
    return f"sandbox_{secrets.token_urlsafe(32)}"


def read_tenants(path: Path) -> Tenants:
    """Reads a file of tenants: TOML, or JSON where its name ends in `.json`.

    It has a list `tenants`, each with `name` and `token_sha256` (one, or a list), and what else `Tenant` has.

    Raises:
        TenantsError: It cannot be read, or is none.
    """
    try:
        data = json.loads(path.read_bytes()) if path.suffix == ".json" else tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise TenantsError(f"{path}: {error}") from error
    entries = data.get("tenants") if isinstance(data, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise TenantsError(f"{path} must have a list `tenants`, as of [[tenants]] in TOML")
    try:
        return Tenants([_read(entry) for entry in entries])
    except TenantsError as error:
        raise TenantsError(f"{path}: {error}") from error


def _read(entry: dict[str, Any]) -> Tenant:
    name = entry.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise TenantsError(f"a tenant's name is letters, digits and . _ -, at most 64 of them, not {name!r}")
    if unknown := set(entry) - _FIELDS:
        raise TenantsError(f"of {name}: unknown {', '.join(sorted(unknown))}; there are {', '.join(sorted(_FIELDS))}")
    digests = entry.get("token_sha256")
    digests = [digests] if isinstance(digests, str) else digests
    if not isinstance(digests, list) or not digests or not all(_is_digest(one) for one in digests):
        raise TenantsError(f"of {name}: token_sha256 is the 64 hexadecimal digits of a token's SHA-256, or a list")
    numbers = {key: entry[key] for key in ("sessions", "at_once") if key in entry}
    lists = {key: entry[key] for key in ("allow", "deny") if key in entry}
    if not all(type(number) is int and number > 0 for number in numbers.values()):
        raise TenantsError(f"of {name}: sessions and at_once are numbers above zero")
    if not all(isinstance(one, list) and all(isinstance(text, str) for text in one) for one in lists.values()):
        raise TenantsError(f"of {name}: allow and deny are lists of texts")
    if type(entry.get("admin", False)) is not bool:
        raise TenantsError(f"of {name}: admin is true or false")
    lists = {key: tuple(texts) for key, texts in lists.items()}
    return Tenant(name, tuple(digests), admin=entry.get("admin", False), **numbers, **lists)


def _is_digest(text: object) -> bool:
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


class Hops:
    """Marks requests that one node passes on to another, so that no tenant can: neither the mark nor whose it is."""

    HEADER = "x-sandbox-hop"

    def __init__(self, secret: bytes) -> None:
        """Takes what all nodes share."""
        self._key = hashlib.sha256(b"sandbox hop\0" + secret).digest()

    def mark(self, tenant: str, method: str, path: str, now: float | None = None) -> str:
        """Returns the header's value for a request of a tenant."""
        said = f"{tenant}:{int(time.time() if now is None else now)}"
        return f"{said}:{self._sign(said, method, path)}"

    def tenant(self, value: str, method: str, path: str, now: float | None = None) -> str | None:
        """Returns whose request it is; None where no node of ours has marked it, or not for this, or not just now."""
        said, _, signature = value.rpartition(":")
        tenant, _, when = said.rpartition(":")
        if not hmac.compare_digest(self._sign(said, method, path).encode(), signature.encode("utf-8", "replace")):
            return None
        age = abs((time.time() if now is None else now) - int(when))
        return tenant if age < _HOP_SECONDS else None

    def _sign(self, said: str, method: str, path: str) -> str:
        text = f"{said}\n{method}\n{path}".encode("utf-8", "replace")
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()
