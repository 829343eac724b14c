"""The HTTP interface, as a program sees it that has nothing but HTTP."""

import base64
import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.sandbox.service.servers import TOKENS, Server, needs_boxes, wait_for

pytestmark = needs_boxes
PREFIX = "urn:inference-workbook:problem:"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("app")
    (folder / "data/deep").mkdir(parents=True)
    (folder / "data/deep/a.txt").write_text("mounted")
    mounts = ("--mount", f"data={folder / 'data'}", "--mount", f"gone={folder / 'gone'}")
    with Server(folder, "--ready", "1", "--heartbeat", "0.2", *mounts, tenants=True) as server:
        yield server


@pytest.fixture(scope="module")
def ada(server: Server) -> Iterator[httpx.Client]:
    with server.http("ada") as http:
        yield http


@pytest.fixture(scope="module")
def session(ada: httpx.Client) -> str:
    made = ada.post("/v1/sessions", json={})
    assert made.status_code == 201
    assert made.headers["location"] == f"/v1/sessions/{made.json()['id']}"
    assert made.json()["contexts"] == ["main"]
    return str(made.headers["location"])


def problem(response: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """Checks that a response is a problem document."""
    document: dict[str, Any] = response.json()
    assert (response.status_code, document["type"]) == (status, PREFIX + kind), response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    return document


def execute(http: httpx.Client, session: str, code: str, key: str = "", **options: Any) -> dict[str, Any]:
    headers = {"Idempotency-Key": key} if key else {}
    response = http.post(f"{session}/execute", json={"code": code, **options}, headers=headers)
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()
    return result


def events(response: httpx.Response) -> Iterator[tuple[str, Any]]:
    """Reads a stream; a comment is an event of the kind "comment"."""
    kind = ""
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if line.startswith(":"):
            yield "comment", line
        elif name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)


def stream(http: httpx.Client, session: str, code: str, key: str = "k") -> list[tuple[str, Any]]:
    headers = {"Accept": "text/event-stream", "Idempotency-Key": key}
    with http.stream("POST", f"{session}/execute", json={"code": code}, headers=headers) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        return list(events(response))


# Who asks.


def test_no_token_and_wrong_ones(server: Server) -> None:
    for headers in ({}, {"Authorization": "Bearer no"}, {"Authorization": "Basic abc"}, {"Authorization": "Bearer"}):
        for method, path in (("GET", "/v1/sessions"), ("POST", "/v1/sessions/x/execute"), ("GET", "/nothing")):
            response = httpx.request(method, server.url + path, headers=headers)
            problem(response, 401, "unauthorized")
            assert response.headers["www-authenticate"] == "Bearer"


def test_a_second_token_of_a_tenant(server: Server) -> None:
    assert httpx.get(f"{server.url}/v1/sessions", headers={"Authorization": "Bearer old-token-of-bob"}).is_success


def test_another_tenants_session_is_as_unknown_as_none(server: Server, ada: httpx.Client, session: str) -> None:
    with server.http("bob") as bob:
        for path in (session, "/v1/sessions/s-none", "/v1/sessions/..%2Fada"):
            told = [
                *(bob.get(path), bob.delete(path), bob.get(f"{path}/events"), bob.get(f"{path}/files")),
                *(bob.post(f"{path}/execute", json={"code": "1"}), bob.get(f"{path}/contexts")),
            ]
            for response in told:
                assert response.status_code == 404
            assert len({response.text for response in told[:2]}) == 1
        assert bob.get("/v1/sessions").json()["sessions"] == []
        assert bob.post("/v1/sessions", json={"id": session.rpartition("/")[2]}).status_code == 201  # a name of its own
        assert bob.delete(session).status_code == 204
    assert ada.get(session).status_code == 200


def test_a_mark_of_nodes_cannot_be_forged(server: Server) -> None:
    mark = {"X-Sandbox-Hop": f"ada:{int(time.time())}:{'0' * 64}"}
    problem(httpx.get(f"{server.url}/v1/sessions", headers=mark), 401, "unauthorized")


