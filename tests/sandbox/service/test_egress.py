"""Which URLs and addresses get out: every spelling of a private one is refused before anything is connected to."""

import ipaddress
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sandbox.service.network import Network, response
from workbook.sandbox.service.addresses import refusal
from workbook.sandbox.service.egress import EgressDenied, EgressPolicy, parse

# Whatever reader of URLs might take these for: a private address, or a host that is not allowed.
# fmt: off
SPELLINGS = [
    "http://127.0.0.1/", "http://127.0.0.1./", "http://127.1/", "http://127.0.1/", "http://0/",
    "http://0.0.0.0/", "http://2130706433/", "http://0x7f000001/", "http://017700000001/", "http://0x7f.0.0.1/",
    "http://0177.0.0.1/", "http://127.0.0.1.ok.test.0x/", "http://0X7F.1/", "http://127.0.0.0x1/",
    "http://00000177.0.0.01/", "http://127.000.000.001/", "http://1.2.3.4.5/", "http://256.256.256.256/",
    "http://4294967297/", "http://0x/", "http://１２７.０.０.１/", "http://127。0。0。1/", "http://①②⑦.⓪.⓪.①/",
    "http://ⓛocalhost/", "http://loca\u00adlhost/", "http://127.0.0.1%2eok.test/", "http://%31%32%37.0.0.1/",
    "http://127%2E0%2E0%2E1/", "http://ok.test%00.evil/", "http://[::1]/", "http://[::]/",
    "http://[0:0:0:0:0:0:0:1]/", "http://[::ffff:127.0.0.1]/", "http://[::127.0.0.1]/",
    "http://[::ffff:7f00:1]/", "http://[0:0:0:0:0:ffff:127.0.0.1]/", "http://[64:ff9b::127.0.0.1]/",
    "http://[64:ff9b::a9fe:a9fe]/", "http://[64:ff9b:1::7f00:1]/", "http://[2002:7f00:1::]/",
    "http://[2002:a9fe:a9fe::1]/", "http://[2001:0:7f00:1::]/", "http://[fe80::1]/", "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/", "http://[fec0::1]/", "http://[fc00::1]/", "http://[fd00:ec2::254]/",
    "http://[fd20:ce::254]/", "http://[ff02::1]/", "http://[2001:db8::1]/", "http://[3fff::1]/",
    "http://[2001:2::1]/", "http://[5f00::1]/", "http://[100::1]/", "http://[2a00::5efe:7f00:1]/",
    "http://[2a00::200:5efe:a00:1]/", "http://[v1.fe80::a+en1]/", "http://[127.0.0.1]/", "http://[ok.test]/",
    "http://[::1/", "http://::1/", "http://[::1]ok.test/", "http://ok.test[::1]/", "http://[[::1]]/",
    "http://[::1]]/", "http://[::1]:/", "http://169.254.169.254/latest/meta-data/", "http://2852039166/",
    "http://0xa9fea9fe/", "http://169.254.43518/", "http://100.100.100.200/", "http://168.63.129.16/",
    "http://192.0.0.192/", "http://100.64.0.1/", "http://10.0.0.1/", "http://172.16.0.1/",
    "http://172.31.255.255/", "http://192.168.1.1/", "http://198.18.0.1/", "http://192.0.2.1/",
    "http://198.51.100.1/", "http://203.0.113.1/", "http://224.0.0.1/", "http://240.0.0.1/",
    "http://255.255.255.255/", "http://192.88.99.1/", "http://ok.test@127.0.0.1/", "http://127.0.0.1@ok.test/",
    "http://ok.test:80@evil/", "http://ok.test:pass@127.0.0.1/", "http://@127.0.0.1/",
    "http://ok.test%40127.0.0.1/", "http://evil\\@ok.test/", "http://ok.test\\@127.0.0.1/",
    "http:\\\\127.0.0.1\\", "http://127.0.0.1\\.ok.test/", "http://ok.test\\.evil/", "http://127.0.0.1\t/",
    "http://127.0.\n0.1/", "http://127.0.0.1\r\n/", " http://127.0.0.1/", "ht\ttp://127.0.0.1/",
    "http://ok.test\t.evil/", "http://ok.test .evil/", "http://127.0.0.1\x00.ok.test/", "http://ok.test\u2028/",
    "\x01http://ok.test/", "http://127.0.0.1#@ok.test/", "http://127.0.0.1#.ok.test/",
    "http://127.0.0.1?.ok.test/", "http://127.0.0.1;ok.test/", "http://evil#ok.test", "http://evil?ok.test",
    "http://evil/ok.test", "http://ok.test.evil/", "http://evilok.test.evil/", "http://localhost/",
    "http://LOCALHOST./", "http://localhost.localdomain/", "http://metadata.google.internal/",
    "http:///127.0.0.1/", "http:127.0.0.1/", "http:/127.0.0.1/", "//127.0.0.1/", "///127.0.0.1/", "127.0.0.1",
    "", "http://ok.test:/", "http://ok.test:0/", "http://ok.test:99999/", "http://ok.test:80:80/",
    "http://ok.test:８０/", "http://ok.test:22/", "http://ok.test:+80/", "http://ok.test:0x50/",
    "http://ok..test/", "http://.ok.test/", "http://ok.test../", "http://-ok.test/", "http://a.test/",
    "file:///etc/passwd", "gopher://ok.test/", "ftp://ok.test/", "dict://127.0.0.1:11211/", "data:text/plain,x",
    "javascript:alert(1)", "jar:http://ok.test!/", "unix:///var/run/docker.sock", "http+unix://x/",
    "http://*.ok.test/",
    f"http://ok.test/{'a' * 9000}", f"http://ok.test/{'ü' * 3000}", f"http://{'a' * 300}.ok.test/",
]
# fmt: on


