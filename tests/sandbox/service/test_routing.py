"""Routing: everybody finds the same node, and few sessions move when nodes come and go."""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sandbox.service.stores import ROOT
from workbook.sandbox.service.routing import place, rank
from workbook.sandbox.service.store import NodeRecord

SESSIONS = [f"session {number}" for number in range(4000)]


def node(name: str, capacity: int = 10, used: int = 0, draining: bool = False) -> NodeRecord:
    return NodeRecord(name, f"http://{name}", capacity, used, draining)


def first(nodes: list[NodeRecord]) -> dict[str, str]:
    """The node that each session belongs to."""
    return {session: rank(session, nodes)[0].id for session in SESSIONS}


NODES = st.lists(
    st.builds(node, st.text(min_size=1, max_size=8), st.integers(0, 64), st.integers(0, 64), st.booleans()),
    max_size=8,
    unique_by=lambda found: found.id,
)


@given(nodes=NODES, session=st.text(max_size=20), chance=st.randoms(use_true_random=False))
def test_a_rank_depends_on_the_nodes_alone(nodes: list[NodeRecord], session: str, chance: random.Random) -> None:
    ranked = rank(session, nodes)
    assert sorted(ranked, key=lambda found: found.id) == sorted(nodes, key=lambda found: found.id)
    shuffled = [replace(found, used=0, seen=chance.random(), url="elsewhere") for found in nodes]
    chance.shuffle(shuffled)
    assert [found.id for found in rank(session, shuffled)] == [found.id for found in ranked]


@given(nodes=NODES, session=st.text(max_size=20))
def test_without_a_node_the_others_keep_their_order(nodes: list[NodeRecord], session: str) -> None:
    ranked = rank(session, nodes)
    for gone in nodes:
        left = [found for found in nodes if found != gone]
        assert rank(session, left) == [found for found in ranked if found != gone]


@given(nodes=NODES, session=st.text(max_size=20), candidates=st.integers(1, 4))
def test_a_place_has_room(nodes: list[NodeRecord], session: str, candidates: int) -> None:
    room = [found for found in rank(session, nodes) if not found.draining and found.used < found.capacity]
    chosen = place(session, nodes, candidates)
    if not room:
        assert chosen is None
    else:
        assert chosen in room[:candidates]
        assert chosen is not None
        most = max(found.capacity - found.used for found in room[:candidates])
        assert chosen.capacity - chosen.used == most
        assert chosen == next(found for found in room if found.capacity - found.used == most)


@pytest.mark.parametrize("count", [1, 2, 5, 10])
def test_a_new_node_takes_its_share_and_nothing_else_moves(count: int) -> None:
    nodes = [node(f"node {number}") for number in range(count)]
    before, after = first(nodes), first([*nodes, node("new")])
    moved = {session for session in SESSIONS if before[session] != after[session]}
    assert {after[session] for session in moved} == {"new"}
    assert len(moved) == pytest.approx(len(SESSIONS) / (count + 1), rel=0.2)
    # And back: what a node leaves goes to all others.
    assert first(nodes) == before
    if count > 1:
        heirs = Counter(before[session] for session in moved)
        assert set(heirs) == {found.id for found in nodes}


def test_shares_are_as_large_as_capacities() -> None:
    nodes = [node("none", 0), node("small", 1), node("middle", 3), node("large", 12)]
    shares = Counter(first(nodes).values())
    assert shares["none"] == 0
    for found in nodes[1:]:
        assert shares[found.id] == pytest.approx(len(SESSIONS) * found.capacity / 16, rel=0.2)
    # A node that grows takes sessions, and loses none.
    before, after = first(nodes), first([*nodes[:2], node("middle", 6), nodes[3]])
    assert {after[session] for session in SESSIONS if before[session] != after[session]} == {"middle"}


def test_places_fill_nodes_evenly_to_the_last_one() -> None:
    nodes = {f"node {number}": node(f"node {number}", 100) for number in range(10)}
    for count, session in enumerate(SESSIONS[:1000], 1):
        chosen = place(session, nodes.values())
        assert chosen is not None
        nodes[chosen.id] = replace(chosen, used=chosen.used + 1)
        if count == 500:
            assert all(35 <= found.used <= 65 for found in nodes.values())
    assert place("one more", nodes.values()) is None


def test_another_process_finds_the_same_nodes() -> None:
    program = """
import json
from tests.sandbox.service.test_routing import SESSIONS, first, node
print(json.dumps(first([node("a"), node("b", 7), node("ä", 20)])))
"""
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        output = subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, env=environment, text=True)
        assert json.loads(output) == first([node("a"), node("b", 7), node("ä", 20)])


def test_where_sessions_belong_stays_the_same() -> None:
    """Another release that ranked differently would move all sessions."""
    nodes = [node(name) for name in "abc"]
    assert ["".join(found.id for found in rank(session, nodes)) for session in "123"] == ["cab", "acb", "abc"]
