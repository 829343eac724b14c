"""Acceptance criteria of exercise 7.1: softmax in one pass."""

import random
from typing import Any

import torch
from torch import Tensor

from autograder.acceptance import Failed, Work, criterion, expect
from autograder.asker import NO_ANSWER, AnswerRaised, WorkerLost
from autograder.numeric import close, pure
from autograder.shrinking import for_all

HIDES = ("workbook.attention",)
PRELOAD = ("torch",)

TAKEN = 1280  # MiB of the worker's 2048 that are taken while `attend` works
LARGE = 14_600  # rows and keys whose scores in float32 are more than the rest
LOOKED_AT = 64  # of those rows are compared with the oracle


@criterion(
    hint=(
        "What are the weights divided by, and when?",
        "`o` is the sum of exp(score - m) * value, `s` that of exp(score - m): `finish` divides.",
    ),
    numeric="finish",
)
def one_block_is_a_softmax(work: Work, rng: random.Random) -> None:
    """After one block, `finish` gives each row's values, averaged with softmax weights."""

    def case(rng: random.Random) -> None:
        rows, keys, dim = rng.randint(1, 6), rng.randint(1, 40), rng.randint(1, 8)
        scores, values = numbers(rng, rows, keys) * rng.choice([1.0, 3.0]), numbers(rng, keys, dim)
        state = updated(work, started(work, rows, dim), scores, values)
        right(work.call("finish", state), scores, values)

    for_all(work, rng, case, tries=12)


@criterion(
    hint=(
        "What must happen to `s` and `o` when a block brings a larger score than all before?",
        "They are relative to the old maximum: multiply both by exp(m_old - m_new).",
    ),
    numeric="finish",
)
def blocks_come_in_any_order(work: Work, rng: random.Random) -> None:
    """However the keys are cut into blocks, empty ones too, and in whatever order they come."""

    def case(rng: random.Random) -> None:
        rows, keys, dim = rng.randint(1, 5), rng.randint(2, 60), rng.randint(1, 6)
        scores, values = numbers(rng, rows, keys) * 3, numbers(rng, keys, dim)
        scores = scores.sort(dim=1, descending=rng.random() < 0.5).values
        state = started(work, rows, dim)
        blocks = cut(rng, keys)
        rng.shuffle(blocks)
        for block in blocks:
            state = updated(work, state, scores[:, block], values[block])
        right(work.call("finish", state), scores, values, "Is what came before still in it?")

    for_all(work, rng, case, tries=12)


@criterion(
    hint=(
        "exp(89) is infinite in float32, exp(-104) is zero. Which of your exponents can be so large?",
        "Begin with a maximum of -inf, and never add the logarithm of a sum to a maximum.",
    ),
    numeric="finish",
)
def large_scores_are_exact(work: Work, rng: random.Random) -> None:
    """Scores of up to ±1e4 give weights that are exact to a few roundings."""

    def case(rng: random.Random) -> None:
        rows, keys, dim = rng.randint(1, 5), rng.randint(2, 40), rng.randint(1, 6)
        scores = numbers(rng, rows, keys) * rng.choice([1.0, 30.0, 3e3])
        scores = (scores + rng.choice([-1e4, 0.0, 1e4])).clamp(-1e4, 1e4)
        values = numbers(rng, keys, dim)
        state = started(work, rows, dim)
        for block in cut(rng, keys):
            state = updated(work, state, scores[:, block], values[block])
        hint = "In float32, numbers near 1e4 are a thousandth apart: what do you keep there?"
        right(work.call("finish", state), scores, values, hint)

    for_all(work, rng, case, tries=12)


@criterion(
    hint=(
        "How many digits has bfloat16, and what does a sum of many terms lose in it?",
        "The state is float32, whatever comes in: convert scores and values before you compute.",
    ),
    numeric="finish",
)
def bfloat16_is_summed_in_float32(work: Work, rng: random.Random) -> None:
    """Scores and values may be bfloat16; the state and all that is computed are float32."""

    def case(rng: random.Random) -> None:
        rows, keys, dim = rng.randint(1, 4), rng.randint(8, 200), rng.randint(1, 6)
        scores = (numbers(rng, rows, keys) * rng.choice([2.0, 3e3])).bfloat16()
        values = numbers(rng, keys, dim).bfloat16()
        state = started(work, rows, dim)
        for block in cut(rng, keys):
            state = updated(work, state, scores[:, block], values[block])
        right(work.call("finish", state), scores, values, "Is a product or a sum in bfloat16?")

    for_all(work, rng, case, tries=12)


