"""What a node counts, for Prometheus. No label has a value that a tenant chooses."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from workbook.sandbox.service.hooks import Observer
from workbook.sandbox.service.node import Node

_QUICK = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_DEATHS = {
    "memory": ("memory",),
    "processor": ("processor", "SIGXCPU"),
    "protocol": ("protocol", "supervisor", "channel", "take"),
    "fork server": ("fork server",),
    "exit": ("exit status",),
    "signal": ("SIG", "signal"),
}


class Metrics(Observer):
    """Counts what happens at a node.

    Attributes:
        requests: Seconds of requests, by route and kind of answer.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._created = Histogram(
            "sandbox_session_create_seconds",
            "Seconds until a new session was there, by where its box came from.",
            ["box"],
            buckets=_SLOW,
            registry=registry,
        )
        self._restored = Histogram(
            "sandbox_session_restore_seconds",
            "Seconds until a session was brought back, by outcome.",
            ["outcome"],
            buckets=_SLOW,
            registry=registry,
        )
        self._executed = Histogram(
            "sandbox_execute_seconds",
            "Seconds from the arrival of a cell to its recorded result, by status.",
            ["status"],
            buckets=_QUICK,
            registry=registry,
        )
        self._refused = Counter("sandbox_refusals", "Requests that were turned away.", ["reason"], registry=registry)
        self._deaths = Counter(
            "sandbox_box_deaths", "Boxes that ended by themselves, by reason.", ["reason"], registry=registry
        )
        self._called = Counter(
            "sandbox_calls", "What the service did for sessions.", ["name", "outcome"], registry=registry
        )
        self._store = Counter("sandbox_store_failures", "Times the store was out of reach.", registry=registry)
        self._requests = Histogram(
            "sandbox_http_request_seconds",
            "Seconds until a request was answered.",
            ["route", "status"],
            buckets=_QUICK,
            registry=registry,
        )
        for reason in ("full", "quota", "draining", "token", "busy"):  # a rate needs a first value to rise from
            self._refused.labels(reason)
        for reason in (*_DEATHS, "other"):
            self._deaths.labels(reason)
        for outcome in ("ok", "failed"):
            self._restored.labels(outcome)

    def watch(self, node: Node) -> None:
        """Shows a node's numbers as they are when somebody looks."""
        self._registry.register(_OfNode(node))

    def text(self) -> bytes:
        """Returns all of it in Prometheus' text format."""
        return generate_latest(self._registry)

    def requested(self, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(route, f"{status // 100}xx").observe(seconds)

    def created(self, seconds: float, *, ready: bool) -> None:
        """Counts a session that was made."""
        self._created.labels("ready" if ready else "new").observe(seconds)

    def executed(self, status: str, seconds: float) -> None:
        """Counts a cell."""
        self._executed.labels(status).observe(seconds)

    def refused(self, reason: str) -> None:
        """Counts a refusal."""
        self._refused.labels(reason).inc()

    def restored(self, seconds: float, *, ok: bool) -> None:
        """Counts a session that was brought back, or was not."""
        self._restored.labels("ok" if ok else "failed").observe(seconds)

    def box_died(self, reason: str) -> None:
        """Counts the death of a box by what its reason speaks of."""
        kinds = (kind for kind, words in _DEATHS.items() if any(word in reason for word in words))
        self._deaths.labels(next(kinds, "other")).inc()

    def called(self, name: str, *, ok: bool) -> None:
        """Counts what was done for a session."""
        self._called.labels(name, "ok" if ok else "failed").inc()

    def store_failed(self) -> None:
        """Counts a failure of the store."""
        self._store.inc()


class _OfNode(Collector):
    """A node's numbers."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def collect(self) -> Iterator[Metric]:
        """Reads them."""
        node = self._node
        for name, text, value in (
            ("sandbox_sessions_live", "Sessions that are live at this node.", node.live),
            ("sandbox_sessions_waiting", "Sessions that wait for room.", node.waiting),
            ("sandbox_capacity", "Sessions for which there is room.", node.settings.capacity),
            ("sandbox_queue_capacity", "Sessions that may wait for room.", node.settings.queue),
            ("sandbox_boxes_ready", "Boxes that wait for sessions.", node.boxes.waiting),
            ("sandbox_boxes_wanted", "Boxes that should wait for sessions.", node.settings.ready),
            ("sandbox_nodes_alive", "Nodes that this one knows to be alive.", node.known),
            ("sandbox_draining", "Whether the node is ending.", int(node.draining)),
        ):
            yield GaugeMetricFamily(name, text, value=value)