@pytest.mark.parametrize("url", SPELLINGS)
def test_no_spelling_gets_past_the_allow_list(url: str) -> None:
    network = Network(lambda request: response())
    with pytest.raises(EgressDenied):
        network.fetch(url, allow=["ok.test", "*.ok.test"])
    assert network.looked_up == network.connected == []


# Here the name is allowed, as a domain of the attacker's may be; only the address can tell.
@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.1.2.3",
            "169.254.169.254",
            "0.0.0.0",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:8.8.8.8",
            "::8.8.8.8",
        ),
        *(
            "fe80::1%eth0",
            "fe80::1",
            "fd00::1",
            "2002:808:808::1",
            "2001::1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::808:808",
        ),
        *("168.63.129.16", "100.64.0.1", "224.0.0.251", "255.255.255.255", "2001:db8::1", "ff0e::1", "", "nonsense"),
    ],
)
def test_a_name_that_leads_to_a_private_address(address: str) -> None:
    network = Network(lambda request: response(), names={"ok.test": [["93.184.216.34", address]]})
    with pytest.raises(EgressDenied, match=r"ok\.test"):
        network.fetch("http://ok.test/")
    assert network.connected == []  # not even the public one


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "64:ff9b::808:808", "2620:4f:8000::1"]
)
def test_public_addresses(address: str) -> None:
    assert refusal(ipaddress.ip_address(address)) is None


@given(st.integers(0, (1 << 32) - 1))
def test_no_ipv4_address_that_python_knows_as_special_is_public(number: int) -> None:
    address = ipaddress.IPv4Address(number)
    if refusal(address) is None:
        assert address.is_global
        assert (address.is_multicast, address.is_reserved) == (False, False)


@given(st.integers(0, (1 << 32) - 1), st.sampled_from(["::ffff:0:0", "::", "64:ff9b::", "2002::", "2001::"]))
def test_no_ipv4_address_that_is_refused_gets_in_within_an_ipv6_address(number: int, prefix: str) -> None:
    shift = {"2002::": 80, "2001::": 64}.get(prefix, 0)
    address = ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | number << shift)
    if refusal(address) is None:
        assert refusal(ipaddress.IPv4Address(number)) is None


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("http://OK.Test", "http://ok.test/"),
        ("HTTP://ok.test.:80/a?b#c", "http://ok.test/a?b"),
        ("https://ok.test:443/", "https://ok.test/"),
        ("https://ok.test:80?x", "https://ok.test:80/?x"),
        ("http://8.8.8.8./", "http://8.8.8.8/"),
        ("http://[2606:4700::0:1111]:8080/", "http://[2606:4700::1111]:8080/"),
        ("http://ok.test/ü/%zz?q=[1]", "http://ok.test/%C3%BC/%zz?q=%5B1%5D"),
        ("http://ok.test/a@b:c//d", "http://ok.test/a@b:c//d"),
        ("http://xn--bcher-kva.test/", "http://xn--bcher-kva.test/"),
    ],
)
def test_what_is_read_is_canonical(url: str, canonical: str) -> None:
    assert parse(url).url == canonical
    assert parse(canonical) == parse(url)


# fmt: off
_PIECES = st.sampled_from(
    ["http://", "https://", "a", "b.test", "127.0.0.1", "1", "0x7f", ".", "@", ":", "80", "/", "?", "#", "[", "]",
     "::1", "\\", "%", "%2e", "ü", "。", "-", "_", "*", ";", "&", "xn--", "%25", "X", "\t", "\n", " ", "\0"]
)
# fmt: on


