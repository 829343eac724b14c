"""Parameters as a notebook declares them, and values for them."""

import pytest

from autograder.notebooks import read_source
from autograder.parameters import ParameterError, Value, declared_parameters, parse_parameters
from tests.autograder.book import Book

DECLARED: dict[str, Value] = {"SEED": 0, "RATE": 0.5, "DEVICE": "auto", "FAST": False}


def test_declared_are_the_literals_of_the_tagged_cell(book: Book) -> None:
    cell = "SEED = 0  # any\nRATE: float = -0.5\nDEVICE = 'auto'\nFAST = False\nprint(SEED)"
    source = book.source("ch01", "OTHER = 1", f'# %% tags=["parameters"]\n{cell}')
    assert declared_parameters(read_source(source)) == {"SEED": 0, "RATE": -0.5, "DEVICE": "auto", "FAST": False}


def test_no_tagged_cell_declares_nothing(book: Book) -> None:
    assert declared_parameters(read_source(book.source("ch01", "SEED = 0"))) == {}


@pytest.mark.parametrize("cell", ["SEED = None", "SEED = max(1, 2)", "SEED = [1]", "SEED ="])
def test_default_without_a_type_is_refused(book: Book, cell: str) -> None:
    source = book.source("ch01", f'# %% tags=["parameters"]\n{cell}')
    with pytest.raises(ParameterError):
        declared_parameters(read_source(source))


def test_values_have_the_type_of_the_default() -> None:
    values = parse_parameters(["SEED=7", "RATE=2", "DEVICE=a=b", "FAST=TRUE"], DECLARED)
    assert values == {"SEED": 7, "RATE": 2.0, "DEVICE": "a=b", "FAST": True}
    assert type(values["RATE"]) is float
    assert parse_parameters(["FAST=0"], DECLARED)["FAST"] is False


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("SPEED=1", "has no parameter 'SPEED'; it has: SEED, RATE, DEVICE, FAST"),
        ("SEED=one", "SEED is of type int, which 'one' is not"),
        ("SEED=1.5", "SEED is of type int"),
        ("SEED=", "SEED is of type int"),
        ("FAST=maybe", "FAST is true or false, not 'maybe'"),
        ("SEED", "'SEED' is not NAME=VALUE"),
    ],
)
def test_unknown_name_or_wrong_type(assignment: str, message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        parse_parameters([assignment], DECLARED)
    assert message in str(caught.value)
