"""The automaton lets through exactly the allowed beginnings, however a tokenizer cuts them."""

import random
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbook import models
from workbook.context.automaton import Beginnings, Vocabulary
from workbook.context.masking import mask

NAMES = ["browser_click", "browser_clicker", "browser_open", "file", "file_read", "file_überall", "f"]


@cache
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(models.smollm2())


@cache
def vocabulary() -> Vocabulary:
    return Vocabulary.of(tokenizer())


def follow(beginnings: Beginnings, words: Vocabulary, text: bytes, cut: list[int]) -> bool:
    """Says whether these tokens are let through, one after the other."""
    written = b""
    for token in cut:
        allowed = beginnings.allowed(written)
        if allowed is not None and token not in allowed:
            return False
        piece = words.tokens[token]
        assert piece is not None
        written += piece
    assert written == text
    return True


def cuts(words: Vocabulary, text: bytes, rng: random.Random) -> list[int]:
    """One way of cutting a text into tokens, drawn."""
    cut: list[int] = []
    while text:
        token = rng.choice(list(words.starts_of(text)))
        cut.append(rng.choice(words.ids(token)))
        text = text[len(token) :]
    return cut


def test_it_knows_the_bytes_of_smollm2s_tokens() -> None:
    words = vocabulary()
    assert len(words.tokens) == len(tokenizer())
    for special in ("<|im_end|>", "<|im_start|>", "<|endoftext|>", "<file_sep>"):
        assert words.tokens[tokenizer().convert_tokens_to_ids(special)] is None
    for text in ('{"tool": "browser_click", "arguments": ', "ü€ 漢字 \t\n", " leading"):
        assert words.write(tokenizer().encode(text, add_special_tokens=False)) == text.encode()
    assert words.write([tokenizer().eos_token_id]) is None


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9), st.sets(st.sampled_from(NAMES), min_size=1))
def test_each_cut_of_an_allowed_name_passes_and_each_of_another_does_not(seed: int, allowed: set[str]) -> None:
    rng = random.Random(seed)
    words = vocabulary()
    beginnings = Beginnings(words, [f'{{"tool": "{name}", "arguments": {{' for name in allowed])
    for name in [*NAMES, "browser", "browser_clic", "browser_clickx", "", "fil", " file", "file ", "F"]:
        text = f'{{"tool": "{name}", "arguments": {{"x": 1}}}}'
        for cut in (tokenizer().encode(text), cuts(words, text.encode(), rng), list_of_bytes(words, text)):
            assert follow(beginnings, words, text.encode(), cut) == (name in allowed)


def list_of_bytes(words: Vocabulary, text: str) -> list[int]:
    return [words.ids(bytes([byte]))[0] for byte in text.encode()]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**9), st.sampled_from(["auto", "required"]))
def test_whatever_is_drawn_from_what_it_allows_is_allowed(seed: int, mode: str) -> None:
    rng = random.Random(seed)
    words = vocabulary()
    one = mask(NAMES, mode, rng.sample(NAMES, 3))
    beginnings = Beginnings(words, one.alternatives())
    written = b""
    while (ids := beginnings.allowed(written)) is not None:
        assert ids, f"stuck after {written!r}"
        assert ids == sorted(set(ids))
        token = words.tokens[rng.choice(ids)]
        assert token
        written += token
    assert any(written.startswith(text.encode()) for text in one.alternatives())


SMALL = st.lists(st.binary(min_size=1, max_size=3).map(lambda b: bytes(97 + x % 2 for x in b)), max_size=8)
WORDS = st.text("ab", min_size=1, max_size=6)


@settings(deadline=None)
@given(SMALL, st.sets(WORDS, min_size=1, max_size=4))
def test_against_all_strings_on_small_vocabularies(tokens: list[bytes], texts: set[str]) -> None:
    """Vocabularies with holes: what can be reached, and cannot be left, must not be entered."""
    words = Vocabulary([None, b"", *tokens])
    alternatives = [text.encode() for text in texts]

    def finishes(written: bytes, depth: int = 0) -> bool:
        """By search: some tokens lead on from here to behind a beginning."""
        if any(written.startswith(text) for text in alternatives):
            return True
        if not any(text.startswith(written) for text in alternatives):
            return False
        return any(finishes(written + token) for token in tokens)

    try:
        beginnings = Beginnings(words, sorted(texts))
    except ValueError:
        assert not all(any(_spells(tokens, text) for text in [one]) for one in alternatives)
        return
    pending, seen = [b""], set()
    while pending:
        written = pending.pop()
        if written in seen or len(written) > 10:
            continue
        seen.add(written)
        ids = beginnings.allowed(written)
        if any(written.startswith(text) for text in alternatives):
            assert ids is None
            continue
        expected = [number + 2 for number, token in enumerate(tokens) if finishes(written + token)]
        assert ids == expected
        pending += [written + token for token in tokens if finishes(written + token)]


def _spells(tokens: list[bytes], text: bytes) -> bool:
    """Says whether tokens write a text, the last of them perhaps beyond its end."""
    return not text or any(
        token.startswith(text) or (text.startswith(token) and _spells(tokens, text[len(token) :])) for token in tokens
    )


def test_after_a_beginning_all_is_free_and_off_the_way_nothing_is() -> None:
    beginnings = Beginnings(vocabulary(), ["abc"])
    assert beginnings.allowed(b"abc") is None
    assert beginnings.allowed(b"abcdef") is None
    assert beginnings.allowed(b"abx") == []


@pytest.mark.parametrize("texts", [[], [""], ["", "a"]])
def test_no_beginning_is_an_error(texts: list[str]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Beginnings(vocabulary(), texts)


def test_what_the_tokens_cannot_write_is_an_error() -> None:
    with pytest.raises(ValueError, match="no tokens write 'ac'"):
        Beginnings(Vocabulary([b"a", b"b"]), ["ab", "ac"])