@given(st.lists(_PIECES, max_size=10).map(lambda pieces: "http://" + "".join(pieces)))
def test_other_readers_see_the_same_host(url: str) -> None:
    try:
        target = parse(url)
    except EgressDenied:
        return
    for seen in (urlsplit(url).hostname, httpx.URL(url).host):
        host = (seen or "").removesuffix(".")
        assert target.host == (str(ipaddress.ip_address(host)) if target.address else host)
    assert target.port == (urlsplit(url).port or {"http": 80, "https": 443}[target.scheme])


@pytest.mark.parametrize(
    ("entry", "admitted", "refused"),
    [
        (
            "ok.test",
            ["http://ok.test", "https://OK.test./x"],
            ["http://a.ok.test", "http://ok.test:81", "http://xok.test"],
        ),
        ("ok.test:81", ["http://ok.test:81", "https://ok.test:81"], ["http://ok.test", "https://ok.test"]),
        (
            "*.ok.test",
            ["http://a.ok.test", "http://a.b.ok.test"],
            ["http://ok.test", "http://aok.test", "http://a.ok.test:8"],
        ),
        ("*.ok.test:8", ["http://a.ok.test:8"], ["http://a.ok.test"]),
        ("Ok.Test.", ["http://ok.test"], ["http://test"]),
        ("127.0.0.1:8", ["http://127.0.0.1:8"], ["http://127.0.0.1", "http://127.0.0.2:8", "http://localhost:8"]),
        ("::1", ["http://[::1]", "http://[0::1]"], ["http://[::1]:8", "http://[::2]"]),
        ("[::1]:8", ["http://[::1]:8"], ["http://[::1]"]),
    ],
)
def test_allow_list(entry: str, admitted: list[str], refused: list[str]) -> None:
    policy = EgressPolicy(allow=(entry,))
    for url in admitted:
        policy.check(parse(url))
    for url in refused:
        with pytest.raises(EgressDenied, match="not on the allow-list"):
            policy.check(parse(url))


def test_nothing_is_allowed_by_default() -> None:
    with pytest.raises(EgressDenied, match=r"whoever runs the sandbox can add 'ok\.test' to it"):
        EgressPolicy().check(parse("https://ok.test/"))


@pytest.mark.parametrize(
    "entry",
    [
        "*",
        "*.",
        "*.1.2.3.4",
        "*.*.test",
        "http://ok.test",
        "ok.test/",
        "ok.test/x",
        "ok.test:*",
        "a b",
        "",
        "10.0.0.0/8",
        "127.1",
    ],
)
def test_an_entry_that_means_nothing_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="allow-list"):
        EgressPolicy(allow=(entry,))


def test_other_parts_of_a_policy_are_checked() -> None:
    with pytest.raises(ValueError, match="schemes"):
        EgressPolicy(schemes=("file",))
    with pytest.raises(ValueError, match="below zero"):
        EgressPolicy(max_bytes=-1)
    with pytest.raises(ValueError, match=r"10\.0"):
        EgressPolicy(deny=("10.0.0.1/8",))
    with pytest.raises(EgressDenied, match="the schemes are https"):
        EgressPolicy(allow=("ok.test",), schemes=("https",)).check(parse("http://ok.test"))


def test_an_address_is_exempt_only_where_the_policy_has_that_very_address_and_port() -> None:
    names = {"inner.test": [["10.0.0.7"]], "other.test": [["10.0.0.8"]]}
    network = Network(lambda request: response(body=b"hello"), names=names)
    allow = ["inner.test:8080", "other.test:8080", "10.0.0.7:8080"]
    assert network.fetch("http://inner.test:8080/", allow).body == b"hello"
    assert network.connected == ["10.0.0.7"]
    with pytest.raises(EgressDenied, match=r"10\.0\.0\.8, which is refused: private"):
        network.fetch("http://other.test:8080/", allow)
    with pytest.raises(EgressDenied, match=r"10\.0\.0\.7"):
        network.fetch("http://inner.test/", ["inner.test", "10.0.0.7:8080"])


@pytest.mark.parametrize("address", ["93.184.216.34", "64:ff9b::5db8:d822", "2a00::1"])
def test_what_is_denied_is_so_whatever_else_allows_it(address: str) -> None:
    network = Network(lambda request: response(), names={"ok.test": [[address]]})
    policy = EgressPolicy(allow=("ok.test", address), deny=("93.184.216.0/24", "2a00::/16"))
    with pytest.raises(EgressDenied, match="denied by whoever runs the sandbox"):
        network.fetch("http://ok.test/", policy=policy)
