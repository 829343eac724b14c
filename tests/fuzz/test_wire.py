"""The wire's outer end: whatever a student's process sends is read as plain values, or refused as documented."""

import json
import socket
import time
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st

from autograder.asker import (
    MAX_TEXT,
    AnswerRaised,
    AnswerRefused,
    Asker,
    BoxAsker,
    Footprint,
    WorkerLost,
)
from autograder.values import DTYPES, Handle, ValueRefused, decode, encode
from tests.fuzz.hostile import INTEGERS, SCALARS, corpus, damaged, jsons, mutated, text_of
from workbook.sandbox.isolation import channel as channels
from workbook.sandbox.isolation.channel import Channel, ChannelError, pack

Frame = tuple[dict[str, Any], list[bytes]]

BLOBS = st.lists(st.binary(max_size=16), max_size=4)
TAGS = ("$tuple", "$dict", "$bytes", "$tensor", "$callback", "$object", "$", "dtype", "shape", "blob", "__class__")
DATA = jsons(st.sampled_from(TAGS), SCALARS | st.sampled_from(DTYPES))


# -- values that may cross ---------------------------------------------------------------------------------------------


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    kind: torch.dtype = getattr(torch, draw(st.sampled_from(DTYPES)))
    shape = draw(st.lists(st.integers(0, 3), max_size=4))
    count = torch.empty(shape).numel()
    if kind == torch.bool:
        return torch.tensor(draw(st.lists(st.booleans(), min_size=count, max_size=count)), dtype=kind).reshape(shape)
    size = count * kind.itemsize
    if not size:
        return torch.empty(shape, dtype=kind)
    return torch.frombuffer(bytearray(draw(st.binary(min_size=size, max_size=size))), dtype=kind).reshape(shape)


