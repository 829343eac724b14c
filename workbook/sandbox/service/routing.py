"""Which node serves which session: rendezvous hashing, so that everybody who knows the nodes knows the answer."""

import hashlib
import math
from collections.abc import Iterable

from workbook.sandbox.service.store import NodeRecord

_BITS = 52  # so that a float holds them and a half exactly


def rank(session: str, nodes: Iterable[NodeRecord]) -> list[NodeRecord]:
    """Returns nodes by how much a session belongs to them, most first.

    Each node has a score for the session, by a hash of both. So a new node takes over what it now has the highest score
    for, and a lost one leaves its sessions to those that come next; no other session moves. Scores are weighted so that
    a node is first for a share of all sessions as large as its capacity: with equal shares a small node would be full
    while large ones are idle, and most of what belongs to it would be elsewhere.

    Args:
        session: The session's id.
        nodes: The nodes. Neither their order nor how full they are makes a difference.
    """
    return sorted(nodes, key=lambda node: (-_score(session, node), node.id))


def place(session: str, nodes: Iterable[NodeRecord], candidates: int = 2) -> NodeRecord | None:
    """Chooses the node for a session that is not live anywhere.

    Of the first candidates in the session's rank it is the one with the most room: of two, already, that keeps nodes
    evenly full, and a session that comes back finds itself on a node that may have seen it before.

    Args:
        session: The session's id.
        nodes: The nodes that are alive.
        candidates: How many nodes with room, that take new sessions, are looked at.

    Returns:
        The node, or None where none has room.
    """
    open_ones = [node for node in rank(session, nodes) if not node.draining and node.used < node.capacity]
    return max(open_ones[:candidates], key=lambda node: node.capacity - node.used, default=None)


def _score(session: str, node: NodeRecord) -> float:
    """A number that is highest for each node in proportion to its capacity: -capacity / ln u, for a random u."""
    # A NUL keeps the two apart: no id has one.
    both = f"{session}\0{node.id}".encode("utf-8", "surrogatepass")
    random = int.from_bytes(hashlib.blake2b(both, digest_size=8).digest()) >> (64 - _BITS)
    return -node.capacity / math.log((random + 0.5) / (1 << _BITS))
