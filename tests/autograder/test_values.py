"""Which values cross the wire, and that nothing else does."""

import collections
import enum
import json
import math

import pytest
import torch

from autograder.values import MAX_DEPTH, MAX_KEYS, ValueRefused, decode, encode


def crossed(value: object) -> object:
    blobs: list[bytes] = []
    data = json.loads(json.dumps(encode(value, blobs)))
    return decode(data, blobs)


PLAIN = [
    None,
    True,
    0,
    -(10**40),
    1.5,
    "",
    "a\n\"'\\é\ud800",
    [],
    [1, [2.0]],
    {},
    {"a": {"b": None}},
    (1, ("x",)),
    b"\x00\xff",
    {"$tuple": 1},
    {1: "a", (2, 3): "b"},
    {True: 1},
    [(b"",)],
]


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_come_back_equal_and_of_the_same_types(value: object) -> None:
    back = crossed(value)
    assert repr(back) == repr(value)
    assert back == value


def test_floats_that_are_no_numbers_come_back() -> None:
    back = crossed([math.inf, -math.inf, math.nan])
    assert isinstance(back, list)
    assert back[:2] == [math.inf, -math.inf]
    assert math.isnan(back[2])


def test_what_comes_back_shares_nothing_with_what_went() -> None:
    inner: list[int] = []
    data = encode([inner, inner], [])
    inner.append(1)
    assert data == [[], []]


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 0, 4)], ids=str)
def test_tensors_come_back_bit_by_bit(dtype: str, shape: tuple[int, ...]) -> None:
    tensor = (torch.randn(shape) * 3).to(getattr(torch, dtype))
    back = crossed({"x": tensor})
    assert isinstance(back, dict)
    assert back["x"].dtype == tensor.dtype
    assert back["x"].shape == tensor.shape
    assert torch.equal(back["x"], tensor)


def test_a_strided_tensor_comes_back_in_order() -> None:
    tensor = torch.arange(12).reshape(3, 4).t()[1:]
    assert torch.equal(crossed(tensor), tensor)  # type: ignore[arg-type]


class Text(str):
    __slots__ = ()


class Always:
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


class Colour(enum.IntEnum):
    RED = 1


REFUSED = [
    Text("a"),
    Always(),
    Colour.RED,
    collections.OrderedDict(),
    {1, 2},
    frozenset(),
    bytearray(),
    range(2),
    1j,
    object,
    len,
    torch.nn.Parameter(torch.zeros(1)),
    torch.zeros(2).to_sparse(),
    [Text("a")],
    {"a": Always()},
    {Text("a"): 1},
    10**5000,
    torch.zeros(1, dtype=torch.complex64),
]


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: str(type(value)))
def test_everything_else_is_refused(value: object) -> None:
    with pytest.raises(ValueRefused):
        encode(value, [])


def test_depth_is_bounded() -> None:
    value: object = 0
    for _ in range(MAX_DEPTH):
        value = [value]
    assert crossed(value) == value
    with pytest.raises(ValueRefused, match="deep"):
        encode([value], [])
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(ValueRefused, match="deep"):
        encode(endless, [])


def test_dictionaries_of_the_greatest_depth_come_back() -> None:
    value: object = 0
    for _ in range(MAX_DEPTH):
        value = {1: value}
    assert crossed(value) == value


MALFORMED = [
    {"$tensor": {"dtype": "float32", "shape": [2], "blob": 0}},
    {"$tensor": {"dtype": "object", "shape": [1], "blob": 0}},
    {"$tensor": {"dtype": "__class__", "shape": [4], "blob": 0}},
    {"$tensor": {"dtype": "uint8", "shape": [-4], "blob": 0}},
    {"$tensor": {"dtype": "uint8", "shape": [2.0, 2.0], "blob": 0}},
    {"$tensor": {"dtype": "uint8", "shape": [4], "blob": 7}},
    {"$tensor": {"dtype": "uint8", "shape": [4], "blob": -1}},
    {"$tensor": {"dtype": "uint8", "shape": [4], "blob": True}},
    {"$tensor": 5},
    {"$tensor": {}},
    {"$bytes": 1},
    {"$bytes": "0"},
    {"$tuple": 5},
    {"$tuple": None},
    {"$dict": [[1]]},
    {"$dict": [[[1], 2]]},
    {"$dict": 3},
    {"$callback": 0},
    {"$object": "os.system"},
    {"$tuple": [], "more": 1},
]


@pytest.mark.parametrize("data", MALFORMED, ids=json.dumps)
def test_what_encode_does_not_make_is_refused(data: object) -> None:
    with pytest.raises(ValueRefused):
        decode(data, [b"1234"])


def test_keys_that_collide_are_bounded() -> None:
    modulus = 2**61 - 1  # of Python's hash of an integer
    colliding = {key * modulus: 0 for key in range(MAX_KEYS + 1)}
    with pytest.raises(ValueRefused, match="keys"):
        encode(colliding, [])
    with pytest.raises(ValueRefused):
        decode({"$dict": [[key, 0] for key in colliding]}, [])
    assert crossed({str(key): 0 for key in colliding}) == {str(key): 0 for key in colliding}


def test_depth_is_bounded_on_the_way_in() -> None:
    data: object = 0
    for _ in range(MAX_DEPTH + 1):
        data = [data]
    with pytest.raises(ValueRefused, match="deep"):
        decode(data, [])
