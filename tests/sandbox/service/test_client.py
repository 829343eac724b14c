"""The client: against a real service, and against servers that mean it harm."""

import asyncio
import base64
import gc
import json
import threading
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from tests.sandbox.service.servers import Server, free_port, needs_boxes
from workbook.sandbox import client_wire
from workbook.sandbox.client import (
    AsyncSandboxClient,
    BadAnswer,
    CellFailed,
    ConnectionLost,
    EgressDenied,
    EnvironmentUnavailable,
    FetchFailed,
    FetchTimeout,
    FileRefused,
    Full,
    Invalid,
    KeyConflict,
    MountError,
    NotFound,
    SandboxClient,
    SandboxError,
    Session,
    SessionExists,
    SessionNotFound,
    Unauthorized,
    Unavailable,
)
from workbook.sandbox.client_errors import error_of
from workbook.sandbox.client_results import result_of

PREFIX = "urn:inference-workbook:problem:"
RESULT: dict[str, Any] = {
    **{"cell": "c1", "status": "ok", "text": "2", "outputs": [], "error": None, "state_lost": False},
    **{"truncated": False, "seconds": 0.1, "execution_count": 1},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("client"), "--ready", "1") as server:
        yield server


@pytest.fixture(scope="module")
def agent(server: Server) -> Iterator[Session]:
    with server.client() as client, client.session(name="tests") as agent:
        yield agent


# Against a real service.


@needs_boxes
def test_the_sketch(agent: Session) -> None:
    agent.filesystem.write("data/numbers.csv", "a,b\n1,2\n")
    result = agent.execute("open('data/numbers.csv').read()")
    assert result.ok
    assert result.text == "'a,b\\n1,2\\n'"
    assert str(result) == result.text
    assert [entry.name for entry in agent.list_files("data")] == ["numbers.csv"]
    assert [entry.name for entry in agent.list_files("/data")] == ["numbers.csv"]
    with pytest.raises(EgressDenied, match="allow-list"):
        agent.http_fetch("https://example.org/", timeout=5, retries=3, on_error="retry_with_backoff")
    with pytest.raises(CellFailed, match="division by zero") as caught:
        agent.execute("1/0").check()
    assert caught.value.result.error is not None
    assert caught.value.result.error.name == "ZeroDivisionError"


@needs_boxes
def test_outputs_come_while_it_runs_in_the_thread_that_asked(agent: Session) -> None:
    came: list[tuple[float, str, threading.Thread]] = []

    def on_output(kind: str, content: dict[str, Any]) -> None:
        came.append((time.monotonic(), content["text"], threading.current_thread()))
        assert kind == "stream"

    code = "import time\nfor i in range(3): print(i); time.sleep(0.3)"
    result = agent.execute(code, on_output=on_output)
    assert [text for _, text, _ in came] == ["0\n", "1\n", "2\n"]
    assert result.text == "0\n1\n2"
    assert came[1][0] - came[0][0] > 0.2
    assert {thread for _, _, thread in came} == {threading.current_thread()}

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        agent.execute("print(1)", on_output=fail)


@needs_boxes
def test_files(agent: Session) -> None:
    files = agent.filesystem
    for path in ("a b/ü?#%2e.txt", "x/../plain", "/top"):
        assert files.write(path, path) == len(path.encode())
        assert files.read_text(path) == path
    assert files.append("top", b"!") == 1
    assert files.stat("top").size == len("/top") + 1
    files.make_folder("empty")
    assert (files.stat("empty").kind, files.list("empty")) == ("folder", [])
    with pytest.raises(FileRefused) as caught:
        files.make_folder("empty")
    assert caught.value.code == "EEXIST"
    files.remove("empty")
    for path in ("../up", "..", "", "a/../../b"):
        with pytest.raises(FileRefused):
            files.write(path, "")
    with pytest.raises(FileRefused):
        files.read("none")
    with pytest.raises(BadAnswer, match="more than 3 bytes"):
        files.read("top", most=3)


@needs_boxes
def test_programs(agent: Session) -> None:
    program = agent.run(["sh", "-c", "read a; echo $a; echo problem >&2; exit 4"], has_input=True)
    program.write("text\n", end=True)
    assert program.output() == (b"text\n", b"problem\n")
    assert (program.status, program.lost) == (4, "")
    endless = agent.run(["sh", "-c", "while true; do echo line; done"])
    came: list[bytes] = []

    def until(_: str, data: bytes) -> None:
        came.append(data)
        if len(came) == 3:
            endless.kill()

    assert endless.wait(until) == -9
    assert set(b"".join(came).split()) <= {b"line", b"li", b"lin", b"l", b"ine", b"ne", b"e"}
    with pytest.raises(FileRefused):
        agent.run(["/no/such/program"])


@needs_boxes
def test_contexts_and_interrupts(agent: Session) -> None:
    two = agent.context("two")
    assert two.execute("mine = 1; mine").text == "1"
    assert agent.execute("mine").status == "error"
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(two.execute("import time; time.sleep(30)")))
    thread.start()
    time.sleep(0.4)
    two.interrupt()
    thread.join(10)
    assert results[0].error.name == "KeyboardInterrupt"
    assert agent.contexts() == ["main", "two"]
    two.end()
    with pytest.raises(NotFound):
        two.execute("1")


