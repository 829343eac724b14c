"""Tolerances and purity: right functions pass, and each way to be impure or off is found and named."""

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from autograder.acceptance import Work
from autograder.decoys import decoys
from autograder.numeric import close, pure
from tests.autograder.asking import run


def doubles(work: Work, rng: random.Random) -> None:
    generator = torch.Generator().manual_seed(rng.getrandbits(32))
    cases = [(torch.randn(rows, 3, generator=generator),) for rows in (1, 4, 4, 1000)]
    pure(work, "double", cases, lambda got, x: close(got, x.double() * 2, torch.float32))


def double(x: torch.Tensor) -> torch.Tensor:
    return x * 2


def test_a_pure_function_passes() -> None:
    assert run(doubles, double).state == "passed"


def in_place() -> Callable[..., Any]:
    return lambda x: x.mul_(2)


def changes_a_little() -> Callable[..., Any]:
    def double(x: torch.Tensor) -> torch.Tensor:
        result = x * 2
        x[0, 0] += 1
        return result

    return double


def by_call_count() -> Callable[..., Any]:
    seen: list[torch.Tensor] = []

    def double(x: torch.Tensor) -> torch.Tensor:
        seen.append(x * 2)
        return seen[-1] if len(seen) <= 4 else seen[len(seen) - 5]

    return double


def by_id() -> Callable[..., Any]:
    answers: dict[int, torch.Tensor] = {}
    kept: list[torch.Tensor] = []  # so that an id is not another's soon

    def double(x: torch.Tensor) -> torch.Tensor:
        kept.append(x)
        return answers.setdefault(id(x), x * 2).clone()

    return double


def by_address() -> Callable[..., Any]:
    answers: dict[int, torch.Tensor] = {}
    kept: list[torch.Tensor] = []

    def double(x: torch.Tensor) -> torch.Tensor:
        kept.append(x)
        return answers.setdefault(x.data_ptr(), x * 2).clone()

    return double


def by_content() -> Callable[..., Any]:
    answers: dict[bytes, torch.Tensor] = {}
    return lambda x: answers.setdefault(x.numpy().tobytes(), x * 2)


def one_buffer() -> Callable[..., Any]:
    buffers: dict[Any, torch.Tensor] = {}

    def double(x: torch.Tensor) -> torch.Tensor:
        buffer = buffers.setdefault("buffer", torch.empty(1000, 3))
        return torch.mul(x, 2, out=buffer[: len(x)])

    return double


def late() -> Callable[..., Any]:
    def double(x: torch.Tensor) -> torch.Tensor:
        result = torch.empty_like(x).fill_(7)

        def work() -> None:
            time.sleep(0.01)
            result.copy_(x * 2)

        threading.Thread(target=work).start()
        return result

    return double


IMPURE: dict[str, tuple[Callable[[], Callable[..., Any]], str]] = {
    "in place": (in_place, "in place: work on a copy"),
    "changes a little": (changes_a_little, "in place: work on a copy"),
    "by call count": (by_call_count, "an id, an address or a count"),
    "by id": (by_id, "an id or an address"),
    "by address": (by_address, "an id or an address"),
    "by content": (by_content, "Is a result kept, and given again?"),
    "one buffer": (one_buffer, "a buffer that the next call uses"),
    "late": (late, ""),
}


@pytest.mark.parametrize("case", IMPURE)
def test_ways_not_to_be_pure(case: str) -> None:
    make, mistake = IMPURE[case]
    function = make()
    function.__name__ = "double"
    verdict = run(doubles, function)
    assert verdict.state == "failed"
    assert not verdict.broke
    assert mistake in verdict.mistake


def test_cases_of_which_no_two_are_alike_are_a_mistake_of_the_criterion() -> None:
    def doubles_once(work: Work, rng: random.Random) -> None:
        pure(work, "double", [(torch.ones(2),), (torch.ones(3),)], lambda got, x: None)

    verdict = run(doubles_once, double)
    assert verdict.broke
    assert "two cases must have the same types and shapes" in verdict.message


