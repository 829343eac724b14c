"""What a node tells of what happens at it, so that neither it nor its sessions know how that is counted."""


class Observer:
    """Is told what happens at a node. This one ignores it; metrics take its place."""

    def created(self, seconds: float, *, ready: bool) -> None:
        """A session was made, of a box that waited or of a new one."""

    def executed(self, status: str, seconds: float) -> None:
        """A cell has ended: "ok", "error", "timeout" or "died"."""

    def refused(self, reason: str) -> None:
        """Somebody was turned away: "full", "quota", "draining"."""

    def restored(self, seconds: float, *, ok: bool) -> None:
        """A session was brought back, or could not be."""

    def box_died(self, reason: str) -> None:
        """A box ended by itself; the reason is for people, as in "out of memory"."""

    def called(self, name: str, *, ok: bool) -> None:
        """Something was done for a session that only the service can do, as `http_fetch`."""

    def store_failed(self) -> None:
        """The store was out of reach."""