def test_what_is_for_admins(server: Server, ada: httpx.Client, session: str) -> None:
    problem(ada.get("/v1/sessions?all=true"), 403, "forbidden")
    problem(ada.get("/v1/nodes"), 403, "forbidden")
    with server.http("root") as root:
        every = root.get("/v1/sessions?all=true").json()["sessions"]
        assert ("ada", session.rpartition("/")[2]) in [(one["tenant"], one["id"]) for one in every]
        assert len(root.get("/v1/nodes").json()["nodes"]) == 1


def test_a_quota(server: Server) -> None:
    with server.http("bob") as bob:
        made = [bob.post("/v1/sessions", json={}) for _ in range(2)]
        problem(bob.post("/v1/sessions", json={}), 403, "quota")
        for one in made:
            assert bob.delete(f"{one.headers['location']}?forget=true").status_code == 204
        problem(bob.get(f"{made[0].headers['location']}/events"), 404, "unknown-session")


# Sessions.


def test_a_session_is_made_once_with_a_key(ada: httpx.Client) -> None:
    made = [ada.post("/v1/sessions", json={}, headers={"Idempotency-Key": "one"}) for _ in range(2)]
    assert [one.status_code for one in made] == [201, 200]
    assert made[0].json()["id"] == made[1].json()["id"]
    name = made[0].json()["id"]
    problem(ada.post("/v1/sessions", json={"id": name}), 409, "session-exists")
    ada.delete(f"/v1/sessions/{name}")
    problem(ada.post("/v1/sessions", json={}, headers={"Idempotency-Key": "one"}), 409, "key-conflict")
    problem(ada.get(f"/v1/sessions/{name}"), 404, "unknown-session")
    assert ada.get(f"/v1/sessions/{name}/events").json()["events"][-1]["kind"] == "session.closed"


def test_what_is_not_valid(ada: httpx.Client, session: str) -> None:
    for path, body in (
        ("/v1/sessions", {"id": "a/b"}),
        ("/v1/sessions", {"unknown": 1}),
        ("/v1/sessions", {"limits": {"memory": 1 << 60}}),
        ("/v1/sessions", {"limits": {"memory": 0}}),
        ("/v1/sessions", {"limits": {"output": 1}}),
        ("/v1/sessions", {"environment": "none"}),
        (f"{session}/execute", {}),
        (f"{session}/execute", {"code": 1}),
        (f"{session}/execute", {"code": "\ud800"}),
        (f"{session}/execute", {"code": "1", "timeout": -1}),
        (f"{session}/execute", {"code": "1", "timeout": 1e9}),
        (f"{session}/processes", {"command": []}),
        (f"{session}/processes", {"command": ["a\0b"]}),
        (f"{session}/http_fetch", {"url": "http://a", "timeout": 1e9}),
    ):
        response = ada.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
        assert response.status_code == 422, (path, body, response.text)
        assert response.json()["type"].startswith(PREFIX)
    problem(ada.post(f"{session}/execute", content=b"{"), 422, "invalid")
    problem(ada.post(f"{session}/execute", json={"code": "1"}, headers={"Idempotency-Key": "a b"}), 422, "invalid")
    problem(ada.get("/v1/none"), 404, "unknown-path")
    problem(ada.put("/v1/sessions"), 405, "method")


def test_less_than_the_node_allows(ada: httpx.Client) -> None:
    made = ada.post("/v1/sessions", json={"limits": {"memory": 200 << 20, "workspace": 1 << 20}})
    assert made.json()["limits"]["memory"] == 200 << 20
    where = made.headers["location"]
    document = problem(ada.put(f"{where}/files/large", content=bytes(2 << 20)), 413, "file-refused")
    assert document["code"] == "ENOSPC"
    died = execute(ada, where, "x = bytearray(1 << 30)")
    assert (died["status"], died["state_lost"]) == ("died", False)
    assert execute(ada, where, "1 + 1")["text"] == "2"
    ada.delete(where)


