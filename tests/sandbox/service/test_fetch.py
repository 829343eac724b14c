"""`http_fetch` on a simulated network: redirects, tries and pauses, sizes and times, to the second."""

import contextlib
import gzip
import itertools
import ssl
import zlib
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sandbox.service.network import PUBLIC, Answer, Body, Network, in_turn, response
from workbook.sandbox.service.egress import EgressDenied, EgressPolicy
from workbook.sandbox.service.fetch import RETRIED, FetchFailed, FetchTimeout, TooLarge

RESET = httpx.ReadError("connection reset by peer")


def redirects(**to: str) -> Network:
    """A network in which `http://<name>.test` leads elsewhere; other names answer."""

    def serve(request: httpx.Request) -> Answer:
        location = to.get(request.headers["host"].partition(".")[0])
        return response(302, location=location) if location else response(body=b"here")

    return Network(serve)


def test_a_fetch() -> None:
    network = Network(lambda request: response(body=b"hello", Content_Type="text/plain", ETag="x"))
    fetched = network.fetch("https://OK.test/a?b", headers={"X-Mine": "1"})
    assert (fetched.status, fetched.body, fetched.url, fetched.attempts) == (200, b"hello", "https://ok.test/a?b", 1)
    assert fetched.headers == {"content-type": "text/plain", "etag": "x"}
    assert not fetched.truncated
    [request] = network.requests
    assert str(request.url) == f"https://{PUBLIC}/a?b"
    assert request.headers["host"] == request.extensions["sni_hostname"] == "ok.test"
    assert request.headers["x-mine"] == "1"


def test_what_is_connected_to_is_what_was_checked() -> None:
    """A name that answers otherwise when it is asked again (DNS rebinding) is asked once a step."""
    network = Network(lambda request: response(), names={"ok.test": [[PUBLIC], ["127.0.0.1"]]})
    network.fetch("http://ok.test/")
    assert (network.looked_up, network.connected) == (["ok.test"], [PUBLIC])
    with pytest.raises(EgressDenied, match="loopback"):
        network.fetch("http://ok.test/")
    assert network.connected == [PUBLIC]


def test_a_redirect_to_the_same_name_is_looked_up_and_checked_again() -> None:
    network = redirects(a="/again")
    network.names["a.test"] = [[PUBLIC], ["169.254.169.254"]]
    with pytest.raises(EgressDenied, match="link-local"):
        network.fetch("http://a.test/")
    assert network.connected == [PUBLIC]


def test_a_retry_is_looked_up_and_checked_again() -> None:
    network = Network(lambda request: RESET, names={"ok.test": [[PUBLIC], ["10.0.0.1"]]}, chance=iter([0.0]))
    with pytest.raises(EgressDenied, match="private"):
        network.fetch("http://ok.test/", on_error="retry_with_backoff")
    assert network.connected == [PUBLIC]


def test_the_next_address_is_tried_where_one_takes_no_connection() -> None:
    names = {"ok.test": [["2a00::1", "93.184.216.34"]]}
    network = Network(in_turn(httpx.ConnectError("refused"), response(body=b"x")), names=names)
    fetched = network.fetch("http://ok.test/", method="POST")
    assert (network.connected, fetched.attempts) == (["2a00::1", "93.184.216.34"], 1)
    assert [request.extensions["timeout"]["connect"] for request in network.requests] == [5.0, 10.0]


@pytest.mark.parametrize(
    "location",
    [
        *("http://127.0.0.1/", "http://[::1]/", "//evil/", "https://evil/", "http://0x7f.1/", "file:///etc/passwd"),
        *(
            "http://a.test@evil/",
            "http://ok.test\\@evil/",
            "\\\\evil\\",
            "http:\\\\evil",
            "/\t/evil",
            "http://evil\r\nx: y",
        ),
        *(
            "//１２７.0.0.1/",
            "http://ok.test:22/",
            "http://user:word@b.test/",
            "//[::ffff:10.0.0.1]/",
            "http://[/",
            " //evil",
        ),
    ],
)
def test_a_redirect_that_is_refused(location: str) -> None:
    def serve(request: httpx.Request) -> Answer:
        return httpx.Response(302, headers=[(b"location", location.encode())], stream=Body())

    network = Network(serve)
    with pytest.raises(EgressDenied):
        network.fetch("http://a.test/", on_error="retry_with_backoff")
    assert len(network.requests) == 1


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/x", "http://a.test/x"),
        ("x?y", "http://a.test/one/x?y"),
        ("//b.test/x", "http://b.test/x"),
        ("https://b.test", "https://b.test/"),
        ("http://b.test/ü#z", "http://b.test/%C3%BC"),
        ("?q", "http://a.test/one/two?q"),
    ],
)
def test_a_redirect_that_is_followed(location: str, url: str) -> None:
    first = httpx.Response(302, headers=[(b"Location", location.encode())], stream=Body(b"never read"))
    network = Network(in_turn(first, response(body=b"here")))
    fetched = network.fetch("http://a.test/one/two")
    assert (fetched.url, fetched.body, fetched.attempts) == (url, b"here", 1)