@criterion(
    hint=(
        "What is -inf minus -inf? Where in your code can that happen?",
        "Where the maximum is still -inf, subtract 0 instead of it: exp(-inf) is the 0 you want.",
        "A row without keys has `s` 0: `finish` must not divide by that.",
    ),
    numeric="finish",
)
def masked_keys_are_not_there(work: Work, rng: random.Random) -> None:
    """Keys that a row does not see, by mask or by -inf; whole blocks and whole rows of them."""

    def case(rng: random.Random) -> None:
        rows, keys, dim = rng.randint(1, 5), rng.randint(1, 40), rng.randint(1, 6)
        scores, values = numbers(rng, rows, keys) * 3, numbers(rng, keys, dim)
        generator = torch.Generator().manual_seed(rng.getrandbits(32))
        mask = torch.rand(rows, keys, generator=generator) < rng.choice([0.2, 0.8])
        blocks = cut(rng, keys)
        for block in rng.sample(blocks, rng.randint(0, len(blocks))):
            mask[:, block] = False
        if rng.random() < 0.5:
            mask[rng.randrange(rows)] = False
        state, hidden = started(work, rows, dim), rng.random() < 0.3
        for block in blocks:
            some = scores[:, block]
            if hidden:
                some = some.masked_fill(~mask[:, block], -torch.inf)
                state = updated(work, state, some, values[block])
            else:
                state = updated(work, state, some, values[block], mask[:, block])
        hint = "A row that sees nothing is zeros; a block that it does not see changes nothing."
        right(work.call("finish", state), scores.masked_fill(~mask, -torch.inf), values, hint)

    for_all(work, rng, case, tries=25)


@criterion(
    hint=(
        "Two states are relative to two maxima. Which is the maximum of both together?",
        "Rescale both, each by exp(its m - the larger m), then add. Mind states without keys.",
    ),
    numeric="merge",
)
def states_merge(work: Work, rng: random.Random) -> None:
    """States of different keys can be merged: any split, any tree, any order, empty ones too."""

    def case(rng: random.Random) -> None:
        rows, keys, dim = rng.randint(1, 5), rng.randint(2, 60), rng.randint(1, 6)
        scores = numbers(rng, rows, keys) * rng.choice([3.0, 3e3])
        if rng.random() < 0.5:
            scores[rng.randrange(rows), : rng.randint(1, keys)] = -torch.inf
        values = numbers(rng, keys, dim)
        states = [started(work, rows, dim)]
        states += [
            updated(work, started(work, rows, dim), scores[:, block], values[block])
            for block in cut(rng, keys)
        ]
        while len(states) > 1:
            one, other = (states.pop(rng.randrange(len(states))) for _ in range(2))
            states.append(stated(work.call("merge", one, other), rows, dim, "merge"))
        hint = "Are both rescaled? Does it matter which has the larger maximum, or no keys?"
        right(work.call("finish", states[0]), scores, values, hint)

    for_all(work, rng, case, tries=12)


@criterion(
    hint=(
        "Which of your operations end in `_` or `+=`, and on whose tensors?",
        "Make new tensors. A tensor that is a view of another one's memory is not contiguous.",
    ),
    numeric="update",
)
def nothing_is_changed(work: Work, rng: random.Random) -> None:
    """No argument is changed, no result shares memory with one; strides do not matter."""
    rows, keys, dim = 3, 5, 4
    scores, values = numbers(rng, rows, keys), numbers(rng, keys, dim)
    states = [updated(work, started(work, rows, dim), scores, values) for _ in range(2)]
    more = [(numbers(rng, rows, n), numbers(rng, n, dim)) for n in (6, 6, 0)]

    def both(got: Any, state: Any, more_scores: Tensor, more_values: Tensor) -> None:
        stated(got, rows, dim, "update")
        whole = torch.cat([scores, more_scores], 1), torch.cat([values, more_values])
        right(work.call("finish", got), *whole)

    pure(work, "update", [(states[0], *one) for one in more], both)

    others = [updated(work, started(work, rows, dim), *one) for one in more[:2]]

    def merged(got: Any, one: Any, other: Any) -> None:
        stated(got, rows, dim, "merge")
        index = next(n for n, state in enumerate(others) if state is other)
        both(got, one, *more[index])

    pure(work, "merge", [(states[1], other) for other in others], merged)

    transposed = [
        work.ask("new", work.keep(part.mT.contiguous()), "t") for part in (*more[0], more[0][0] > 0)
    ]
    got = work.call("update", states[0], *transposed)
    stated(got, rows, dim, "update")
    seen = more[0][0].masked_fill(more[0][0] <= 0, -torch.inf)
    whole = torch.cat([scores, seen], 1), torch.cat([values, more[0][1]])
    right(work.call("finish", got), *whole, "The block's tensors are not contiguous here.")