def test_mounts(ada: httpx.Client) -> None:
    assert ada.get("/v1/environments").json()["mounts"] == ["data", "gone"]
    made = ada.post("/v1/sessions", json={"mounts": {"data": "in/put"}})
    where = made.headers["location"]
    assert ada.get(f"{where}/files/in/put/deep/a.txt").text == "mounted"
    ada.delete(where)
    before = len(ada.get("/v1/sessions").json()["sessions"])
    assert problem(ada.post("/v1/sessions", json={"mounts": {"gone": "x"}}), 424, "mount")["mount"] == "gone"
    problem(ada.post("/v1/sessions", json={"mounts": {"other": "x"}}), 424, "mount")
    problem(ada.post("/v1/sessions", json={"mounts": {"data": "../x"}}), 422, "invalid")
    assert len(ada.get("/v1/sessions").json()["sessions"]) == before


def test_contexts(ada: httpx.Client, session: str) -> None:
    for _ in range(2):
        assert ada.post(f"{session}/contexts", json={"name": "two"}).status_code == 201
    execute(ada, session, "here = 2", context="two")
    assert execute(ada, session, "here")["status"] == "error"
    assert execute(ada, session, "here", context="two")["text"] == "2"
    assert ada.delete(f"{session}/contexts/two").status_code == 204
    problem(ada.post(f"{session}/execute", json={"code": "1", "context": "two"}), 404, "unknown-context")
    problem(ada.post(f"{session}/interrupt", json={"context": "two"}), 404, "unknown-context")


# Cells.


def test_a_key_makes_one_cell(ada: httpx.Client, session: str) -> None:
    first = execute(ada, session, "import random; random.random()", key="once")
    assert execute(ada, session, "import random; random.random()", key="once") == first
    response = ada.post(f"{session}/execute", json={"code": "other"}, headers={"Idempotency-Key": "once"})
    problem(response, 409, "key-conflict")


def test_a_stream_has_messages_as_they_come_and_then_the_result(ada: httpx.Client, session: str) -> None:
    code = "import time\nfor i in range(3): print(i); time.sleep(0.5)\ni"
    headers, came = {"Accept": "text/event-stream"}, []
    with ada.stream("POST", f"{session}/execute", json={"code": code}, headers=headers) as response:
        came = [(time.monotonic(), *event) for event in events(response)]
    kinds = [kind for _, kind, _ in came if kind != "comment"]
    assert kinds == ["output"] * 4 + ["result"]
    assert [data["content"].get("text") for _, kind, data in came if kind == "output"] == ["0\n", "1\n", "2\n", None]
    assert came[-1][2]["text"] == "0\n1\n2\n2"
    outputs = [when for when, kind, _ in came if kind == "output"]
    assert outputs[1] - outputs[0] > 0.3  # not all at its end
    assert sum(kind == "comment" for _, kind, _ in came) >= 4  # it was silent for a second and a half


def test_rich_outputs(ada: httpx.Client, session: str) -> None:
    code = "from IPython.display import display, HTML, Image\ndisplay(HTML('<b>1</b>'), Image(data=b'x', format='png'))"
    outputs = execute(ada, session, code)["outputs"]
    assert [sorted(one["data"]) for one in outputs] == [["text/html", "text/plain"], ["image/png", "text/plain"]]


def test_a_stream_of_a_cell_that_was_done_has_its_result_alone(ada: httpx.Client, session: str) -> None:
    assert stream(ada, session, "print(5)", "again")[-1][0] == "result"
    assert [kind for kind, _ in stream(ada, session, "print(5)", "again") if kind != "comment"] == ["result"]
    assert stream(ada, session, "other", "again")[-1][1]["type"] == PREFIX + "key-conflict"