def test_in_place_may_be_the_contract() -> None:
    def doubles_in_place(work: Work, rng: random.Random) -> None:
        cases = [(torch.ones(2),), (torch.zeros(2),), (torch.ones(3),)]
        check = lambda got, x: close(got, x.double() * 2, torch.float32)  # noqa: E731
        pure(work, "double", cases, check, in_place=True)

    def double(x: torch.Tensor) -> torch.Tensor:
        return x.mul_(2).clone()

    assert run(doubles_in_place, double).state == "passed"


def same_storage() -> Callable[..., Any]:
    return lambda x: x.view(-1)[:2]


def two_of_one() -> Callable[..., Any]:
    def firsts(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        result = x[:2].clone()
        return result, result[:1]

    return firsts


def cached() -> Callable[..., Any]:
    kept: dict[bytes, torch.Tensor] = {}
    return lambda x: kept.setdefault(x[:2].numpy().tobytes(), x[:2].clone())


def test_a_result_that_shares_memory_with_its_argument() -> None:
    def firsts(work: Work, rng: random.Random) -> None:
        pure(work, "first", [(torch.arange(1.0, 5),), (torch.arange(2.0, 6),)], lambda got, x: None)

    function = same_storage()
    function.__name__ = "first"
    assert "shares memory with an argument" in run(firsts, function).mistake


def test_a_result_that_shares_memory_for_large_arguments_alone() -> None:
    def firsts(work: Work, rng: random.Random) -> None:
        cases = [(torch.arange(1.0, 5),), (torch.arange(2.0, 6),), (torch.arange(9.0),)]
        pure(work, "first", cases, lambda got, x: None)

    def first(x: torch.Tensor) -> torch.Tensor:
        return x[:2] if len(x) > 5 else x[:2].clone()

    assert "shares memory with an argument" in run(firsts, first).mistake


def test_two_results_that_share_memory() -> None:
    def firsts(work: Work, rng: random.Random) -> None:
        pure(work, "first", [(torch.arange(1.0, 5),), (torch.arange(1.0, 9),), (torch.zeros(4),)], lambda got, x: None)

    function = cached()
    function.__name__ = "first"
    assert "Two results share memory" in run(firsts, function).mistake


def test_parts_of_a_result_that_share_memory() -> None:
    def firsts(work: Work, rng: random.Random) -> None:
        pure(work, "first", [(torch.arange(1.0, 5),), (torch.arange(2.0, 6),)], lambda got, x: None)

    def first(x: torch.Tensor) -> dict[str, Any]:
        y = x.clone()
        return {"y": [y], "z": (3, y[:1])}

    assert "two tensors of one result share memory" in run(firsts, first).message


def test_a_buffer_in_a_dictionary_and_tensors_in_a_list() -> None:
    buffer = torch.zeros(2)

    def doubles_all(work: Work, rng: random.Random) -> None:
        cases = [([torch.ones(2), torch.ones(3)], {"k": 1}), ([torch.zeros(2), torch.ones(3)], {"k": 1})]
        pure(work, "first", cases, lambda got, xs, options: None)

    def first(xs: list[torch.Tensor], options: dict[str, int]) -> dict[str, torch.Tensor]:
        return {"y": xs[0] + 1, "z": buffer}

    assert "Two results share memory" in run(doubles_all, first).mistake

    def fresh(xs: list[torch.Tensor], options: dict[str, int]) -> dict[str, torch.Tensor]:
        return {"y": xs[0] + 1, "z": buffer.clone()}

    fresh.__name__ = "first"
    assert run(doubles_all, fresh).state == "passed"


def test_results_in_a_tuple_are_looked_at_too() -> None:
    def firsts(work: Work, rng: random.Random) -> None:
        pure(work, "first", [(torch.arange(1.0, 5),), (torch.arange(2.0, 6),)], lambda got, x: None)

    def first(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x[:2], x[2:].clone()

    assert "shares memory with an argument" in run(firsts, first).mistake


OFF: dict[str, tuple[Any, str]] = {
    "no tensor": ([1.0, 2.0, 3.0], "got a value of type list"),
    "another type": (torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), "got torch.float64"),
    "another shape": (torch.tensor([[1.0, 2.0, 3.0]]), "got (1, 3)"),
    "off": (torch.tensor([1.0, 2.0, 3.0001]), "1 of 3 numbers are off"),
    "nan": (torch.tensor([1.0, float("nan"), 3.0]), "1 of 3"),
    "infinite": (torch.tensor([1.0, 2.0, float("inf")]), "1 of 3"),
}


@pytest.mark.parametrize("case", OFF)
def test_what_is_off(case: str) -> None:
    got, said = OFF[case]
    wanted = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)

    def compares(work: Work, rng: random.Random) -> None:
        close(got, wanted, torch.float32)

    assert said in run(compares).message


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("terms", [1, 64, 4096])
def test_rounding_is_allowed_and_a_hundredth_is_not(dtype: torch.dtype, terms: int) -> None:
    a = torch.rand(8, terms, generator=torch.Generator().manual_seed(1)).to(dtype)
    wanted = a.double().sum(-1)
    rounded = a.float().sum(-1).to(dtype)

    def compares(work: Work, rng: random.Random) -> None:
        close(rounded, wanted, dtype, terms=terms)

    assert run(compares).state == "passed"
    if dtype == torch.float32:
        rounded = rounded * 1.01
        assert run(compares).state == "failed"


