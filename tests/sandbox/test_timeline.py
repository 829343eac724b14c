"""The picture and the table of a cell's messages."""

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")

import matplotlib.pyplot as plt

from workbook.sandbox import timeline as module
from workbook.sandbox.kernel import Kernel, Message
from workbook.sandbox.timeline import Timeline, record


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    with Kernel() as shared:
        shared.execute("pass")  # what its start has left to say on IOPub comes before this cell's messages
        yield shared


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


CODE = "import time\nprint('hello', flush=True)\ntime.sleep(0.1)\n6 * 7"


def test_a_recording_holds_every_message_with_its_time(kernel: Kernel) -> None:
    timeline = record(kernel, CODE)
    kinds = [(m.channel, m.type) for m in timeline.messages]
    assert kinds[0] == ("shell", "execute_request")
    assert sorted(kinds) == sorted(
        [("shell", "execute_request"), ("shell", "execute_reply"), ("iopub", "execute_input")]
        + [("iopub", "status")] * 2
        + [("iopub", kind) for kind in ("stream", "execute_result")]
        + [("iopub", "stream")] * (kinds.count(("iopub", "stream")) - 1)
    )
    at = {m.type: timeline.milliseconds(m) for m in timeline.messages}
    assert at["execute_request"] == 0
    assert at["execute_result"] >= 90  # the cell sleeps for 100
    assert not any(map(timeline.is_foreign, timeline.messages))


def test_the_table(kernel: Kernel) -> None:
    rows = record(kernel, "print('a|b <i> $x$')\n1/0")._repr_markdown_().splitlines()
    assert rows[2].startswith("| 0.0 | shell | → kernel | `execute_request` |")
    assert any("`status` | busy |" in row for row in rows)
    assert any("`error` | ZeroDivisionError |" in row for row in rows)
    assert any("a&#124;b &#60;i&#62; &#36;x&#36;" in row for row in rows)
    assert {row.count("|") for row in rows} == {6}


def test_late_messages_of_an_earlier_cell_are_marked(kernel: Kernel) -> None:
    kernel.execute(
        "import contextvars, threading\ngo = threading.Event()\n"
        "def late():\n    go.wait(); print('late', flush=True)\n"
        "threading.Thread(target=contextvars.copy_context().run, args=(late,)).start()"
    )
    timeline = record(kernel, "import time; go.set(); time.sleep(0.5)")
    late = [m for m in timeline.messages if m.content.get("text") == "late"] or [
        m for m in timeline.messages if "late" in str(m.content.get("text"))
    ]
    assert list(map(timeline.is_foreign, late)) == [True]
    assert "late (another cell's)" in timeline._repr_markdown_()


def test_a_long_recording_is_bounded(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_MESSAGES", 100)
    timeline = record(kernel, "for i in range(300): print(i, flush=True)")
    assert len(timeline.messages) == 100
    assert timeline._repr_markdown_().endswith("… and 60 more.")
    texts = [text.get_text() for text in timeline.plot().texts]
    assert sum("stream" in text for text in texts) == 1  # a run shares one label


def made_up(*messages: tuple[float, str, str, Any]) -> Timeline:
    made = [
        Message(at / 1000, channel, kind, str(i), "0" if i else "", json.dumps(content).encode())
        for i, (at, channel, kind, content) in enumerate(messages)
    ]
    return Timeline(made)


REQUEST = (0.0, "shell", "execute_request", {"code": "x"})
BUSY, IDLE = ({"execution_state": state} for state in ("busy", "idle"))
LONG = {"data": {"text/plain": "x $1 and $2 _a_ " * 10}}


@pytest.mark.parametrize(
    "timeline",
    [
        made_up(REQUEST),
        made_up(REQUEST, (1.0, "iopub", "status", BUSY), (2.0, "shell", "execute_reply", {"status": "ok"})),
        made_up(REQUEST, *((5.0, "iopub", kind, LONG) for kind in ("display_data", "execute_result", "status"))),
        made_up(
            REQUEST,
            (1.0, "iopub", "status", BUSY),
            (1.1, "iopub", "execute_input", {"code": "x"}),
            *((1.2 + i, "iopub", ["display_data", "execute_result"][i % 2], LONG) for i in range(8)),
            (9.9, "shell", "execute_reply", {"status": "error"}),
            (9.95, "iopub", "status", IDLE),
        ),
    ],
    ids=["request alone", "few", "all at once", "crowded"],
)
def test_labels_neither_overlap_nor_leave_the_picture(timeline: Timeline) -> None:
    axes = timeline.plot()
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == len(timeline.messages)
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)
    frame = axes.get_window_extent()
    for box in boxes:
        assert frame.x0 <= box.x0 < box.x1 <= frame.x1 + 1
        assert frame.y0 <= box.y0 < box.y1 <= frame.y1
    # No pole crosses a label.
    for line in axes.lines:
        vertices = axes.transData.transform(np.asarray(line.get_xydata()))
        low, high = vertices.min(axis=0), vertices.max(axis=0)
        if low[0] == high[0]:
            for box in boxes:
                assert not (box.x0 < low[0] < box.x1 and low[1] < box.y0 and box.y1 < high[1])


def test_the_picture_can_be_saved(kernel: Kernel, tmp_path: Path) -> None:
    axes = record(kernel, CODE).plot()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["shell", "iopub"]
    assert "milliseconds" in axes.get_xlabel()
    plt.savefig(tmp_path / "timeline.png")
    assert (tmp_path / "timeline.png").stat().st_size > 5_000
