"""Workloads: what a tool-heavy agent does and sees, drawn from a seed, with facts that are asked for later.

    workload = draw(random.Random(7), turns=40, questions=6)

Nothing in it is real, and the mix is: listings, files, logs, search results, pages and tables of a few thousand bytes,
between answers of a few words, errors, nothing at all, bytes that are no text, the same call again, and one content
under two paths. `data/traces/` has what an agent on real files did.

A **fact** is a line `key: value` in a large observation. Its value is a nonce, which nobody can guess: who can tell it
when it is asked for has it from the context, or knows where to look. Facts that are never asked for look the same.
"""

import datetime
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from workbook.context.setting import ENDINGS, KEYS, NAMES, STEPS, SYSTEM, TOOLS, WORDS

START = datetime.datetime(2026, 11, 27, 9, 0, tzinfo=datetime.UTC)
SECONDS_A_REQUEST = 17
MOST_LATER = 15
"""Turns after which a fact is asked for, at most."""


@dataclass(frozen=True)
class Turn:
    """One decision of the agent, and what came of it.

    Attributes:
        thought: what it says before it calls.
        tool: which tool it calls.
        arguments: with what.
        observation: what the tool returned: text, bytes or JSON data.
        ok: False where the observation is an error.
        source: where the observation can be had again: `url`, `path` or `query`, or nothing.
        fields: dotted paths of a JSON observation that are worth keeping in sight.
        todo: the list as it stands before this turn: texts, and whether each is done.
    """

    thought: str
    tool: str
    arguments: Mapping[str, Any]
    observation: Any
    ok: bool
    source: Mapping[str, str]
    fields: tuple[str, ...]
    todo: tuple[tuple[str, bool], ...]

    @property
    def said(self) -> str:
        """What the model wrote."""
        call = json.dumps({"tool": self.tool, "arguments": self.arguments}, ensure_ascii=False)
        return f"{self.thought}\n{call}"


@dataclass(frozen=True)
class Fact:
    """Something that stands in one observation, and is asked for later.

    Attributes:
        turn: in whose observation it stands, counted from 0.
        asked_after: the turn after which it is asked for; None for those that never are.
        source: that of the observation.
        key: what stands before it in its line.
        value: the nonce.
    """

    turn: int
    asked_after: int | None
    source: Mapping[str, str]
    key: str
    value: str

    @property
    def question(self) -> str:
        """What the user asks."""
        return f"What was the {self.key}, which you saw in {next(iter(self.source.values()))}?"


@dataclass(frozen=True)
class Workload:
    """A run of an agent, without its context.

    Attributes:
        system: the system prompt.
        tools: the tool definitions.
        task: what the user asks for.
        turns: what the agent does.
        facts: what stands in the observations, in the order of turns.
    """

    system: str
    tools: tuple[Mapping[str, Any], ...]
    task: str
    turns: tuple[Turn, ...]
    facts: tuple[Fact, ...]

    def asked_after(self, turn: int) -> list[Fact]:
        """Returns the facts that are asked for after a turn."""
        return [fact for fact in self.facts if fact.asked_after == turn]

    @staticmethod
    def time(request: int) -> str:
        """Returns what time it is when a request is sent, counted from 0."""
        return (START + datetime.timedelta(seconds=SECONDS_A_REQUEST * request)).isoformat()


def draw(rng: random.Random, turns: int = 40, questions: int = 6, size: int = 3000) -> Workload:
    """Draws a workload.

    Args:
        rng: the source of all that is drawn.
        turns: how many calls the agent makes, 8 or more.
        questions: how many facts are asked for later, at most one for four turns.
        size: bytes of a large observation; half to twice as many are drawn.

    Raises:
        ValueError: There are too few turns, or too few for the questions.
    """
    if turns < 8 or questions * 4 > turns:
        raise ValueError(f"{turns} turns and {questions} questions: 8 turns or more, and four for each question")
    drawing = _Drawing(rng, size)
    # Each question has a large observation of its own, early enough to be asked for three turns later.
    planted = sorted(rng.sample(range(turns - 4), questions))
    found = [drawing.turn(number, turns, number in planted) for number in range(turns)]
    facts = tuple(
        Fact(
            turn=number,
            asked_after=min(number + rng.randint(3, MOST_LATER), turns - 1) if number in planted else None,
            source=turn.source,
            key=key,
            value=value,
        )
        for number, (turn, facts) in enumerate(found)
        for key, value in facts
    )
    return Workload(SYSTEM, TOOLS, drawing.task(), tuple(turn for turn, _ in found), facts)