@criterion(
    hint=(
        "What does `range(0, n, block)` give for the last block?",
        "Scores are `q @ k.T / sqrt(d)`; return the state, not what `finish` makes of it.",
    ),
    numeric="attend",
)
def shards_are_merged(work: Work, rng: random.Random) -> None:
    """`attend` gives a state: keys may be spread over several machines, and are merged later."""

    def case(rng: random.Random) -> None:
        rows, keys, size = rng.randint(1, 5), rng.randint(1, 50), rng.randint(1, 8)
        dim, block = rng.randint(1, 6), rng.randint(1, 20)
        dtype = rng.choice([torch.float32, torch.bfloat16])
        q, k = numbers(rng, rows, size).to(dtype), numbers(rng, keys, size).to(dtype)
        v = numbers(rng, keys, dim).to(dtype)
        border = rng.randint(0, keys)
        one, other = (
            stated(work.call("attend", q, k[shard], v[shard], block), rows, dim, "attend")
            for shard in (slice(border), slice(border, keys))
        )
        scores = q.double() @ k.double().mT / size**0.5
        hint = "Of whose keys is the state? Are all of them in it, each once?"
        right(work.call("finish", work.call("merge", one, other)), scores, v, hint)

    for_all(work, rng, case, tries=12)


@criterion(
    hint=(
        "How many numbers does `q @ k.T` have?",
        "Compute the scores of one block at a time, and keep nothing but the state.",
    ),
    seconds=180,
)
def memory_is_linear(work: Work, rng: random.Random) -> None:
    """`attend` works where all scores together would not fit into the 768 MiB that are left."""
    rows, dim = LARGE - rng.randrange(100), 4
    keys = LARGE + rng.randrange(100)
    q, k, v = numbers(rng, rows, dim), numbers(rng, keys, dim), numbers(rng, keys, dim)
    much = f"{rows * keys * 4 / 2**20:.0f} MiB of scores"
    hint = "Are they computed at once, or kept?"
    taken = work.ask("new", work.keep(torch.ones(1 << 18)), "repeat", (TAKEN,))
    try:
        got = stated(work.call("attend", q, k, v, 512), rows, dim, "attend")
        out = work.call("finish", got)
    except WorkerLost as lost:
        if str(lost) == NO_ANSWER:
            raise
        raise Failed(f"{much} did not fit into memory: {lost}", hint, timed=True) from lost
    except AnswerRaised as raised:
        short = "memory" in str(raised)
        expect(not short, f"{much} did not fit into memory: raised {raised}", hint)
        raise
    work.ask("drop", taken)
    fits = type(out) is Tensor and out.shape == (rows, dim)
    expect(fits, "`finish` gives no tensor [rows, dim]")
    some = rng.sample(range(rows), LOOKED_AT)
    right(out[some], q[some].double() @ k.double().mT / dim**0.5, v)


def numbers(rng: random.Random, *shape: int) -> Tensor:
    """Normal numbers in float32."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(rng.getrandbits(32)))


def cut(rng: random.Random, keys: int) -> list[slice]:
    """Cuts keys into blocks, some of which may be empty."""
    borders = sorted(rng.randint(0, keys) for _ in range(rng.randint(1, 6)))
    return [slice(*pair) for pair in zip([0, *borders], [*borders, keys], strict=True)]


def started(work: Work, rows: int, dim: int) -> Any:
    """The state of no keys."""
    return stated(work.call("init", rows, dim), rows, dim, "init")


def updated(work: Work, state: Any, scores: Tensor, values: Tensor, *mask: Tensor) -> Any:
    """The state after one more block."""
    got = work.call("update", state, scores, values, *mask)
    return stated(got, len(scores), values.shape[1], "update")


def stated(got: Any, rows: int, dim: int, name: str) -> Any:
    """A state, if it is one."""
    fits = type(got) is tuple and all(type(part) is Tensor for part in got)
    expect(fits, f"`{name}` gives no tuple of tensors but {got!r:.100}")
    kinds = sorted({str(part.dtype) for part in got})
    expect(kinds == ["torch.float32"], f"`{name}` gives a state of {', '.join(kinds)}, not float32")
    size, most = sum(part.numel() for part in got), rows * (dim + 2)
    said = f"the state that `{name}` gives has {size} numbers, {rows} × ({dim} + 2) are enough"
    expect(size <= most, said, "A state does not grow with the keys: what does it keep of them?")
    return got


def right(got: Any, scores: Tensor, values: Tensor, hint: str = "") -> None:
    """Compares with the oracle in float64. A score of -inf is a key that is not seen."""
    scores, values = scores.double(), values.double()
    seen = scores != -torch.inf
    bare = torch.full((len(scores), 1), -torch.inf, dtype=torch.float64)
    top = torch.cat([scores, bare], 1).amax(1, keepdim=True)
    weights = torch.where(seen, (scores - top.nan_to_num(neginf=0.0)).exp(), 0.0)
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1e-300)
    steep = 1 + torch.where(seen, scores - top, 0.0).abs().clamp(max=20)  # exp magnifies roundings
    scale = (weights * steep) @ values.abs()
    close(got, weights @ values, torch.float32, terms=scores.shape[1], scale=scale, hint=hint)
