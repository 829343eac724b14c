"""Where a request may go: how a URL is read, and the policy that is asked before any address is looked up.

There is one reader of URLs. What it does not know for certain it refuses, since two readers that differ are how a
request gets past a list (Orange Tsai, "A New Era of SSRF", Black Hat USA 2017). What it gives out is canonical: the
host is a lower-case name of ASCII letters, or an address in its one usual spelling.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urljoin

from workbook.sandbox.service.addresses import Address, parse_address, parse_networks, refusal, translated

DEFAULT_PORTS = {"http": 80, "https": 443}

_MAX_URL = 8192  # characters
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#.*)?")  # RFC 3986, appendix B
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+))(?::([0-9]{1,5}))?")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # a host whose last label is one is read as an address by some
_AMBIGUOUS = re.compile(r"[\x00-\x20\x7f-\xa0\\\ud800-\udfff]|\s")
_KEPT = "/:@!$&'()*+,;=-._~%"  # of a path, RFC 3986, section 3.3; what is escaped stays so


class FetchError(Exception):
    """A fetch failed; the message says what to do about it."""


class EgressDenied(FetchError):  # noqa: N818  # what was asked for may not be had
    """The policy does not let the request out, or its URL or a header is none that can be let out."""


@dataclass(frozen=True)
class Target:
    """A URL that has been read.

    Attributes:
        scheme: `http` or `https`, in practice: lower case, whatever it is.
        host: A name or an address, canonical.
        port: Where to connect.
        path: What is asked for: the path, and the query if there is one.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def address(self) -> Address | None:
        """The host, where it is an address."""
        return parse_address(self.host)

    @property
    def authority(self) -> str:
        """The host as a `Host` header has it: with the port, unless it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS.get(self.scheme) else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port (RFC 6454): what credentials are given to."""
        return f"{self.scheme}://{self.authority}"

    @property
    def url(self) -> str:
        """The whole, canonical and without a fragment."""
        return self.origin + self.path

    def join(self, location: str) -> "Target":
        """Reads where a redirect leads (RFC 9110, section 10.2.2).

        Raises:
            EgressDenied: It cannot be read for certain.
        """
        _refuse_ambiguous(location)  # urljoin would drop some of it
        try:
            return parse(urljoin(self.url, location))
        except ValueError as error:
            raise EgressDenied(f"a redirect to {location[:200]!r}: {error}") from None


def parse(url: str) -> Target:
    """Reads a URL.

    Raises:
        EgressDenied: It cannot be read for certain; says what to write instead.
    """
    _refuse_ambiguous(url)
    if (match := _URL.fullmatch(url)) is None:
        raise EgressDenied(f"{url[:200]!r} is no absolute URL: write https://host/path")
    scheme, authority, path, query = match.groups()
    scheme = scheme.lower()
    if "@" in authority:
        raise EgressDenied("a URL may not carry a user or a password: put them into the Authorization header")
    if (parts := _AUTHORITY.fullmatch(authority)) is None:
        raise EgressDenied(f"{authority[:200]!r} is no host: write name, name:port, 192.0.2.1 or [2001:db8::1]")
    bracketed, name, port = parts.groups()
    host = _canonical(name) if name else _canonical_v6(bracketed)
    number = int(port) if port else DEFAULT_PORTS.get(scheme, 0)
    if port and not 1 <= number <= 65535:
        raise EgressDenied(f"{number} is no port: write one from 1 to 65535")
    path = quote(path or "/", safe=_KEPT) + ("" if query is None else "?" + quote(query, safe=_KEPT + "?"))
    if len(path) > _MAX_URL:
        raise EgressDenied(
            f"a URL of {len(path):,} characters once it is percent-encoded: at most {_MAX_URL:,} are taken"
        )
    return Target(scheme, host, number, path)


def _refuse_ambiguous(url: str) -> None:
    if len(url) > _MAX_URL:
        raise EgressDenied(f"a URL of {len(url):,} characters: at most {_MAX_URL:,} are taken")
    if match := _AMBIGUOUS.search(url):
        raise EgressDenied(f"a URL may not hold {match.group()!r}, which not all read alike: percent-encode it")


def _canonical(host: str) -> str:
    """A name in lower case without its trailing dot, or an IPv4 address.

    A name whose last label is a number is an address in the WHATWG URL Standard ("ends in a number checker"), as it is
    for inet_aton; of the spellings of one only four decimal numbers without leading zeros is taken.
    """
    if not host.isascii():
        raise EgressDenied(f"the host {host[:200]!r} is not ASCII: write an international name in its xn--… form")
    name = host.lower().removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        if (address := parse_address(name)) is None:
            raise EgressDenied(f"{host[:200]!r} is no usual spelling of an address: write it as in 192.0.2.1")
        return str(address)
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise EgressDenied(f"{host[:200]!r} is no host name: only letters, digits, hyphens and dots are taken")
    return name