def test_who_hangs_up_does_not_stop_a_cell(server: Server, ada: httpx.Client, session: str) -> None:
    code = "import time; time.sleep(1.5); open('later', 'w').write('yes'); 7"
    for accept in ("application/json", "text/event-stream"):
        key = f"left {accept}".replace(" ", "-")
        with pytest.raises(httpx.ReadTimeout), server.http("ada", Accept=accept) as left:
            left.post(f"{session}/execute", json={"code": code}, headers={"Idempotency-Key": key}, timeout=0.15).read()
        result = execute(ada, session, code, key=key)
        assert result["text"] == "7"
        assert ada.get(f"{session}/files/later").text == "yes"
        log = ada.get(f"{session}/events", params={"limit": 1000}).json()["events"]
        assert sum(one["data"].get("key") == key for one in log if one["kind"] == "cell.started") == 1


def test_interrupt_and_timeout(ada: httpx.Client, session: str) -> None:
    results: list[dict[str, Any]] = []
    code = "started = 1\nimport time\ntime.sleep(30)"
    thread = threading.Thread(target=lambda: results.append(execute(ada, session, code)))
    thread.start()
    time.sleep(0.5)
    assert ada.post(f"{session}/interrupt", json={}).status_code == 202
    thread.join(10)
    assert results[0]["error"]["name"] == "KeyboardInterrupt"
    late = execute(ada, session, "time.sleep(30)", timeout=0.3)
    assert (late["status"], late["state_lost"]) == ("timeout", False)
    assert execute(ada, session, "started")["text"] == "1"


def test_large_outputs(ada: httpx.Client, session: str) -> None:
    code = "from IPython.display import display\ndisplay({'text/plain': 'x' * 3_000_000}, raw=True)"
    whole = execute(ada, session, code, output_bytes=4_000_000, key="large")
    assert len(whole["text"]) == 3_000_000
    assert execute(ada, session, code, output_bytes=4_000_000, key="large") == whole
    cut = execute(ada, session, "print('x' * 3_000_000)")
    assert cut["text"].endswith("[truncated]")
    assert len(cut["text"]) < 1_100_000


def test_output_that_is_no_text(ada: httpx.Client, session: str) -> None:
    code = (
        "from IPython.display import display\ndisplay({'application/json': float('nan')}, raw=True)\nprint('\\ud800')"
    )
    assert execute(ada, session, code, key="odd")["status"] == "ok"
    assert execute(ada, session, code, key="odd")["status"] == "ok"


# Files.


def test_files(ada: httpx.Client, session: str) -> None:
    content = bytes(range(256)) * 80_000  # more than is read at once
    assert ada.put(f"{session}/files/a%20b/c", content=content).json() == {"path": "a b/c", "size": len(content)}
    came = ada.get(f"{session}/files/a%20b/c")
    assert came.content == content
    assert came.headers["content-type"] == "application/octet-stream"
    assert came.headers["x-content-type-options"] == "nosniff"
    assert ada.put(f"{session}/files/a%20b/c?append=true", content=b"!").status_code == 200
    assert ada.get(f"{session}/stat", params={"path": "a b/c"}).json()["size"] == len(content) + 1
    assert [one["name"] for one in ada.get(f"{session}/files", params={"path": "a b"}).json()["entries"]] == ["c"]
    assert execute(ada, session, "open('a b/c', 'rb').read()[-1:]")["text"] == "b'!'"
    problem(ada.post(f"{session}/folders", json={"path": "a b"}), 409, "file-refused")
    assert ada.post(f"{session}/folders", json={"path": "a b/d"}).status_code == 201
    problem(ada.get(f"{session}/files/a%20b"), 409, "file-refused")
    assert ada.delete(f"{session}/files/a%20b").status_code == 204
    problem(ada.get(f"{session}/files/a%20b/c"), 404, "file-refused")
    problem(ada.get(f"{session}/files", params={"path": "../.."}), 400, "file-refused")
    execute(ada, session, "import os; os.symlink('/etc/passwd', 'link')")
    assert ada.get(f"{session}/files/link").status_code == 400


