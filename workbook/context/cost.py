"""What requests cost: prices from `genai-prices`, with the day and the place they are from.

    prices = find_prices("claude-sonnet-4-5", on=date(2026, 11, 1))
    prices.cost(input_tokens=10_000, cached_tokens=8_000, written_tokens=1_500, output_tokens=200).total

A prompt's tokens are paid for in three parts: those read from the provider's cache, those written to it (where writing
is charged by itself; elsewhere they cost what any input costs), and the rest. What a provider takes by the hour for
keeping a cache is not included. Money is `Decimal`, in US dollars.
"""

import datetime
import difflib
import importlib.metadata
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

from workbook.show import Table

_MILLION = 1_000_000


class UnknownModelError(LookupError):
    """No price is known for a model; the message names models with similar names."""


@dataclass(frozen=True)
class Rates:
    """Dollars for a million tokens of each kind."""

    uncached: Decimal
    cached: Decimal
    written: Decimal
    output: Decimal


@dataclass(frozen=True)
class Cost:
    """What a request, or several, cost, in dollars, by what was paid for.

    Attributes:
        cached: Tokens of the prompt that were read from the cache.
        written: Tokens that were written to it.
        uncached: All other tokens of the prompt.
        output: Tokens generated.
    """

    cached: Decimal = Decimal(0)
    written: Decimal = Decimal(0)
    uncached: Decimal = Decimal(0)
    output: Decimal = Decimal(0)

    @property
    def total(self) -> Decimal:
        """All of it."""
        return self.cached + self.written + self.uncached + self.output

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.cached + other.cached,
            self.written + other.written,
            self.uncached + other.uncached,
            self.output + other.output,
        )

    def __str__(self) -> str:
        return f"${self.total:.4f}"


@dataclass(frozen=True)
class Prices:
    """The prices of a model on a day.

    Attributes:
        model: The model, as the price list names it.
        provider: Who sells it.
        on: The day.
        source: Where the prices are from, in words.
        tiers: The rates; each holds from so many prompt tokens on, for the whole request.
        charges_writes: Whether writing to the cache has a price of its own.
    """

    model: str
    provider: str
    on: datetime.date
    source: str
    tiers: tuple[tuple[int, Rates], ...]
    charges_writes: bool

    @classmethod
    def declared(
        cls,
        *,
        uncached: float,
        cached: float,
        output: float,
        written: float | None = None,
        source: str = "declared",
    ) -> Self:
        """Returns prices that somebody has set, in dollars for a million tokens.

        Args:
            uncached: Tokens of a prompt that were not read from the cache.
            cached: Those that were.
            output: Tokens generated.
            written: Those that are written to the cache; like any other that was not read, where left out.
            source: Where the prices are from, in words.

        Raises:
            ValueError: A price is negative.
        """
        values = [Decimal(str(one)) for one in (uncached, cached, uncached if written is None else written, output)]
        if min(values) < 0:
            raise ValueError("a price is 0 or more")
        today = datetime.datetime.now(datetime.UTC).date()
        return cls("declared", "", today, source, ((0, Rates(*values)),), written is not None)

    def rates(self, input_tokens: int = 0) -> Rates:
        """Returns the rates for a prompt of this length."""
        return [rates for start, rates in self.tiers if input_tokens > start or start == 0][-1]

    def cost(
        self, *, input_tokens: int, cached_tokens: int = 0, written_tokens: int = 0, output_tokens: int = 0
    ) -> Cost:
        """Returns the cost of a request.

        Args:
            input_tokens: All tokens of the prompt.
            cached_tokens: Those of them that were read from the cache.
            written_tokens: Those of them that were written to it.
            output_tokens: Tokens generated.

        Raises:
            ValueError: A number is negative, or the parts are more than the prompt.
        """
        uncached = input_tokens - cached_tokens - written_tokens
        if min(uncached, cached_tokens, written_tokens, output_tokens) < 0:
            raise ValueError(
                f"{input_tokens} prompt tokens, {cached_tokens} of them cached and {written_tokens} written, and "
                f"{output_tokens} generated: that does not add up"
            )
        rates = self.rates(input_tokens)
        return Cost(
            rates.cached * cached_tokens / _MILLION,
            rates.written * written_tokens / _MILLION,
            rates.uncached * uncached / _MILLION,
            rates.output * output_tokens / _MILLION,
        )

    def table(self) -> Table:
        """Returns the rates, with where they are from."""
        rows: list[tuple[object, ...]] = []
        for start, rates in self.tiers:
            beyond = f" above {start:,} tokens" if start else ""
            written = rates.written if self.charges_writes else "as uncached"
            rows.append(
                (self.model + beyond, rates.uncached, rates.cached, written, rates.output, f"{self.on}, {self.source}")
            )
        return Table(("$ a million tokens", "uncached", "cached", "written", "output", "as of, source"), rows)

    def __str__(self) -> str:
        return str(self.table())

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()