def _canonical_v6(text: str) -> str:
    address = parse_address(text)
    if address is None or address.version != 6:
        raise EgressDenied(f"[{text[:200]}] is no IPv6 address: write it as in [2001:db8::1]")
    return str(address)


@dataclass(frozen=True)
class _Entry:
    """One entry of an allow-list, read: any name below `host` where `below`; `port` None is the scheme's own."""

    host: str
    port: int | None
    below: bool

    @classmethod
    def read(cls, text: str) -> "_Entry":
        below, rest = text.startswith("*."), text.removeprefix("*.")
        if rest.count(":") > 1 and not rest.startswith("["):
            rest = f"[{rest}]"  # an IPv6 address by itself
        try:
            target = parse(f"none://{rest}")
        except EgressDenied as error:
            raise ValueError(f"the allow-list's {text!r}: {error}") from None
        if target.path != "/" or set(rest) & set("/?#") or (below and target.address is not None):
            raise ValueError(f"the allow-list's {text!r} is none of: host, host:port, *.domain, *.domain:port")
        return cls(target.host, target.port or None, below)

    def admits(self, host: str, port: int, scheme: str) -> bool:
        same = host.endswith(f".{self.host}") if self.below else host == self.host
        return same and port == (self.port or DEFAULT_PORTS.get(scheme))


@dataclass(frozen=True)
class EgressPolicy:
    """What may be fetched. By itself it admits nothing.

    An address that is not of the public internet is refused, however its name was allowed, unless `allow` has that very
    address. No list can know of addresses that are public and yet yours alone: this machine's own, those that only your
    network reaches, the prefix of your own NAT64. Put them into `deny`.

    Attributes:
        allow: Entries as `host`, `host:port`, `*.domain` or `*.domain:port`. A host is a name, or an address. Without a
            port it is the scheme's own, 80 or 443. `*.domain` is any name below it, not the domain itself.
        deny: Networks and addresses to which no request ever goes.
        schemes: What a URL may begin with.
        max_bytes: Size of a body, as it is sent and as it is when decompressed.
        max_header_bytes: Size of a response's headers.
        max_redirects: How many are followed.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ("https", "http")
    max_bytes: int = 10 << 20
    max_header_bytes: int = 32 << 10
    max_redirects: int = 5

    def __post_init__(self) -> None:
        self._entries()
        parse_networks(self.deny)
        if unknown := set(self.schemes) - set(DEFAULT_PORTS):
            raise ValueError(f"schemes may hold http and https, not {', '.join(sorted(unknown))}")
        if min(self.max_bytes, self.max_header_bytes, self.max_redirects) < 0:
            raise ValueError("max_bytes, max_header_bytes and max_redirects must not be below zero")

    def check(self, target: Target) -> None:
        """Asks the allow-list. For before a name is looked up: a look-up alone can carry data out.

        Raises:
            EgressDenied: It does not admit the target.
        """
        if target.scheme not in self.schemes:
            raise EgressDenied(f"{target.scheme}: is not allowed: the schemes are {', '.join(self.schemes) or 'none'}")
        if not any(entry.admits(target.host, target.port, target.scheme) for entry in self._entries()):
            raise EgressDenied(
                f"{target.authority} is not on the allow-list: whoever runs the sandbox can add "
                f"'{target.authority}' to it"
            )

    def vet(self, target: Target, addresses: Sequence[str]) -> list[str]:
        """Checks what a target's name has resolved to, and returns the addresses that may be connected to.

        Raises:
            EgressDenied: One of them may not be; then none is, since whoever answers so is not to be trusted.
        """
        vetted = []
        for text in addresses:
            if (address := parse_address(text)) is None:
                raise EgressDenied(f"{target.host} resolves to {text!r}, which is no address")
            reason = refusal(address)
            if reason and any(entry.admits(str(address), target.port, target.scheme) for entry in self._entries()):
                reason = None
            if any(address in network or translated(address) in network for network in parse_networks(self.deny)):
                reason = "denied by whoever runs the sandbox"
            if reason:
                raise EgressDenied(f"{target.host} leads to {address}, which is refused: {reason}")
            vetted.append(str(address))
        return vetted

    def _entries(self) -> list[_Entry]:
        return [_Entry.read(text) for text in self.allow]