KEYS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.tuples(st.integers())
VALUES = st.recursive(
    SCALARS | st.binary(max_size=9) | tensors(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=10,
)


def shape_of(value: Any) -> Any:
    """A value with all of its types, to compare: two are equal where no difference between the values can be seen."""
    kind = type(value)
    if kind in (list, tuple):
        return kind, [shape_of(item) for item in value]
    if kind is dict:
        return kind, [(shape_of(key), shape_of(item)) for key, item in value.items()]
    if kind is torch.Tensor:
        return kind, value.dtype, value.shape, value.flatten().view(torch.uint8).tolist() if value.numel() else []
    assert kind in (type(None), bool, int, float, str, bytes), f"a value of type {kind} came through"
    return kind, repr(value)


def crossing_bytes(value: Any) -> int:
    """How many bytes the bytes and tensors in a value have."""
    if type(value) in (list, tuple):
        return sum(map(crossing_bytes, value))
    if type(value) is dict:
        return sum(crossing_bytes(part) for pair in value.items() for part in pair)
    if type(value) is torch.Tensor:
        assert str(value.dtype).removeprefix("torch.") in DTYPES
        return value.nbytes
    return len(value) if type(value) is bytes else 0


def read_value(data: Any, blobs: list[bytes]) -> None:
    """Decodes what came from anybody: a plain value no larger than what came, which can be sent back, or refused."""
    refused = ""
    try:
        value = decode(data, blobs)
    except ValueRefused as error:
        refused = str(error)
    if refused:
        assert len(refused) < MAX_TEXT
        return
    assert crossing_bytes(value) <= sum(map(len, blobs))
    sent: list[bytes] = []
    again = encode(value, sent)
    assert shape_of(decode(again, sent)) == shape_of(value)


@given(VALUES)
def test_values_cross_unchanged(value: Any) -> None:
    blobs: list[bytes] = []
    data = encode(value, blobs)
    came = json.loads(json.dumps(data))
    assert shape_of(decode(came, blobs)) == shape_of(value)


@given(DATA, BLOBS)
@example([{"$tensor": {"dtype": "uint8", "shape": [10**4299] * 3000, "blob": 0}}], [b"x"])
@example({"$tensor": {"dtype": "uint8", "shape": [10**4299] * 64, "blob": 0}}, [b"x"])
@example({"$tensor": {"dtype": "uint8", "shape": [1] * 1_000_000, "blob": 0}}, [b"x"])
@example([{"$tensor": {"dtype": "uint8", "shape": [1 << 20], "blob": 0}}] * 100, [b"x" * (1 << 20)])
def test_any_data_is_a_plain_value_or_refused(data: Any, blobs: list[bytes]) -> None:
    read_value(data, blobs)


@given(st.data())
def test_a_value_with_a_part_changed_is_a_plain_value_or_refused(data: st.DataObject) -> None:
    blobs: list[bytes] = []
    encoded = encode(data.draw(VALUES), blobs)
    other = DATA | st.sampled_from([2**63, 10**4299]).map(lambda size: [size] * 400)
    read_value(data.draw(mutated(encoded, other)), data.draw(st.just(blobs) | BLOBS))


@pytest.mark.parametrize("case", corpus("values"), ids=lambda case: case["what"])
def test_values_of_the_corpus(case: dict[str, Any]) -> None:
    blobs = [bytes.fromhex(blob) for blob in case["blobs"]]
    read_value(case["data"], blobs)
    if case["refused"]:
        with pytest.raises(ValueRefused):
            decode(case["data"], blobs)


def test_a_truth_value_is_one_of_two() -> None:
    """There is nothing that torch computes rightly with a bool that is another byte than 0 and 1."""
    value = decode({"$tensor": {"dtype": "bool", "shape": [3], "blob": 0}}, [b"\x00\x01\x02"])
    assert value.view(torch.uint8).tolist() == [0, 1, 1]


# -- frames ------------------------------------------------------------------------------------------------------------


_FITS = 50_000  # bytes that a socket takes at once


def taken(data: bytes, cuts: Sequence[int] = ()) -> tuple[list[Frame], bool]:
    """What a channel makes of bytes that come in pieces: the messages, and whether something was none."""
    ours, theirs = socket.socketpair()
    channel, frames = Channel(ours), []
    with theirs:
        try:
            whole = range(0, len(data), _FITS)
            edges = sorted({*whole, len(data), *(cut % (len(data) + 1) for cut in cuts)})
            for start, end in pairwise(edges):
                theirs.sendall(data[start:end])
                left = end - start
                while left:
                    left -= channel.fill()
                    while (frame := channel.take()) is not None:
                        frames.append(frame)
        except ChannelError:
            return frames, True
        finally:
            channel.close()
    return frames, False


def check_frames(data: bytes, cuts: Sequence[int]) -> None:
    """Whatever the bytes are and however they are cut, they give the same messages, and only what JSON has."""
    frames, broken = taken(data)
    again, also_broken = taken(data, cuts)
    assert (shape_of(frames), broken) == (shape_of(again), also_broken)
    assert sum(len(blob) for _, blobs in frames for blob in blobs) <= len(data)
    for message, blobs in frames:
        assert type(message) is dict
        assert all(type(blob) is bytes for blob in blobs)
        json.dumps(message, ensure_ascii=False).encode()  # no half of a pair
        assert _depth(message) <= channels.MAX_DEPTH + 1


def _depth(value: Any) -> int:
    inner = value.values() if type(value) is dict else value if type(value) is list else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


def packed_by_hand(text: bytes, blobs: Sequence[bytes]) -> bytes:
    """A frame of what need not be JSON."""
    lengths = b"".join(len(blob).to_bytes(8, "big") for blob in blobs)
    return len(text).to_bytes(4, "big") + len(blobs).to_bytes(4, "big") + lengths + text + b"".join(blobs)


CUTS = st.lists(st.integers(0, 10**6), max_size=6)
SENDABLE = jsons(
    leaves=st.none() | st.booleans() | INTEGERS | st.floats() | st.text(max_size=9), names=st.text(max_size=5)
)
MESSAGES = st.dictionaries(st.text(max_size=5), SENDABLE, max_size=4)


@given(st.lists(st.tuples(MESSAGES, BLOBS), max_size=4), CUTS)
def test_frames_arrive_whole_however_they_are_cut(sent: list[Frame], cuts: list[int]) -> None:
    frames, broken = taken(b"".join(pack(*frame) for frame in sent), cuts)
    assert shape_of(frames) == shape_of([(dict(message), blobs) for message, blobs in sent])
    assert not broken


@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda tail: b"\0\0\0" + tail), CUTS)
def test_any_bytes_are_messages_or_refused(data: bytes, cuts: list[int]) -> None:
    check_frames(data, cuts)


@given(st.lists(st.tuples(MESSAGES, BLOBS), min_size=1, max_size=3), st.data(), CUTS)
def test_damaged_frames_are_messages_or_refused(sent: list[Frame], data: st.DataObject, cuts: list[int]) -> None:
    check_frames(data.draw(damaged(b"".join(pack(*frame) for frame in sent))), cuts)


@given(DATA, BLOBS, st.integers(0, 150), CUTS)
@example({"a": 1}, [], 100_000, [])
def test_frames_of_any_json_are_messages_or_refused(data: Any, blobs: list[bytes], depth: int, cuts: list[int]) -> None:
    text = b'{"a":[' * (depth // 2) + text_of(data) + b"]}" * (depth // 2)
    check_frames(packed_by_hand(text, blobs), cuts)


@pytest.mark.parametrize("case", corpus("frames"), ids=lambda case: case["what"])
def test_frames_of_the_corpus(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["bytes"])
    check_frames(data, range(len(data)))
    assert taken(data)[1] == case["refused"]


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 2**64 - 1), max_size=5))
@example(channels.MAX_TEXT, [channels.MAX_MESSAGE - channels.MAX_TEXT - 16])
@example(channels.MAX_TEXT + 1, [])
def test_nothing_is_set_aside_for_what_is_only_announced(length: int, lengths: list[int]) -> None:
    assume(length + sum(lengths) > 200)
    tracemalloc.start()
    try:
        head = length.to_bytes(4, "big") + len(lengths).to_bytes(4, "big")
        frames, _ = taken(head + b"".join(size.to_bytes(8, "big") for size in lengths) + b"{}")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert frames == []
    assert peak < 3 << 20  # `fill` reads into a buffer of 1 MiB


