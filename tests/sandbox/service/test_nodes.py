"""Several nodes that share a store: any of them answers for any session, and one that is lost takes nothing with it."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.service.servers import Server, free_port, needs_boxes, wait_for
from tests.sandbox.service.stores import KINDS, RedisServer
from workbook.sandbox.client import CellResult, ConnectionLost, SandboxClient, Unavailable

STEP = """
n = globals().get('n', 0) + 1
with open('log', 'a') as file: file.write(f'{n}\\n')
import time; time.sleep(0.02)
n
"""
BIG = bytes(3 << 20)


@pytest.fixture(params=KINDS)
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A store of each kind, as `serve --store` takes it."""
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path / 'store.db'}"
    else:
        port = free_port()
        with RedisServer("--port", str(port)):
            yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture
def nodes(shared: str, tmp_path: Path) -> Iterator[dict[str, Server]]:
    """Four nodes, by name."""
    found: dict[str, Server] = {}
    with ExitStack() as stack:
        for number in range(4):
            port = free_port()
            options = ["--node-name", f"n{number}", "--node-url", f"http://127.0.0.1:{port}", "--ready", "0"]
            options += ["--capacity", "20", "--secret", str(tmp_path / "secret")]
            server = Server(tmp_path, *options, port=port, name=f"n{number}", tenants=True, store=shared)
            found[f"n{number}"] = stack.enter_context(server)
        for server in found.values():
            wait_for(lambda server=server: len(server.http("root").get("/v1/nodes").json()["nodes"]) == 4)
        yield found


def owners(server: Server) -> dict[str, str]:
    with server.http("ada") as http:
        return {one["id"]: one["node"] for one in http.get("/v1/sessions").json()["sessions"]}


@dataclass
class Work:
    """What somebody has a session do, asking all nodes in turn, and the next one where one does not answer."""

    session: str
    clients: list[SandboxClient]
    results: list[CellResult] = field(default_factory=list)
    written: int = 0
    stop: bool = False

    def run(self) -> None:
        turns = cycle(self.clients)
        while not self.stop:
            number = len(self.results) + 1
            for client in turns:
                try:
                    agent = client.attach(self.session)
                    result = agent.execute(STEP, key=f"{self.session}-{number}")
                    break
                except (ConnectionLost, Unavailable):
                    continue
            self.results.append(result)
            for client in turns:
                try:
                    client.attach(self.session).filesystem.write(f"files/{number}", str(number))
                    break
                except (ConnectionLost, Unavailable):
                    continue
            self.written = number


@needs_boxes
def test_a_node_that_is_killed_under_load_takes_nothing_with_it(nodes: dict[str, Server]) -> None:
    with ExitStack() as stack:
        clients = {name: stack.enter_context(server.client("ada", patience=1.0)) for name, server in nodes.items()}
        agents = [client.session() for client in clients.values() for _ in range(2)]
        while len(set(owners(nodes["n0"]).values())) < 2:
            agents.append(clients["n0"].session())
        for agent in agents:
            agent.filesystem.write("big", BIG)  # through another node, too
        before = owners(nodes["n0"])
        lost = before[agents[0].id]
        works = [Work(agent.id, list(clients.values())) for agent in agents]
        threads = [threading.Thread(target=work.run) for work in works]
        for thread in threads:
            thread.start()
        wait_for(lambda: all(len(work.results) >= 3 for work in works))
        nodes[lost].kill()
        reached = [len(work.results) + 3 for work in works]
        wait_for(lambda: all(len(work.results) >= end for work, end in zip(works, reached, strict=True)), 60)
        for work, thread in zip(works, threads, strict=True):
            work.stop = True
            thread.join(30)
            assert not thread.is_alive()

        alive = [name for name in nodes if name != lost]
        after = owners(nodes[alive[0]])
        assert {name for name in before if before[name] != after[name]} == {n for n in before if before[n] == lost}
        assert lost not in after.values()
        for number, work in enumerate(works):
            steps = len(work.results)
            assert [result.text for result in work.results] == [str(one) for one in range(1, steps + 1)]
            agent = stack.enter_context(nodes[alive[number % 3]].client("ada")).attach(work.session)
            finished = [one["data"]["cell"] for one in agent.events() if one["kind"] == "cell.finished"]
            assert finished == [result.cell for result in work.results]
            assert agent.filesystem.read_text("log").split() == [result.text for result in work.results]
            assert sorted(int(entry.name) for entry in agent.list_files("files")) == list(range(1, work.written + 1))
            assert agent.filesystem.read("big") == BIG
            streamed: list[Any] = []
            assert agent.execute("print(n)", on_output=lambda *one: streamed.append(one)).text == str(steps)  # noqa: B023
            assert streamed == [("stream", {"name": "stdout", "text": f"{steps}\n"})]
