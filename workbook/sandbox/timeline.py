"""The messages of one cell against time, as a table and as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from workbook.sandbox.kernel import Kernel, Message

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

MOST_MESSAGES = 1_000  # kept of a recording
MOST_ROWS = 40  # of a table
LANES = {"shell": 1.0, "iopub": 0.0}  # heights; labels stand above the first and hang below the second
FLAGPOLE, STEP = 0.4, 0.3  # height of the lowest label over its lane, and of each next one over that
WIDTH, INCHES = 9.0, 0.85  # of the figure; per unit of height


def record(kernel: Kernel, code: str, timeout: float = 10.0) -> Timeline:
    """Executes a cell and keeps the messages that it takes, the first 1,000 of them."""
    messages: list[Message] = []

    def keep(message: Message) -> None:
        if len(messages) < MOST_MESSAGES:
            messages.append(message)

    kernel.execute(code, timeout, on_message=keep)
    return Timeline(messages)


@dataclass(frozen=True)
class Timeline:
    """The messages of a cell, in the order in which they were sent or received here; the first is its request."""

    messages: list[Message]

    def milliseconds(self, message: Message) -> float:
        """When the message was sent or received, counted from the request."""
        return 1000 * (message.time - self.messages[0].time)

    def is_foreign(self, message: Message) -> bool:
        """Whether the message answers another request than this cell's."""
        return message is not self.messages[0] and message.parent_id != self.messages[0].id

    def _repr_markdown_(self) -> str:
        rows = ["| ms | channel | | type | content |", "|---:|---|:---:|---|---|"]
        for message in self.messages[:MOST_ROWS]:
            arrow = "→ kernel" if message is self.messages[0] else "← kernel"
            content = _summary(message, 60)
            for special in "\\`*_|<>[]$":
                content = content.replace(special, f"&#{ord(special)};")
            content += " (another cell's)" if self.is_foreign(message) else ""
            rows.append(
                f"| {self.milliseconds(message):.1f} | {message.channel} | {arrow} | `{message.type}` | {content} |"
            )
        more = len(self.messages) - MOST_ROWS
        return "\n".join(rows) + (f"\n\n… and {more} more." if more > 0 else "")

    def plot(self) -> Axes:
        """Draws the messages on two lanes; those of a type in a row share a label, another cell's are grey."""
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(WIDTH, 3), layout="constrained")
        flags = [_Flag(self, list(run)) for _, run in groupby(self.messages, self._alike)]
        for flag in flags:
            flag.text = axes.text(0, 0, flag.label, fontsize=9, va="center", color=flag.color, parse_math=False)
        axes.set(yticks=list(LANES.values()), yticklabels=list(LANES), xlabel="milliseconds since the request")
        figure.draw_without_rendering()  # only now are widths known
        room = axes.get_window_extent().width
        widths = [flag.text.get_window_extent().width + 12 for flag in flags]
        # Each label begins at its first message, so the axis ends where the last one that needs room has it.
        end = max(flag.times[0] * room / max(room - width, room / 4) for flag, width in zip(flags, widths, strict=True))
        end = 1.02 * max(end, flags[-1].times[-1], 0.1)
        tallest = dict.fromkeys(LANES, 0)
        for i in reversed(range(len(flags))):
            # Above every label that begins under it, so that no pole crosses a label.
            reach = flags[i].times[0] + widths[i] * end / room
            under = [f.level for f in flags[i + 1 :] if f.channel == flags[i].channel and f.times[0] <= reach]
            flags[i].level = max(under, default=-1) + 1
            tallest[flags[i].channel] = max(tallest[flags[i].channel], flags[i].level)
        for channel, lane in LANES.items():
            axes.axhline(lane, color="#e4e7eb", linewidth=6, zorder=0)
            axes.plot(self._busy(), [lane] * 2, color="#f6d998", linewidth=6, zorder=0, solid_capstyle="butt")
            for flag in (flag for flag in flags if flag.channel == channel):
                top = FLAGPOLE + STEP * flag.level
                top = lane + top if channel == "shell" else lane - top
                axes.plot([flag.times[0]] * 2, [lane, top], color=flag.color, linewidth=0.9, zorder=1)
                axes.plot(flag.times, [lane] * len(flag.times), flag.marker, color=flag.color, markersize=8, zorder=2)
                flag.text.set_position((flag.times[0] + 5 * end / room, top))
        above, below = (FLAGPOLE + STEP * (tallest[channel] + 0.7) for channel in LANES)
        axes.set(xlim=(-0.012 * end, end), ylim=(LANES["iopub"] - below, LANES["shell"] + above))
        axes.spines[["top", "left", "right"]].set_visible(False)
        axes.tick_params(axis="y", length=0, labelsize=10)
        figure.set_size_inches(WIDTH, 0.6 + INCHES * (above + below + LANES["shell"] - LANES["iopub"]))
        axes.set_title("▼ to the kernel   ▲ from the kernel   yellow: busy", loc="right", fontsize=9, color="#7f8c8d")
        return axes

    def _busy(self) -> tuple[float, float]:
        """From when to when the kernel worked on the cell, as far as its messages tell."""
        own = [message for message in self.messages if not self.is_foreign(message)]
        statuses = [message for message in own if message.type == "status"]
        return self.milliseconds((statuses or own)[0]), self.milliseconds((statuses or own)[-1])

    def _alike(self, message: Message) -> tuple[str, str, bool]:
        what = message.type + str(message.content.get("execution_state", ""))
        return message.channel, what, self.is_foreign(message)


class _Flag:
    """Messages of a type in a row, and the label that they share."""

    text: Text

    def __init__(self, timeline: Timeline, run: list[Message]) -> None:
        first = run[0]
        summary = "" if first.type in ("execute_request", "execute_input") else _summary(first, 28)
        self.channel = first.channel
        self.times = [timeline.milliseconds(message) for message in run]
        self.label = f"{first.type} × {len(run)}" if len(run) > 1 else f"{first.type}: {summary}".removesuffix(": ")
        self.marker = "v" if first is timeline.messages[0] else "^"
        self.level = 0
        if timeline.is_foreign(first):
            self.color = "#b0b7bf"
        else:
            self.color = {"status": "#6b7785", "error": "#c0392b"}.get(
                first.type, "#1f4e79" if first.channel == "shell" else "#1e8449"
            )


def _summary(message: Message, width: int) -> str:
    """What a message says, on one line of at most `width` characters; "" where its type says enough."""
    content = message.content
    match message.type:
        case "execute_request" | "execute_input":
            text = str(content.get("code", ""))
        case "status":
            text = str(content.get("execution_state", ""))
        case "stream":
            text = str(content.get("text", ""))
        case "execute_result" | "display_data" | "update_display_data":
            data = content.get("data")
            text = str(data.get("text/plain", "")) if isinstance(data, dict) else ""
        case "error":
            text = str(content.get("ename", ""))
        case "execute_reply":
            text = str(content.get("status", ""))
        case _:
            text = ""
    text = " ⏎ ".join(text[: 4 * width].strip().splitlines())
    return text if len(text) <= width else text[: width - 1] + "…"