def test_redirects_in_a_circle_end() -> None:
    network = redirects(a="http://b.test/", b="http://a.test/")
    with pytest.raises(FetchFailed, match="more than 5 redirects"):
        network.fetch("http://a.test/")
    assert len(network.requests) == 6


def test_redirects_may_be_forbidden() -> None:
    with pytest.raises(FetchFailed, match="more than 0 redirects"):
        redirects(a="/").fetch("http://a.test/", policy=EgressPolicy(allow=("a.test",), max_redirects=0))


def test_encryption_is_not_given_up() -> None:
    with pytest.raises(EgressDenied, match="not encrypted"):
        redirects(a="http://b.test/").fetch("https://a.test/")


def test_what_may_be_secret_stays_with_its_origin() -> None:
    secrets = dict.fromkeys(("Authorization", "Cookie", "X-Api-Key", "Private-Token", "Referer"), "s")
    network = redirects(a="http://a.test:8080/", b="/c", c="http://b.test/")
    network.serve = in_turn(
        response(302, location="/same"), response(302, location="http://b.test/", set_cookie="a=b"),
        response(302, location="http://a.test/"), response(),
    )  # fmt: skip
    network.fetch("http://a.test/", headers={**secrets, "Accept": "text/html"})
    carried = [{name.lower() for name in secrets} & set(request.headers) for request in network.requests]
    assert [len(names) for names in carried] == [5, 5, 0, 0]  # and not back to where they came from, either
    assert all(request.headers["accept"] == "text/html" for request in network.requests)
    assert all("cookie" not in request.headers for request in network.requests[2:])


@pytest.mark.parametrize("location", ["http://a.test:8080/", "https://a.test/", "http://b.a.test/"])
def test_another_port_scheme_or_subdomain_is_another_origin(location: str) -> None:
    network = Network(in_turn(response(302, location=location), response()))
    network.fetch("http://a.test/", headers={"Authorization": "s"})
    assert "authorization" not in network.requests[1].headers


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        *((301, "POST", "GET"), (302, "POST", "GET"), (303, "POST", "GET"), (303, "PUT", "GET"), (303, "HEAD", "HEAD")),
        *((307, "POST", "POST"), (308, "PUT", "PUT"), (301, "PUT", "PUT"), (302, "HEAD", "HEAD"), (302, "GET", "GET")),
    ],
)
def test_the_method_after_a_redirect(status: int, method: str, then: str) -> None:
    network = Network(in_turn(response(status, location="/x"), response()))
    network.fetch("http://a.test/", method=method, body=b"data", headers={"content-type": "text/plain"})
    request = network.requests[1]
    assert request.method == then
    assert (request.content, "content-type" in request.headers) == ((b"data", True) if then == method else (b"", False))


@pytest.mark.parametrize(
    "name", ["Host", "content-length", "Transfer-Encoding", "Connection", "TE", "Upgrade", "Expect"]
)
def test_headers_that_are_not_the_callers(name: str) -> None:
    with pytest.raises(EgressDenied, match="not yours to set"):
        Network(lambda request: response()).fetch("http://a.test/", headers={name: "x"})


@pytest.mark.parametrize(
    ("name", "value"),
    [("a", "b\r\nhost: evil"), ("a", "b\n"), ("a: b\r\nc", "d"), ("a", "\0"), ("", "x"), ("a b", "c"), ("a", "ü"),
     ("a", " b"), ("a", "x" * 40_000), (":path", "/x"), ("Proxy-Authorization", "x")],
)  # fmt: skip
def test_headers_that_are_malformed(name: str, value: str) -> None:
    network = Network(lambda request: response())
    with pytest.raises(EgressDenied):
        network.fetch("http://a.test/", headers={name: value})
    assert network.looked_up == []


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "get", "GET /x HTTP/1.1\r\nX: ", ""])
def test_methods_that_are_not_sent(method: str) -> None:
    with pytest.raises(EgressDenied, match="method"):
        Network(lambda request: response()).fetch("http://a.test/", method=method)