Pair = tuple[str, str]
_Seen = tuple[str, dict[str, Any], Any, bool, tuple[str, ...]]
"""A tool, its arguments, what it returned, whether that is no error, and the declared fields."""


class _Drawing:
    """Draws turns one after another, and remembers what there is to come back to."""

    def __init__(self, rng: random.Random, size: int) -> None:
        self._rng, self._size = rng, size
        self._keys: set[str] = set()
        self._texts: list[tuple[str, str]] = []
        self._turns: list[Turn] = []
        self._pair: Pair | None = None
        self._steps = rng.sample(STEPS, 4)
        self._large: tuple[Callable[[], _Seen], ...] = (
            self._listing,
            self._file,
            self._file,
            self._log,
            self._search,
            self._page,
            self._table,
        )
        self._small: tuple[Callable[[], _Seen], ...] = (
            self._wrote,
            self._nothing,
            self._error,
            self._download,
            self._same_again,
            self._copied,
        )

    def task(self) -> str:
        """Draws what the user asks for."""
        return f"Requests to {self._name()} have failed since this morning. Find out why, and write a report."

    def turn(self, number: int, turns: int, planted: bool) -> tuple[Turn, list[Pair]]:
        """Draws the next turn, with the facts in it: one where `planted`, at most one elsewhere."""
        rng = self._rng
        self._pair = (self._key(), f"{rng.getrandbits(48):012x}") if planted or rng.random() < 0.25 else None
        small = not planted and rng.random() < 0.3
        tool, arguments, observation, ok, fields = rng.choice(self._small if small else self._large)()
        done = number * (len(self._steps) + 1) // turns
        source: dict[str, str] = {key: arguments[key] for key in ("url", "path", "query") if key in arguments}
        turn = Turn(
            thought=self._sentence(rng.randint(6, 16)),
            tool=tool,
            arguments=arguments,
            observation=observation,
            ok=ok,
            source=source if ok else {},
            fields=fields,
            todo=tuple((step, place < done) for place, step in enumerate(self._steps)),
        )
        self._turns.append(turn)
        return turn, [self._pair] if self._pair is not None and self._pair[1] in str(observation) else []

    # Large observations: each holds the fact, if there is one, in a line of its own that is not the first.

    def _listing(self) -> _Seen:
        folder = self._folder()
        lines = self._lines(lambda: f"{self._rng.randrange(1 << 20):>8} {self._name()}{self._rng.choice(ENDINGS)}")
        return "file_list", {"path": folder}, "\n".join(lines), True, ()

    def _file(self) -> _Seen:
        path = f"{self._folder()}/{self._name()}{self._rng.choice(ENDINGS)}"
        lines = self._lines(lambda: " " * self._rng.choice((0, 0, 4, 8)) + self._code())
        text = "\n".join([f"# {path}", *lines]) + "\n"
        self._texts.append((path, text))
        return "file_read", {"path": path}, text, True, ()

    def _log(self) -> _Seen:
        path = f"/var/log/{self._name()}.log"
        lines = self._lines(self._log_line)
        return "log_read", {"path": path, "last": len(lines)}, "\n".join(lines), True, ()

    def _search(self) -> _Seen:
        query = " ".join(self._rng.sample(WORDS, 4))
        hits = [
            {"url": self._url(), "title": self._sentence(5), "snippet": line, "score": self._rng.randrange(1000) / 1000}
            for line in self._lines(lambda: self._sentence(18), overhead=110)
        ]
        fields = ("total", "results.0.url")
        return "web_search", {"query": query}, {"total": len(hits), "results": hits}, True, fields

    def _page(self) -> _Seen:
        lines = self._lines(lambda: self._rng.choice(("", "", "## ")) + self._sentence(self._rng.randint(8, 40)))
        title = f"# {self._sentence(4)}"
        return "web_fetch", {"url": self._url()}, "\n\n".join([title, *lines]), True, ()

    def _table(self) -> _Seen:
        query = f"SELECT * FROM {self._rng.choice(WORDS)}s WHERE host = '{self._name()}'"
        rows = [
            {"id": number, "host": self._name(), "note": line, "ok": self._rng.random() < 0.9}
            for number, line in enumerate(self._lines(lambda: self._sentence(6), overhead=60))
        ]
        return "sql_query", {"query": query}, {"rows": rows, "count": len(rows)}, True, ("count",)

    # Small ones, and awkward ones

    def _wrote(self) -> _Seen:
        path = f"notes/{self._name()}.md"
        text = self._sentence(12)
        return "file_write", {"path": path, "text": text}, f"wrote {len(text.encode())} bytes to {path}", True, ()

    def _nothing(self) -> _Seen:
        return "shell_run", {"command": f"grep -r {self._name()} {self._folder()}"}, "", True, ()

    def _error(self) -> _Seen:
        name = self._name()
        call: dict[str, Any]
        kind, tool, call, more = self._rng.choice(
            (
                ("FileNotFoundError", "file_read", {"path": f"{self._folder()}/{name}"}, f"there is no {name}"),
                ("TimeoutError", "web_fetch", {"url": self._url()}, "no answer after 10 s"),
                ("SyntaxError", "sql_query", {"query": f"SELECT FROM {name}"}, "near FROM: syntax error"),
            )
        )
        trace = self._lines(lambda: f'  File "{self._name()}.py", line {self._rng.randrange(900)}', share=0.3)
        self._pair = None
        return tool, call, "\n".join([f"{kind}: {more}", *trace]), False, ()

    def _download(self) -> _Seen:
        data = b"\x89PNG\r\n\x1a\n" + self._rng.randbytes(self._rng.randint(40, self._size))
        return "web_download", {"url": self._url()}, data, True, ()

    def _same_again(self) -> _Seen:
        known = [turn for turn in self._turns if turn.ok and turn.source]
        if not known:
            return self._nothing()
        turn = self._rng.choice(known)
        return turn.tool, dict(turn.arguments), turn.observation, True, turn.fields

    def _copied(self) -> _Seen:
        if not self._texts:
            return self._nothing()
        path, text = self._rng.choice(self._texts)
        return "file_read", {"path": f"{path}.bak"}, text, True, ()

    # Words

    def _lines(self, line: Callable[[], str], overhead: int = 1, share: float = 1.0) -> list[str]:
        """Draws lines of some size in all; the fact stands between two of them."""
        most, size = self._rng.randint(self._size // 2, 2 * self._size) * share, 0
        lines = list[str]()
        while size < most or len(lines) < 3:
            lines.append(line())
            size += len(lines[-1].encode()) + overhead
        if self._pair is not None:
            lines.insert(self._rng.randrange(1, len(lines)), f"{self._pair[0]}: {self._pair[1]}")
        return lines

    def _key(self) -> str:
        """Draws what a fact is called: no two have one name."""
        while True:
            key = f"{self._rng.choice(KEYS)} of {self._name()}"
            if key not in self._keys:
                self._keys.add(key)
                return key

    def _name(self) -> str:
        return f"{self._rng.choice(NAMES)}-{self._rng.randrange(10, 1000)}"

    def _folder(self) -> str:
        return f"/srv/{self._rng.choice(WORDS)}/{self._rng.choice(NAMES)}"

    def _url(self) -> str:
        return f"https://docs.example.org/{self._rng.choice(WORDS)}/{self._name()}"

    def _sentence(self, words: int) -> str:
        return " ".join(self._rng.choices(WORDS, k=words)).capitalize() + "."

    def _code(self) -> str:
        first, second = self._rng.sample(WORDS, 2)
        return self._rng.choice(
            (
                f"{first}_{second} = {self._rng.randrange(1 << 16)}",
                f"def {first}(self, {second}):",
                f"return self.{first}({second!r})",
                f"{first}: {self._sentence(5)}",
                f"# {self._sentence(7)}",
            )
        )

    def _log_line(self) -> str:
        rng = self._rng
        clock = f"2026-11-27T{rng.randrange(9):02}:{rng.randrange(60):02}:{rng.randrange(60):02}Z"
        return f"{clock} {rng.choice(('INFO', 'INFO', 'WARN', 'ERROR'))} {self._name()} {self._sentence(7)}"