def test_bodies_are_bounded(server: Server, ada: httpx.Client, session: str) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield bytes(1 << 20)

    problem(ada.post(f"{session}/execute", content=bytes(3 << 20)), 413, "body-too-large")
    problem(ada.put(f"{session}/files/x", content=bytes(61 << 20)), 413, "body-too-large")
    for path in (f"{session}/files/x", f"{session}/processes/p/input"):
        with contextlib.suppress(httpx.WriteError):  # it has hung up while there was still something to send
            problem(ada.request("PUT" if "files" in path else "POST", path, content=endless()), 413, "body-too-large")
    code = "x = " + repr("y" * (1_200_000))
    problem(ada.post(f"{session}/execute", json={"code": code}), 413, "too-large")
    assert execute(ada, session, "1")["text"] == "1"


# Programs, and the network.


def test_programs(ada: httpx.Client, session: str) -> None:
    command = ["sh", "-c", "read line; echo got $line; echo $A >&2; exit 3"]
    started = ada.post(f"{session}/processes", json={"command": command, "environment": {"A": "b"}, "input": True})
    assert started.status_code == 201
    where = f"{session}/processes/{started.json()['id']}"
    assert ada.get(where).json()["running"]
    assert ada.post(f"{where}/input", content=b"it\n").status_code == 202
    with ada.stream("GET", f"{where}/output") as response:
        came = [event for event in events(response) if event[0] != "comment"]
    written = {data["stream"]: base64.b64decode(data["base64"]) for kind, data in came if kind == "output"}
    assert written == {"stdout": b"got it\n", "stderr": b"b\n"}
    assert (came[-1][0], came[-1][1]["status"]) == ("ended", 3)
    with ada.stream("GET", f"{where}/output", params={"after": 3}) as response:
        late = [data for kind, data in events(response) if kind == "output"]
    assert sum(len(base64.b64decode(one["base64"])) for one in late) == 6
    problem(ada.post(f"{session}/processes", json={"command": ["/no/such"]}), 400, "file-refused")
    problem(ada.get(f"{session}/processes/none"), 404, "unknown-program")


def test_changes_and_programs_with_a_key_are_made_once(ada: httpx.Client, session: str) -> None:
    def twice(ask: Callable[[dict[str, str]], httpx.Response], key: str) -> httpx.Response:
        first, second = (ask({"Idempotency-Key": key}) for _ in range(2))
        assert (first.status_code, first.content) == (second.status_code, second.content)
        return first

    appended = {"append": "true"}
    twice(lambda key: ada.put(f"{session}/files/log", content=b"x", params=appended, headers=key), "append")
    assert ada.get(f"{session}/files/log").content == b"x"
    for content, params in ((b"y", appended), (b"x", {})):
        other = ada.put(f"{session}/files/log", content=content, params=params, headers={"Idempotency-Key": "append"})
        problem(other, 409, "key-conflict")
    assert ada.get(f"{session}/files/log").content == b"x"
    folder = {"path": "folder"}
    assert twice(lambda key: ada.post(f"{session}/folders", json=folder, headers=key), "folder").status_code == 201
    assert twice(lambda key: ada.delete(f"{session}/files/folder", headers=key), "gone").status_code == 204
    program = {"command": ["sh", "-c", "echo begun >> begun; sleep 60"]}
    started = twice(lambda key: ada.post(f"{session}/processes", json=program, headers=key), "program").json()["id"]
    other = ada.post(f"{session}/processes", json={"command": ["true"]}, headers={"Idempotency-Key": "program"})
    problem(other, 409, "key-conflict")
    wait_for(lambda: ada.get(f"{session}/files/begun").content == b"begun\n")
    assert len([one for one in ada.get(f"{session}/processes").json()["processes"] if one["running"]]) == 1
    ada.post(f"{session}/processes/{started}/signal", json={"signal": "SIGKILL"})
    no_key = {"Idempotency-Key": "a b"}
    problem(ada.put(f"{session}/files/x", headers=no_key), 422, "invalid")
    problem(ada.post(f"{session}/processes", json=program, headers=no_key), 422, "invalid")