def find_prices(model: str, *, provider: str | None = None, on: datetime.date | None = None) -> Prices:
    """Returns a model's prices; the list is a package, so nothing is fetched.

    Args:
        model: As requests name it: "gpt-5", "claude-sonnet-4-5-20250929".
        provider: Who sells it ("openai", "anthropic", "aws", …); found out from the model where left out.
        on: The day; today where left out. Name one where figures shall stay as they are.

    Raises:
        UnknownModelError: The list has no such model, or no price for its tokens, or requests cost something by
            themselves.
    """
    from genai_prices.data_snapshot import get_snapshot

    snapshot = get_snapshot()
    try:
        seller, found = snapshot.find_provider_model(model, None, provider, None)
    except LookupError:
        sellers = [one for one in snapshot.providers if provider is None or one.id == provider]
        known = sorted({f"{info.id}" for one in sellers for info in one.models})
        similar = difflib.get_close_matches(model.lower(), known, n=5, cutoff=0.5)
        if not sellers:
            similar = difflib.get_close_matches(str(provider), [one.id for one in snapshot.providers], n=5, cutoff=0.3)
        more = f"; similar: {', '.join(similar)}" if similar else ""
        by = f" of {provider}" if provider else ""
        raise UnknownModelError(f"no price is known for the model {model!r}{by}{more}") from None
    on = on or datetime.datetime.now(datetime.UTC).date()
    prices = found.get_prices(datetime.datetime.combine(on, datetime.time(12), datetime.UTC))
    if prices.input_mtok is None or prices.output_mtok is None or prices.requests_kcount is not None:
        raise UnknownModelError(f"{seller.id} has no price by the token alone for {found.id}: {prices}")
    urls = ", ".join((seller.pricing_urls or [])[:1])
    source = f"genai-prices {importlib.metadata.version('genai-prices')}" + (f" ({urls})" if urls else "")
    return Prices(found.id, seller.id, on, source, _tiers(prices), prices.cache_write_mtok is not None)


def _tiers(prices: Any) -> tuple[tuple[int, Rates], ...]:
    kinds = (prices.input_mtok, prices.cache_read_mtok, prices.cache_write_mtok, prices.output_mtok)
    starts = sorted({0, *(tier.start for kind in kinds for tier in getattr(kind, "tiers", ()))})
    tiers = []
    for start in starts:
        base, cached, written, output = (_rate(kind, start) for kind in kinds)
        assert base is not None
        assert output is not None
        # What has no price of its own is input like any other.
        tiers.append(
            (start, Rates(base, base if cached is None else cached, base if written is None else written, output))
        )
    return tuple(tiers)


def _rate(price: Any, start: int) -> Decimal | None:
    """Returns the price that holds just above a number of tokens."""
    if price is None or isinstance(price, Decimal):
        return price
    held = [tier.price for tier in price.tiers if tier.start <= start]
    rate = held[-1] if held else price.base
    return Decimal(rate)