@pytest.mark.parametrize(
    "options",
    [{"timeout": 0}, {"timeout": float("nan")}, {"timeout": float("inf")}, {"retries": -1}, {"on_error": "x"}],
)
def test_arguments_that_mean_nothing(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Network(lambda request: response()).fetch("http://a.test/", **options)


@pytest.mark.parametrize("status", sorted(RETRIED))
def test_pauses_double_up_to_a_bound_and_have_full_jitter(status: int) -> None:
    network = Network(
        in_turn(*[response(status)] * 6, response(body=b"x")), chance=iter([0.5, 0.0, 0.25, 0.999, 0.5, 1.0])
    )
    fetched = network.fetch("http://a.test/", retries=6, on_error="retry_with_backoff", timeout=60)
    assert network.slept == [0.25, 0.0, 0.5, 3.996, 4.0, 8.0]  # of 0.5, 1, 2, 4, 8 and 8
    assert fetched.attempts == 7
    assert fetched.seconds == pytest.approx(16.746)


def test_the_last_error_is_raised() -> None:
    network = Network(in_turn(RESET, response(503), response(429, body=b"why")), chance=itertools.repeat(1.0))
    with pytest.raises(FetchFailed, match=r"answered 429 Too Many Requests \(try 3, and the last\)") as caught:
        network.fetch("http://a.test/", on_error="retry_with_backoff")
    assert network.slept == [0.5, 1.0]
    assert caught.value.response is not None
    assert (caught.value.response.status, caught.value.response.body) == (429, b"why")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 501, 505])
def test_an_error_that_does_not_pass_is_not_tried_again(status: int) -> None:
    network = Network(lambda request: response(status))
    with pytest.raises(FetchFailed, match=str(status)):
        network.fetch("http://a.test/", on_error="retry_with_backoff")
    assert len(network.requests) == 1