def test_a_program_is_signalled(ada: httpx.Client, session: str) -> None:
    started = ada.post(f"{session}/processes", json={"command": ["sh", "-c", "sleep 60 & wait"]}).json()["id"]
    where = f"{session}/processes/{started}"
    problem(ada.post(f"{where}/signal", json={"signal": "SIGNO"}), 422, "invalid")
    assert ada.post(f"{where}/signal", json={"signal": "SIGKILL"}).status_code == 202
    wait_for(lambda: ada.get(where).json()["status"] == -9)
    wait_for(
        lambda: any(one["kind"] == "program.ended" for one in ada.get(f"{session}/events?limit=1000").json()["events"])
    )


def test_a_program_that_does_not_read_holds_nothing_up(ada: httpx.Client, session: str) -> None:
    started = ada.post(f"{session}/processes", json={"command": ["sleep", "60"], "input": True}).json()["id"]
    for _ in range(3):
        assert ada.post(f"{session}/processes/{started}/input", content=bytes(1 << 20)).status_code == 202
    assert execute(ada, session, "1", timeout=5)["text"] == "1"
    ada.post(f"{session}/processes/{started}/signal", json={"signal": "SIGKILL"})


def test_fetching_by_the_tenants_own_rules(ada: httpx.Client, session: str) -> None:
    problem(ada.post(f"{session}/http_fetch", json={"url": "http://other.example/"}), 403, "egress-denied")
    allowed = ada.post(f"{session}/http_fetch", json={"url": "http://allowed.example/", "timeout": 1})
    assert allowed.status_code in (502, 504)  # it was let out, and there is no such host
    code = "from workbook.sandbox.service.calls import http_fetch\nhttp_fetch('http://other.example/')"
    assert "EgressDenied" in execute(ada, session, code)["error"]["message"]
    assert "takes no" in execute(ada, session, code.replace("le/'", "le/', policy=1"))["error"]["message"]


# The service itself.


def test_health_docs_and_metrics(server: Server, ada: httpx.Client, session: str) -> None:
    assert httpx.get(f"{server.url}/healthz").json() == {"status": "alive"}
    assert httpx.get(f"{server.url}/readyz").json() == {"ready": True, "problems": []}
    document = httpx.get(f"{server.url}/openapi.json").json()
    assert {"/v1/sessions", "/v1/sessions/{session}/execute", "/readyz"} <= set(document["paths"])
    page = httpx.get(f"{server.url}/docs")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "/v1/sessions/{session}/http_fetch" in page.text
    assert not re.search(r"<script|<link|src=|url\(", page.text)  # nothing of it comes from elsewhere
    execute(ada, session, "1")
    assert server.metric("sandbox_execute_seconds_count") >= 1
    assert server.metric("sandbox_sessions_live") >= 1
    problem(httpx.get(f"{server.url}/metrics", headers={"X-Forwarded-For": "192.0.2.1"}), 401, "unauthorized")
    assert ada.get("/metrics", headers={"X-Forwarded-For": "192.0.2.1"}).is_success


def test_the_log_is_json_and_tells_no_secrets(server: Server, ada: httpx.Client, session: str) -> None:
    execute(ada, session, "very_secret_code = 'private'")
    problem(ada.get(f"{session}/files/secret_name"), 404, "file-refused")
    wait_for(lambda: any(line.get("status") == 404 for line in server.lines()))
    last = [line for line in server.lines() if line["message"] == "request" and "execute" in line["route"]][-1]
    assert (last["status"], last["tenant"], last["session"]) == (200, "ada", session.rpartition("/")[2])
    text = server.log.read_text()
    for secret in ("very_secret", "private", "secret_name", *TOKENS.values()):
        assert secret not in text
