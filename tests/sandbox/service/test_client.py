"""The client, against a real service."""

import asyncio
import base64
import gc
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.sandbox.service.servers import Server, free_port, needs_boxes
from workbook.sandbox.client import (
    AsyncSandboxClient,
    BadAnswer,
    CellFailed,
    ConnectionLost,
    EgressDenied,
    EnvironmentUnavailable,
    FetchFailed,
    FileRefused,
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
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("client"), "--ready", "1") as server:
        yield server


@pytest.fixture(scope="module")
def agent(server: Server) -> Iterator[Session]:
    with server.client() as client, client.session(name="tests") as agent:
        yield agent


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
            (lambda: agent.execute("1", key="a\r\nb: c"), Invalid),
            (lambda: agent.execute("1", key="ü"), Invalid),
            (lambda: agent.filesystem.read("a" * 70_000), Invalid),
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

    async def after_its_end() -> None:
        async with AsyncSandboxClient(server.url, server.token) as client:
            pass
        with pytest.raises(ConnectionLost, match="closed"):
            await client.sessions()

    asyncio.run(after_its_end())
    began = time.monotonic()
    assert asyncio.run(use()) == ["1", "1", "1"]
    assert time.monotonic() - began < 5


@needs_boxes
def test_all_of_a_log_is_read(server: Server) -> None:
    with server.client() as client, client.session() as agent:
        for number in range(510):  # a page has 1,000 events at most
            agent.execute(f"{number}")
        events = list(agent.events())
        assert sum(one["kind"] == "cell.finished" for one in events) == 510
        assert [one["seq"] for one in events] == list(range(1, len(events) + 1))
        assert list(agent.events(after=1005)) == events[1005:]
        assert list(agent.events(after=2, limit=1001)) == events[2:1003]


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


@needs_boxes
def test_without_uvloop(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with server.client() as client:
        assert client.environments() == ["default"]


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
