"""Which IP addresses belong to somebody on the public internet, and which lead to a network of one's own."""

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# IANA's registries of special-purpose addresses (RFC 6890), and some that they lack. `is_global` is asked too, but what
# it knows depends on Python's version.
_REFUSED = {
    "0.0.0.0/8": "unspecified: it leads to this machine",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "carrier-grade NAT, and some clouds' metadata",
    "127.0.0.0/8": "loopback: it leads to this machine",
    "168.63.129.16/32": "a cloud's metadata, at an address that looks public",
    "169.254.0.0/16": "link-local, and clouds' metadata",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "reserved for protocols",
    "192.0.2.0/24": "documentation",
    "192.88.99.0/24": "a relay of 6to4",
    "192.168.0.0/16": "private",
    "198.18.0.0/15": "benchmarking",
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
    "::/128": "unspecified: it leads to this machine",
    "::1/128": "loopback: it leads to this machine",
    "::ffff:0:0/96": "an IPv4 address within IPv6 (mapped)",
    "::/96": "an IPv4 address within IPv6 (compatible)",
    "64:ff9b:1::/48": "an IPv4 address within IPv6 (local NAT64)",
    "2001::/32": "an IPv4 address within IPv6 (Teredo)",
    "2001:2::/48": "benchmarking",
    "2001:db8::/32": "documentation",
    "2001::/23": "reserved for protocols",
    "2002::/16": "an IPv4 address within IPv6 (6to4)",
    "3fff::/20": "documentation",
    "fc00::/7": "private",
    "fe80::/10": "link-local",
    "fec0::/10": "site-local",
    "ff00::/8": "multicast",
}
_REFUSED_NETWORKS = [(ipaddress.ip_network(network), reason) for network, reason in _REFUSED.items()]
_UNICAST = ipaddress.IPv6Network("2000::/3")  # all that IANA has given out for the public internet
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)  # in the third quarter of an address, before an IPv4 address (RFC 5214)


def translated(address: Address) -> Address:
    """The address at which a packet arrives: the IPv4 one where NAT64 translates, else the same."""
    if isinstance(address, ipaddress.IPv6Address) and address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def refusal(address: Address) -> str | None:
    """Says why an address is no public one; None for one that is.

    An IPv4 address within an IPv6 address is refused whatever it is, except under the well-known prefix of NAT64
    (RFC 6052), where it decides: a machine that has IPv6 alone reaches the IPv4 internet by such addresses.
    """
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        return "an address with a zone"
    address = translated(address)
    for network, reason in _REFUSED_NETWORKS:
        if address in network:
            return reason
    if isinstance(address, ipaddress.IPv6Address):
        if address not in _UNICAST:
            return "not an address of the public internet"
        if int(address) >> 32 & 0xFFFF_FFFF in _ISATAP:
            return "an IPv4 address within IPv6 (ISATAP)"
    return None if address.is_global else "not an address of the public internet"


def parse_address(text: str) -> Address | None:
    """Reads an address in its one usual spelling, without brackets; None for anything else."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def parse_networks(texts: Iterable[str]) -> list[Network]:
    """Reads networks, as in `198.51.100.0/24`, and addresses.

    Raises:
        ValueError: One is neither.
    """
    return [ipaddress.ip_network(text) for text in texts]