@pytest.mark.parametrize(
    ("method", "key", "tries"),
    [*((method, None, 3) for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS")), ("POST", None, 1),
     ("PATCH", None, 1), ("POST", "k", 3), ("PATCH", "k", 3)],
)  # fmt: skip
def test_only_what_may_be_repeated_is(method: str, key: str | None, tries: int) -> None:
    network = Network(lambda request: response(503), chance=itertools.repeat(0.0))
    with pytest.raises(FetchFailed, match="503"):
        network.fetch("http://a.test/", method=method, idempotency_key=key, on_error="retry_with_backoff")
    assert [request.headers.get("idempotency-key") for request in network.requests] == [key] * tries


@pytest.mark.parametrize(
    ("value", "pause"),
    [
        *(("7", 7.25), ("0", 0.25), ("Thu, 01 Jan 2026 00:00:05 GMT", 5.25), ("Thu, 01 Jan 2026 00:00:05 -0000", 5.25)),
        *(
            ("Wed, 31 Dec 2025 23:59:00 GMT", 0.25),
            ("soon", 0.25),
            ("-5", 0.25),
            ("1.5", 0.25),
            ("٣", 0.25),
            ("", 0.25),
        ),
        *(
            ("Thu, 01 Jan 2026 01:00:05 +0100", 5.25),
            ("Thu, 99 Jan 2026 00:00:05 GMT", 0.25),
            (f"Thu, 01 Jan {10**20} 00:00:05 GMT", 0.25),
            ("30", 30.25),
        ),
    ],
)
def test_retry_after(value: str, pause: float) -> None:
    busy = httpx.Response(503, headers=[(b"retry-after", value.encode("latin-1", "replace"))], stream=Body())
    network = Network(in_turn(busy, response()), chance=iter([0.5]))
    network.fetch("http://a.test/", on_error="retry_with_backoff", timeout=60)
    assert network.slept == [pause]


@pytest.mark.parametrize(
    ("value", "timeout"), [("31", 600), ("9" * 400, 600), ("Fri, 02 Jan 2026 00:00:00 GMT", 600), ("20", 20)]
)
def test_a_server_that_wants_to_be_left_alone_longer_is(value: str, timeout: float) -> None:
    network = Network(lambda request: response(503, retry_after=value), chance=iter([0.5]))
    with pytest.raises(FetchFailed, match=r"try again in \d+ s, as it asks"):
        network.fetch("http://a.test/", on_error="retry_with_backoff", timeout=timeout)
    assert network.slept == []


def test_no_pause_goes_beyond_the_deadline() -> None:
    network = Network(lambda request: RESET, chance=itertools.repeat(1.0))
    with pytest.raises(FetchFailed, match="connection reset by peer"):
        network.fetch("http://a.test/", on_error="retry_with_backoff", retries=9, timeout=7)
    assert network.slept == [0.5, 1.0, 2.0]  # 4 more would be 7.5
    assert [request.extensions["timeout"]["read"] for request in network.requests] == [7.0, 6.5, 5.5, 3.5]


@given(st.text("0123456789,:+- adegnTGMuJ", max_size=40))
def test_whatever_retry_after_says(value: str) -> None:
    busy = httpx.Response(503, headers=[("retry-after", value)], stream=Body())
    network = Network(in_turn(busy, response()), chance=itertools.repeat(0.0))
    with contextlib.suppress(FetchFailed):  # it asked for too long
        assert network.fetch("http://a.test/", on_error="retry_with_backoff", timeout=60).attempts == 2


def test_an_error_of_the_tls_layer_is_one_of_the_connection() -> None:
    network = Network(in_turn(ssl.SSLError(1, "bad record mac"), response()), chance=iter([0.0]))
    assert network.fetch("https://a.test/", on_error="retry_with_backoff").attempts == 2


def test_a_key_is_sent_once() -> None:
    network = Network(lambda request: response())
    network.fetch("http://a.test/", headers={"Idempotency-Key": "mine"}, idempotency_key="k")
    assert network.requests[0].headers.get_list("idempotency-key") == ["k"]


def test_raise_tries_once() -> None:
    network = Network(lambda request: RESET)
    with pytest.raises(FetchFailed, match="connection reset by peer"):
        network.fetch("http://a.test/")
    assert (len(network.requests), network.slept) == (1, [])


def test_return_raises_nothing_but_refusals() -> None:
    network = Network(in_turn(response(503, body=b"busy"), RESET))
    fetched = network.fetch("http://a.test/", on_error="return")
    assert (fetched.status, fetched.body, fetched.error) == (503, b"busy", None)
    fetched = network.fetch("http://a.test/", on_error="return")
    assert (fetched.status, fetched.body, fetched.attempts) == (0, b"", 1)
    assert fetched.error is not None
    assert fetched.error.startswith("FetchFailed: the connection for http://a.test/ failed")
    with pytest.raises(EgressDenied):
        network.fetch("http://evil/", on_error="return")


def test_a_name_that_is_not_there_is_not_tried_again() -> None:
    network = Network(lambda request: response(), names={"a.test": [[]]})
    with pytest.raises(FetchFailed, match=r"a\.test was not found"):
        network.fetch("http://a.test/", on_error="retry_with_backoff")
    assert len(network.looked_up) == 1


def test_a_certificate_that_is_not_trusted_is_not_tried_again() -> None:
    def serve(request: httpx.Request) -> Answer:
        error = httpx.ConnectError("no")
        error.__cause__ = ssl.SSLCertVerificationError(1, "self-signed")
        return error

    network = Network(serve)
    with pytest.raises(FetchFailed, match=r"certificate of a\.test"):
        network.fetch("https://a.test/", on_error="retry_with_backoff")
    assert len(network.requests) == 1


def test_a_body_that_comes_slowly_ends_with_the_deadline() -> None:
    network = Network(lambda request: response(body=body))
    body = Body(*[b"x"] * 1000, network=network, seconds=3)
    with pytest.raises(FetchTimeout, match=r"took more than 10 s"):
        network.fetch("http://a.test/", on_error="retry_with_backoff")
    assert body.read == 4  # which came after 12 seconds
    assert network.fetch("http://a.test/", on_error="return").error is not None


def test_a_deadline_counts_all_tries_and_tells_what_was_before() -> None:
    network = Network(lambda request: response(body=Body(b"x", b"y", network=network, seconds=6)), chance=iter([1.0]))
    network.serve = in_turn(response(503), network.serve(httpx.Request("GET", "http://x")))
    with pytest.raises(FetchTimeout, match=r"before that, http://a\.test/ answered 503"):
        network.fetch("http://a.test/", on_error="retry_with_backoff")


def test_a_body_that_is_too_large() -> None:
    policy = EgressPolicy(allow=("a.test",), max_bytes=10)
    body = Body(*[b"12345"] * 1000)
    network = Network(lambda request: response(body=body))
    with pytest.raises(TooLarge, match="more than 10 bytes"):
        network.fetch("http://a.test/", policy=policy)
    assert body.read == 3
    fetched = network.fetch("http://a.test/", policy=policy, on_error="return")
    assert (fetched.body, fetched.truncated, fetched.status) == (b"1234512345", True, 200)
    network.serve = in_turn(response(body=b"1234567890"))
    assert not network.fetch("http://a.test/", policy=policy).truncated


@pytest.mark.parametrize("length", ["11", "9" * 30])
def test_a_body_that_says_that_it_is_too_large_is_not_read(length: str) -> None:
    policy = EgressPolicy(allow=("a.test",), max_bytes=10)
    body = Body(b"x")
    network = Network(lambda request: response(body=body, content_length=length))
    with pytest.raises(TooLarge):
        network.fetch("http://a.test/", policy=policy)
    assert body.read == 0
    assert network.fetch("http://a.test/", policy=policy, method="HEAD").status == 200


@pytest.mark.parametrize("split", [1, 7, 1 << 20])
def test_gzip(split: int) -> None:
    packed = gzip.compress(b"hello " * 100) + gzip.compress(b"world") + bytes(5)
    pieces = [packed[start : start + split] for start in range(0, len(packed), split)]
    network = Network(
        lambda request: response(body=Body(*pieces), content_encoding="GZIP", content_length=str(len(packed)))
    )
    fetched = network.fetch("http://a.test/")
    assert (fetched.body, fetched.headers) == (b"hello " * 100 + b"world", {})
    assert network.requests[0].headers["accept-encoding"] == "gzip"


def test_a_gzip_bomb_is_stopped_at_the_size_of_a_body() -> None:
    policy = EgressPolicy(allow=("a.test",), max_bytes=100_000)
    bomb = gzip.compress(bytes(50 << 20))
    network = Network(lambda request: response(body=bomb, content_encoding="gzip"))
    with pytest.raises(TooLarge):
        network.fetch("http://a.test/", policy=policy)
    cut = network.fetch("http://a.test/", policy=policy, on_error="return")
    assert (len(cut.body), cut.truncated) == (100_000, True)


def test_gzip_of_nothing_without_end_is_stopped_too() -> None:
    network = Network(lambda request: response(body=Body(*[gzip.compress(b"")] * 10_000), content_encoding="gzip"))
    with pytest.raises(TooLarge):
        network.fetch("http://a.test/", policy=EgressPolicy(allow=("a.test",), max_bytes=1000))
    with pytest.raises(FetchFailed, match="more than 1000 members"):
        network.fetch("http://a.test/")


@pytest.mark.parametrize(
    ("body", "coding", "reason"),
    [(b"no gzip", "gzip", "not gzip"), (gzip.compress(b"x", mtime=0)[:-3], "gzip", "ended in the middle"),
     (b"x", "br", "not asked for"), (zlib.compress(b"x"), "deflate", "not asked for"),
     (b"x", "gzip, gzip", "not asked for")],
)  # fmt: skip
def test_encodings_that_fail(body: bytes, coding: str, reason: str) -> None:
    with pytest.raises(FetchFailed, match=reason):
        Network(lambda request: response(body=body, content_encoding=coding)).fetch("http://a.test/")


def test_headers_that_are_too_large() -> None:
    with pytest.raises(TooLarge, match="headers"):
        Network(lambda request: response(big="x" * 40_000)).fetch("http://a.test/")


def test_headers_of_one_name_are_joined() -> None:
    answer = httpx.Response(200, headers=[("a", "1"), ("A", "2")], stream=Body())
    assert Network(lambda request: answer).fetch("http://a.test/").headers == {"a": "1, 2"}


def test_a_switch_of_protocols_is_no_response() -> None:
    with pytest.raises(FetchFailed, match="101"):
        Network(lambda request: response(101)).fetch("http://a.test/")