# -- answers and callbacks ---------------------------------------------------------------------------------------------


class Answered(Asker):
    """Asks nobody: the answer is given."""

    def __init__(self, answer: dict[str, Any], blobs: Sequence[bytes]) -> None:
        super().__init__()
        self.answer = (answer, list(blobs))

    def deadline(self, seconds: float) -> AbstractContextManager[None]:  # noqa: ARG002
        return nullcontext()

    def footprint(self) -> Footprint:
        raise NotImplementedError

    def _exchange(self, message: dict[str, Any], blobs: Sequence[bytes]) -> Frame:  # noqa: ARG002
        return self.answer


def read_answer(ask: Callable[[], Any], verb: str) -> None:
    """A question's outcome is a plain value, for `new` a handle, or one of three exceptions with bounded texts."""
    names: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    try:
        value = ask()
    except AnswerRaised as error:
        names, texts = error.names, (error.message, error.where)
    except (AnswerRefused, WorkerLost) as error:
        texts = (str(error),)
    else:
        if verb == "new":
            assert type(value) is Handle
            assert type(value.number) is int
        else:
            shape_of(value)
    assert all(type(text) is str for text in (*names, *texts))
    assert len(names) <= 20
    assert max(map(len, names), default=0) <= 100
    assert max(map(len, texts), default=0) <= MAX_TEXT


VERBS = st.sampled_from(["new", "call", "get", "drop"])
PARTS = ("handle", "value", "refused", "error", "names", "message", "where", "callback", "arguments", "keywords", "id")
ANSWERS = st.dictionaries(st.sampled_from(PARTS), DATA | jsons(st.sampled_from(PARTS)), max_size=4)
RIGHT_ANSWERS: list[dict[str, Any]] = [
    {"id": 1, "value": {"a": [{"$tuple": [1, {"$bytes": 0}]}]}},
    {"id": 1, "handle": 3},
    {"id": 1, "refused": "no plain value"},
    {"id": 1, "error": {"names": ["ValueError", "Exception"], "message": "m", "where": "in f"}},
    {"callback": 0, "arguments": [1, {"$bytes": 0}], "keywords": {"a": 2}},
]
NEARLY_RIGHT = st.sampled_from(RIGHT_ANSWERS).flatmap(lambda answer: mutated(answer, DATA))
ANY_ANSWERS = ANSWERS | NEARLY_RIGHT.filter(lambda answer: type(answer) is dict)


@given(VERBS, ANY_ANSWERS, BLOBS)
@example("get", {"refused": "x" * 100_000}, [])
@example("get", {"error": {"names": []}}, [])
@example("call", {"error": {"names": ["x" * 1000] * 1000, "message": "x" * 100_000, "where": ["x" * 100_000]}}, [])
def test_any_answer_is_a_plain_value_or_an_exception_of_three(verb: str, answer: dict[str, Any], blobs: Any) -> None:
    read_answer(lambda: Answered(answer, blobs).ask(verb, "x"), verb)


@given(ANY_ANSWERS, BLOBS)
@example({"callback": False, "arguments": [], "keywords": {}}, [])
def test_any_callback_is_answered(message: dict[str, Any], blobs: list[bytes]) -> None:
    asker, calls = Answered({}, []), []

    def echo(*arguments: Any, **keywords: Any) -> Any:
        calls.append((arguments, keywords))
        return [*arguments, keywords]

    asker._keep(echo)
    answer, sent = asker.answer_callback(message, blobs)
    assert list(answer) in (["value"], ["error"])
    assert pack(answer, sent)
    shape_of(calls)
    assert len(calls) <= (type(message.get("callback")) is int)


class FakeBox:
    """A box from which given messages come, and then none."""

    def __init__(self, frames: list[Frame]) -> None:
        self.frames = list(reversed(frames))

    def send(self, message: dict[str, Any], blobs: Sequence[bytes] = ()) -> None:
        pack(message, blobs)

    def receive(self, timeout: float) -> Frame:  # noqa: ARG002
        if not self.frames:
            raise TimeoutError
        return self.frames.pop()


@given(VERBS, st.lists(st.tuples(ANY_ANSWERS, BLOBS), max_size=4))
def test_any_conversation_ends(verb: str, frames: list[Frame]) -> None:
    asker = BoxAsker(FakeBox(frames))
    began = time.monotonic()
    with asker.deadline(60):
        read_answer(lambda: asker.ask(verb, "x", arguments=[lambda *arguments, **_: list(arguments)]), verb)
    assert time.monotonic() - began < 10
