"""Token by token, a reply is held to one of several beginnings: which tokens may come next.

A name is no token. `browser_click` may be one, two or twelve of them, two names may share their first, and a token may
end in the middle of a name or beyond its end. So this counts bytes: a token may come if what has been written, with it,
is still the beginning of one of the alternatives, or goes on behind one. Nothing else may come, and nothing that leads
to where no token can go on.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any


class Vocabulary:
    """The bytes of each token of a tokenizer.

    Args:
        tokens: by id; None for special tokens, which are no text.
    """

    def __init__(self, tokens: Sequence[bytes | None]) -> None:
        self.tokens = list(tokens)
        self._ids: dict[bytes, list[int]] = {}
        for number, token in enumerate(self.tokens):
            if token:
                self._ids.setdefault(token, []).append(number)
        self._sorted = sorted(self._ids)
        self._longest = max(map(len, self._sorted), default=0)

    @classmethod
    def of(cls, tokenizer: Any, size: int | None = None) -> "Vocabulary":
        """Reads a transformers tokenizer.

        Args:
            tokenizer: the tokenizer.
            size: ids that the model has, where they are more than the tokenizer's.
        """
        import xgrammar

        decoded = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=size).decoded_vocab
        special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
        special |= set(tokenizer.all_special_ids)
        return cls([None if number in special else token for number, token in enumerate(decoded)])

    def starts_of(self, text: bytes) -> Iterable[bytes]:
        """Yields each token with which a text begins, the whole text included."""
        for size in range(1, min(len(text), self._longest) + 1):
            if text[:size] in self._ids:
                yield text[:size]

    def beyond(self, text: bytes) -> Iterable[bytes]:
        """Yields each token that begins with a text, the text itself included."""
        for index in range(bisect_left(self._sorted, text), len(self._sorted)):
            if not self._sorted[index].startswith(text):
                return
            yield self._sorted[index]

    def ids(self, token: bytes) -> list[int]:
        """Returns the ids that are written as these bytes."""
        return self._ids.get(token, [])

    def write(self, ids: Iterable[int]) -> bytes | None:
        """Returns what tokens say together; None where one of them is special."""
        pieces = [self.tokens[number] for number in ids]
        return None if None in pieces else b"".join(piece for piece in pieces if piece)


class Beginnings:
    """Replies that begin with one of several texts, and then go on freely.

    Args:
        vocabulary: the tokens.
        alternatives: the texts.

    Raises:
        ValueError: There are none, one is empty, or the vocabulary cannot write one.
    """

    def __init__(self, vocabulary: Vocabulary, alternatives: Sequence[str]) -> None:
        self._vocabulary = vocabulary
        self._alternatives = sorted({text.encode() for text in alternatives})
        if not self._alternatives or not self._alternatives[0]:
            raise ValueError("give at least one beginning, none of them empty: nothing could come next")
        self._live = {text: self._positions(text) for text in self._alternatives}
        for text, live in self._live.items():
            if 0 not in live:
                raise ValueError(f"no tokens write {text.decode()!r}")
        self._known: dict[bytes, list[int] | None] = {}

    def allowed(self, written: bytes) -> list[int] | None:
        """Returns the ids that may come next, sorted; None where a beginning is complete and all may.

        Args:
            written: what the reply says so far. Where that is no beginning of any alternative, nothing may come.
        """
        if written not in self._known:
            self._known[written] = self._next(written)
        return self._known[written]

    def _next(self, written: bytes) -> list[int] | None:
        if any(written.startswith(text) for text in self._alternatives):
            return None
        tokens: set[bytes] = set()
        for text in self._alternatives:
            if text.startswith(written):
                tokens.update(self._steps(text, len(written)))
        return sorted(number for token in tokens for number in self._vocabulary.ids(token))

    def _steps(self, text: bytes, at: int) -> Iterable[bytes]:
        """Yields the tokens that lead on from a place in an alternative, to where others do or behind its end."""
        rest = text[at:]
        for token in self._vocabulary.starts_of(rest):
            if at + len(token) in self._live[text]:
                yield token
        yield from self._vocabulary.beyond(rest)

    def _positions(self, text: bytes) -> set[int]:
        """Returns the places in an alternative from which tokens lead to its end."""
        live = {len(text)}
        for at in range(len(text) - 1, -1, -1):
            rest = text[at:]
            onwards = any(at + len(token) in live for token in self._vocabulary.starts_of(rest))
            if onwards or any(True for _ in self._vocabulary.beyond(rest)):
                live.add(at)
        return live