@needs_boxes
def test_ctrl_c_interrupts_the_cell(agent: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: str, content: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        agent.execute("print(1)\nimport time; time.sleep(20)", on_output=interrupt)
    began = time.monotonic()
    assert agent.execute("1").text == "1"
    assert time.monotonic() - began < 5


@needs_boxes
def test_typed_errors(server: Server, agent: Session) -> None:
    with server.client(patience=0) as client:
        for make, kind in (
            (lambda: client.session(mounts=["none"]), MountError),
            (lambda: client.session(environment="none"), EnvironmentUnavailable),
            (lambda: client.session(limits={"memory": 1 << 60}), Invalid),
            (lambda: client.session(name="tests"), SessionExists),
            (lambda: client.attach("none").execute("1"), SessionNotFound),
            (lambda: client.attach("../../metrics").execute("1"), SandboxError),
        ):
            with pytest.raises(kind):
                make()
        agent.execute("1", key="mine")
        with pytest.raises(KeyConflict):
            agent.execute("2", key="mine")
        assert client.sessions() == ["tests"]
        assert client.environments() == ["default"]
    with SandboxClient(server.url, "wrong") as stranger, pytest.raises(Unauthorized):
        stranger.sessions()
    with pytest.raises(ConnectionLost, match="closed"):
        stranger.sessions()
    gone = server.client().session()
    gone.close()
    gone.close()
    with pytest.raises(SessionNotFound):
        gone.execute("1")


@pytest.fixture(scope="module")
def web() -> Iterator[ThreadingHTTPServer]:
    """A server that counts what it is asked."""

    class Handler(BaseHTTPRequestHandler):
        asked: ClassVar[list[str]] = []

        def do_GET(self) -> None:
            self.asked.append(self.path)
            self.send_response(503 if self.path == "/busy" and self.asked.count("/busy") < 3 else 200)
            self.end_headers()
            self.wfile.write(b"\0" + self.path.encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield web
        web.shutdown()


@needs_boxes
def test_fetching(web: ThreadingHTTPServer, tmp_path: Path) -> None:
    host = f"127.0.0.1:{web.server_address[1]}"
    asked: list[str] = web.RequestHandlerClass.asked  # type: ignore[attr-defined]
    options = ("--allow", host, "--ready", "0")
    with Server(tmp_path, *options, port=free_port()) as server, server.client() as client, client.session() as agent:
        fetched = agent.http_fetch(f"http://{host}/plain")
        assert (fetched.status, fetched.content, fetched.text) == (200, b"\0/plain", "\0/plain")
        with pytest.raises(FetchFailed, match="503"):
            agent.http_fetch(f"http://{host}/busy")
        assert agent.http_fetch(f"http://{host}/busy", on_error="return").status == 503
        assert agent.http_fetch(f"http://{host}/busy", on_error="retry_with_backoff").status == 200
        code = "from workbook.sandbox.service.calls import http_fetch"
        code += f"\npage = http_fetch('http://{host}/inside').content; page"
        assert agent.execute(code).text == "b'\\x00/inside'"
        server.kill()
        server.start()
        assert agent.execute("page").text == "b'\\x00/inside'"
        assert asked == ["/plain", "/busy", "/busy", "/busy", "/inside"]  # and not once more to bring it back
        kinds = [one["kind"] for one in agent.events()]
        assert kinds.count("call.started") == kinds.count("call.finished") == 5


@needs_boxes
def test_asynchronously(server: Server) -> None:
    async def use() -> list[str]:
        async with AsyncSandboxClient(server.url, server.token) as client, client.session() as agent:
            await agent.filesystem.write("x", "1")
            contexts = [await agent.context(name) for name in ("one", "two", "three")]
            results = await asyncio.gather(*(one.execute("import time; time.sleep(0.5); 1") for one in contexts))
            return [result.text for result in results]

    began = time.monotonic()
    assert asyncio.run(use()) == ["1", "1", "1"]
    assert time.monotonic() - began < 5


@needs_boxes
def test_a_table_and_a_plot_in_a_notebook(agent: Session) -> None:
    code = """
from IPython.display import display, HTML, Image, SVG
display(HTML('<table><tr><td>1<script>alert(1)</script></table>'), Image(data=b'png', format='png'))
display(SVG('<svg xmlns="http://www.w3.org/2000/svg"/>'))
print('<b>')
1/0
"""
    bundle = agent.execute(code)._repr_mimebundle_()
    page = bundle["text/html"]
    assert "<script" not in page
    assert 'sandbox=""' in page
    assert f"data:image/png;base64,{base64.b64encode(b'png').decode()}" in page
    assert "data:image/svg+xml;base64," in page
    assert "&lt;b&gt;" in page
    assert page.count("ZeroDivisionError") == 1
    assert bundle["text/plain"].endswith("division by zero")


def test_a_client_that_is_forgotten_leaves_no_thread() -> None:
    def threads() -> set[threading.Thread]:
        gc.collect()
        return {thread for thread in threading.enumerate() if thread.name == "sandbox client"}

    before = threads()
    client = SandboxClient("http://127.0.0.1:9", "token")
    (ours,) = threads() - before
    del client
    gc.collect()
    ours.join(10)
    assert not ours.is_alive()


# Against servers that mean it harm, or have a bad day.


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
    asks: list[Callable[[Session], object]] = [
        lambda agent: agent.filesystem.append("a", "b"),
        lambda agent: agent.run(["a"]),
        lambda agent: agent.filesystem.make_folder("a"),
    ]
    for ask in asks:
        agent, requests = against(httpx.ReadError("gone"))
        with pytest.raises(ConnectionLost):
            ask(agent)
        assert len(requests) == 1


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
