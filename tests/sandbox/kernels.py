"""What the tests of kernels share: cells that misbehave, and a look at what is left behind."""

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from workbook.sandbox.kernel import Kernel, Limits, Message

ROOT = Path(__file__).parents[2]
QUICK = Limits(interrupt_grace=2.0, idle_grace=0.5)
STUBBORN = """
import time
while True:
    try: time.sleep(60)
    except KeyboardInterrupt: pass
"""
# What a cell needs to send messages of its own making, signed with the kernel's key.
FORGE = """
kernel = get_ipython().kernel
session, iopub, parent = kernel.session, kernel.iopub_thread, kernel.get_parent()
def publish(kind, content, parent=parent): session.send(iopub, kind, content, parent=parent)
def publish_raw(*parts): iopub.send_multipart([b"topic", b"<IDS|MSG>", session.sign(list(parts)), *parts])
"""


SLEEP = "print('begun', flush=True)\nimport time; time.sleep(60)"


@contextlib.contextmanager
def nothing_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails if the block leaves a process, thread, file descriptor or file behind, seen from outside."""
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    me = psutil.Process()
    with Kernel() as first:  # what is only ever opened once does not count
        first.execute("1")
    threads, descriptors = threading.active_count(), me.num_fds()
    before = set(me.children(recursive=True))
    yield
    assert not [p for p in set(me.children(recursive=True)) - before if p.status() != psutil.STATUS_ZOMBIE]
    assert list(folder.iterdir()) == []
    assert threading.active_count() == threads
    assert me.num_fds() == descriptors


def is_running(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def once_begun(act: Callable[[], object]) -> Callable[[Message], None]:
    """A hook that acts, in a thread, when the cell prints."""
    return lambda message: threading.Thread(target=act).start() if message.type == "stream" else None