def test_a_large_number_hides_nothing_in_other_rows() -> None:
    wanted = torch.ones(3, 4, dtype=torch.float64)
    wanted[0, 0] = 1e6
    got = wanted.float()
    got[2] *= 1.001

    def compares(work: Work, rng: random.Random) -> None:
        close(got, wanted, torch.float32)

    assert "4 of 12" in run(compares).message

    def knows_better(work: Work, rng: random.Random) -> None:
        close(got, wanted, torch.float32, scale=torch.full((3, 1), 1e6, dtype=torch.float64))

    assert run(knows_better).state == "passed", "large terms may have cancelled"


def test_integers_are_exact_and_single_numbers_compared() -> None:
    def compares(work: Work, rng: random.Random) -> None:
        close(torch.tensor([3, 4]), torch.tensor([3.0, 4.0], dtype=torch.float64), torch.int64)
        close(torch.tensor(2.0), torch.tensor(2.0, dtype=torch.float64), torch.float32)
        close(torch.tensor([float("inf"), 2.0]).half(), torch.tensor([1e9, 2.0], dtype=torch.float64), torch.float16)

    assert run(compares).state == "passed"

    def off_by_one(work: Work, rng: random.Random) -> None:
        close(torch.tensor([3, 5]), torch.tensor([3.0, 4.0], dtype=torch.float64), torch.int64)

    assert "1 of 2" in run(off_by_one).message


def test_infinities_and_nans_must_stand_where_they_are_wanted() -> None:
    wanted = torch.tensor([float("inf"), float("nan"), float("-inf"), 1.0], dtype=torch.float64)

    def compares(work: Work, rng: random.Random) -> None:
        close(wanted.float(), wanted, torch.float32)
        close(torch.empty(0), torch.empty(0, dtype=torch.float64), torch.float32)

    assert run(compares).state == "passed"

    def flipped(work: Work, rng: random.Random) -> None:
        close(-wanted.float(), wanted, torch.float32)

    assert "3 of 4" in run(flipped).message


def test_no_decoy_passes_for_a_right_function() -> None:
    names = []
    for name, about, code in decoys("double"):
        namespace: dict[str, Any] = {"double": double}
        exec(code, namespace)
        verdict = run(doubles, namespace["double"])
        assert verdict.state == "failed", f"{name}: {about}"
        assert not verdict.broke
        names.append(name)
    assert names == ["zeros", "constant", "input", "nan", "transpose", "dtype"]


@pytest.mark.parametrize("right", [torch.tensor(3.0), torch.eye(2), torch.zeros(2, 2), torch.tensor([1, 2, 3])])
def test_a_decoy_is_never_right(right: torch.Tensor) -> None:
    for name, _, code in decoys("give"):
        namespace: dict[str, Any] = {"give": lambda x: right.clone()}
        exec(code, namespace)
        given = namespace["give"](right.clone())
        assert given.dtype != right.dtype or not torch.equal(given, right), name


def test_a_method_has_decoys_too() -> None:
    class Doubler:
        def double(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
            return x * 2, 3

    code = next(code for name, _, code in decoys("Doubler.double") if name == "zeros")
    exec(code, {"Doubler": Doubler})
    zeros, three = Doubler().double(torch.ones(2))
    assert zeros.tolist() == [0, 0]
    assert three == 3
