"""The client, against servers that mean it harm or have a bad day."""

import asyncio
import json
import time
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from workbook.sandbox import client_wire
from workbook.sandbox.client import (
    BadAnswer,
    ConnectionLost,
    FetchTimeout,
    Full,
    NotFound,
    SandboxClient,
    SandboxError,
    Session,
    SessionNotFound,
    Unavailable,
)
from workbook.sandbox.client_errors import error_of
from workbook.sandbox.client_results import result_of

PREFIX = "urn:inference-workbook:problem:"
RESULT: dict[str, Any] = {
    **{"cell": "c1", "status": "ok", "text": "2", "outputs": [], "error": None, "state_lost": False},
    **{"truncated": False, "seconds": 0.1, "execution_count": 1},
}


class Endless(httpx.AsyncByteStream):
    """A body without an end."""

    def __init__(self, part: bytes = bytes(1 << 20), pause: float = 0) -> None:
        self._part, self._pause = part, pause

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(self._pause)
            yield self._part


class Once(Endless):
    """A body that ends."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._part


Answer = Callable[[httpx.Request], httpx.Response]


def against(
    *answers: httpx.Response | Exception | Answer, patience: float = 5.0
) -> tuple[Session, list[httpx.Request]]:
    """A session of a service that answers so, in turn, and the last one again and again."""
    left, requests = list(answers), []

    async def handle(request: httpx.Request) -> httpx.Response:
        await request.aread()
        requests.append(request)
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        answer = answer if isinstance(answer, httpx.Response) else answer(request)
        if answer.is_closed:  # it has its content, and can be sent but once
            return httpx.Response(answer.status_code, headers=answer.headers, stream=Once(answer.content))
        return answer

    client = SandboxClient("http://service.test", "secret", patience=patience, transport=httpx.MockTransport(handle))
    return client.attach("s"), requests


def refusal(status: int, kind: str, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json={"type": PREFIX + kind, "title": "t", "detail": "d"}, headers=named)


def test_it_asks_again_with_the_same_key() -> None:
    agent, requests = against(
        *(httpx.ConnectError("no"), httpx.ReadError("gone"), refusal(503, "store", retry_after="1")),
        *(refusal(429, "full"), httpx.Response(200, json=RESULT)),
    )
    assert agent.execute("1 + 1").text == "2"
    assert len(requests) == 5
    assert len({request.headers["idempotency-key"] for request in requests}) == 1
    agent.execute("1 + 1")
    assert requests[5].headers["idempotency-key"] != requests[0].headers["idempotency-key"]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.ConnectError("no"), ConnectionLost),
        (httpx.RemoteProtocolError("no HTTP"), ConnectionLost),
        (refusal(429, "full", retry_after="1"), Full),
        (refusal(503, "store"), Unavailable),
        (refusal(503, "store", retry_after="9" * 400), Unavailable),
        (refusal(503, "store", retry_after="Fri, 31 Dec 9999 23:59:59 GMT"), Unavailable),
    ],
)
def test_its_patience_ends(answer: httpx.Response | Exception, kind: type[SandboxError]) -> None:
    agent, _ = against(answer, patience=1.0)
    began = time.monotonic()
    with pytest.raises(kind):
        agent.execute("1")
    assert time.monotonic() - began < 3


def test_what_may_not_be_done_twice_is_not() -> None:
    agent, requests = against(httpx.Response(201, json={"id": "p1"}), httpx.ReadError("gone"))
    program = agent.run(["cat"], has_input=True)
    with pytest.raises(ConnectionLost):
        program.write("once")
    assert len(requests) == 2


def test_what_is_done_once_with_a_key_is_asked_for_again() -> None:
    asks: list[tuple[Callable[[Session], object], httpx.Response]] = [
        (lambda agent: agent.filesystem.append("a", "b"), httpx.Response(200, json={"size": 1})),
        (lambda agent: agent.filesystem.make_folder("a"), httpx.Response(201, json={"path": "a"})),
        (lambda agent: agent.filesystem.remove("a"), httpx.Response(204)),
        (lambda agent: agent.run(["a"]), httpx.Response(201, json={"id": "p1"})),
    ]
    for ask, answer in asks:
        agent, requests = against(httpx.ReadError("gone"), answer)
        ask(agent)
        ask(agent)
        keys = [request.headers["idempotency-key"] for request in requests]
        assert len(keys) == 3
        assert keys[0] == keys[1] != keys[2]


def test_what_will_not_change_is_not_asked_again() -> None:
    for status, kind, error in (
        (404, "unknown-session", SessionNotFound),
        (403, "quota", SandboxError),
        (504, "fetch-timeout", FetchTimeout),
        (500, "internal", SandboxError),
    ):
        agent, requests = against(refusal(status, kind))
        with pytest.raises(error):
            agent.execute("1")
        assert len(requests) == 1


def test_the_token_goes_nowhere_else() -> None:
    for status in (301, 302, 303, 307, 308):
        agent, requests = against(httpx.Response(status, headers={"Location": "http://other.test/steal"}))
        with pytest.raises(BadAnswer, match="not followed"):
            agent.execute("1")
        assert [request.url.host for request in requests] == ["service.test"]
    for url in ("ftp://a", "service.test", "http://", "http://user:password@a", "file:///etc/passwd"):
        with pytest.raises((ValueError, httpx.InvalidURL)):
            SandboxClient(url, "token")
    for token in ("", "a\nb", "ü"):
        with pytest.raises(ValueError, match="token"):
            SandboxClient("http://a", token)


BOMB = zlib.compress(bytes(100 << 20))


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: httpx.Response(200, stream=Endless()),
        lambda _: httpx.Response(404, stream=Endless()),
        lambda _: httpx.Response(200, stream=Once(BOMB), headers={"Content-Encoding": "deflate"}),
        lambda _: httpx.Response(200, content=b"[" * (9 << 20)),
        lambda _: httpx.Response(200, content=b"[" * 100_000),
        lambda _: httpx.Response(200, content=b'{"a":' * 50_000),
        lambda _: httpx.Response(200, content=b'{"a": ' + b"9" * 5000 + b"}"),
        lambda _: httpx.Response(200, content=b"\xff"),
        lambda _: httpx.Response(200, json=[]),
        lambda _: httpx.Response(200, json={}),
        lambda _: httpx.Response(200),
        lambda _: httpx.Response(200, json={**RESULT, "text": 1}),
        lambda _: httpx.Response(200, json={**RESULT, "outputs": [1]}),
        lambda _: httpx.Response(200, json={**RESULT, "outputs": [{"output_type": 1}]}),
        lambda _: httpx.Response(200, json={**RESULT, "error": "x"}),
        lambda _: httpx.Response(200, json={**RESULT, "status": "new"}),
        lambda _: httpx.Response(200, json={**RESULT, "seconds": True}),
        lambda _: httpx.Response(100),
    ],
)
def test_bad_answers(answer: Answer) -> None:
    agent, requests = against(answer)
    began = time.monotonic()
    with pytest.raises(SandboxError):
        agent.execute("1")
    assert time.monotonic() - began < 5
    assert len(requests) == 1


def test_an_answer_that_drips_is_not_waited_for() -> None:
    agent, _ = against(httpx.Response(200, stream=Endless(b" ", 0.05)), patience=0)
    began = time.monotonic()
    with pytest.raises(ConnectionLost):
        agent.execute("1", wait=0.5)
    assert time.monotonic() - began < 3


def stream_of(*parts: bytes) -> httpx.Response:
    return httpx.Response(200, content=b"".join(parts), headers={"Content-Type": "text/event-stream"})


def test_streams_that_break_off_or_never_end(monkeypatch: pytest.MonkeyPatch) -> None:
    result = b"event: result\ndata: " + json.dumps(RESULT).encode() + b"\n\n"
    output = b'event: output\ndata: {"msg_type": "stream", "content": {"name": "stdout", "text": "1"}}\n\n'
    came: list[Any] = []

    def keep(*one: Any) -> None:
        came.append(one)

    agent, requests = against(stream_of(output[:50]), stream_of(b": heartbeat\n\n", output), stream_of(output, result))
    assert agent.execute("1", on_output=keep).text == "2"
    assert len(requests) == 3
    assert len({request.headers["idempotency-key"] for request in requests}) == 1
    agent, _ = against(stream_of(b"event: problem\ndata: ", refusal(404, "unknown-context").content, b"\n\n"))
    with pytest.raises(NotFound):
        agent.execute("1", on_output=print)
    monkeypatch.setattr(client_wire, "MOST_JSON", 1 << 20)
    for body, wait in ((Endless(b"x" * 1000), 20.0), (Endless(b": heartbeat\n\n", 0.05), 0.5)):
        headers = {"Content-Type": "text/event-stream"}
        agent, _ = against(httpx.Response(200, stream=body, headers=headers), patience=0)
        with pytest.raises(SandboxError):
            agent.execute("1", on_output=print, wait=wait)
    for response in (
        *(httpx.Response(200, json=RESULT), stream_of(b"event: output\ndata: {}\n\n")),
        *(stream_of(b"event: result\ndata: 1\n\n"), stream_of(b"event: result\ndata: {}\n\n")),
    ):
        agent, _ = against(response, patience=0)
        with pytest.raises(BadAnswer):
            agent.execute("1", on_output=print)


def test_a_place_that_is_no_number_is_none() -> None:
    def output(place: str, data: str) -> bytes:
        return f'id: {place}\nevent: output\ndata: {{"stream": "stdout", "base64": "{data}"}}\n\n'.encode()

    ended = b'event: ended\ndata: {"status": 0}\n\n'
    started = httpx.Response(201, json={"id": "p1"})
    session, _ = against(started, stream_of(output("9" * 5000, "eA=="), output("2", "eXk="), ended))
    assert session.run(["x"]).output() == (b"yy", b"")


def test_errors_of_any_document() -> None:
    documents: list[Any] = [
        {},
        [],
        {"type": 1},
        {"type": "x" * 10_000, "detail": ["y"] * 10_000},
        {"detail": None, "z": {}},
    ]
    for document in documents:
        error = error_of(418, document)
        assert len(str(error)) < 3000
        assert len(json.dumps(error.more)) < 100_000


def test_results_that_are_shown_run_nothing() -> None:
    bad = '"><script>alert(1)</script>'
    outputs = [
        {"output_type": "display_data", "data": {"image/png": bad, "text/plain": bad}},
        {"output_type": "display_data", "data": {"text/html": bad}},
        {"output_type": "display_data", "data": {"image/svg+xml": bad}},
        {"output_type": "stream", "name": bad, "text": bad},
        {"output_type": "error", "ename": bad, "evalue": bad},
        {"output_type": bad, "data": 1},
    ]
    page = result_of({**RESULT, "outputs": outputs})._repr_html_()
    assert "<script" not in page
    assert '"><' not in page.replace('px;resize:vertical" srcdoc="&quot;', "").replace('wrap"><', "").replace('">', "")


def a_page(*places: Any, more: Any = True) -> httpx.Response:
    return httpx.Response(200, json={"events": [{"seq": place} for place in places], "more": more})


def test_a_log_is_read_page_by_page_and_as_far_as_it_is_wanted() -> None:
    agent, requests = against(a_page(8, 9), a_page(10, 12), a_page(13, more=False))
    events = agent.events(after=7)
    assert next(events)["seq"] == 8
    assert len(requests) == 1
    assert [one["seq"] for one in events] == [9, 10, 12, 13]
    assert [request.url.params["after"] for request in requests] == ["7", "9", "12"]
    agent, requests = against(a_page(1, 2), a_page(3))
    assert [one["seq"] for one in agent.events(limit=3)] == [1, 2, 3]
    assert [request.url.params["limit"] for request in requests] == ["3", "1"]
    assert list(agent.events(limit=0)) == []
    agent, requests = against(a_page())
    assert list(agent.events()) == []
    assert len(requests) == 1


@pytest.mark.parametrize(
    "answer", [a_page(1), a_page(3, 2), a_page("4"), a_page(True), a_page(3, more=1), a_page(3, 4, 5, 6)]
)
def test_a_log_that_does_not_go_forward(answer: httpx.Response) -> None:
    agent, requests = against(a_page(1, 2), answer)
    with pytest.raises(BadAnswer):
        list(agent.events(limit=5))
    assert len(requests) == 2
