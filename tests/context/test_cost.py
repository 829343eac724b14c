"""Costs are those of the price list, part by part."""

import datetime
from decimal import Decimal

import pytest
from genai_prices import Usage, calc_price

from workbook.context.cost import Cost, Prices, UnknownModelError, find_prices

DAY = datetime.date(2026, 11, 1)


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-haiku-4-5", "gpt-5", "gpt-4o", "gemini-2.5-pro"])
@pytest.mark.parametrize("size", [1_000, 199_999, 200_000, 200_001, 900_000])
def test_the_parts_add_up_to_what_the_list_says(model: str, size: int) -> None:
    parts = {"cached": size // 2, "written": size // 10}
    usage = Usage(
        input_tokens=size, cache_read_tokens=parts["cached"], cache_write_tokens=parts["written"], output_tokens=777
    )
    day = datetime.datetime(2026, 11, 1, 12, tzinfo=datetime.UTC)
    expected = calc_price(usage, model, genai_request_timestamp=day)
    cost = find_prices(model, on=DAY).cost(
        input_tokens=size, cached_tokens=parts["cached"], written_tokens=parts["written"], output_tokens=777
    )
    assert cost.total == expected.total_price
    assert cost.output == expected.output_price


def test_writing_has_a_price_of_its_own_where_it_is_charged() -> None:
    charged, free = find_prices("claude-sonnet-4-5", on=DAY), find_prices("gpt-5", on=DAY)
    assert (charged.charges_writes, free.charges_writes) == (True, False)
    assert charged.rates().written > charged.rates().uncached
    assert free.rates().written == free.rates().uncached
    assert free.rates().cached < free.rates().uncached


def test_prices_say_of_when_and_from_where_they_are() -> None:
    shown = str(find_prices("gpt-5", on=DAY))
    assert "2026-11-01, genai-prices " in shown
    assert "https://developers.openai.com/" in shown
    assert find_prices("gpt-5").on >= DAY


@pytest.mark.parametrize(
    ("model", "provider", "what"),
    [
        ("claude-sonet-4-5", None, "'claude-sonet-4-5'; similar: claude-sonnet-4-5"),
        ("gtp-5", "openai", "'gtp-5' of openai; similar: gpt-5"),
        ("gpt-5", "opnai", "similar: openai"),
        ("whisper-1", None, "no price by the token alone for whisper-1"),
        ("sonar", "perplexity", "no price by the token alone for sonar"),
    ],
)
def test_unknown_models_are_refused_with_suggestions(model: str, provider: str | None, what: str) -> None:
    with pytest.raises(UnknownModelError, match=what):
        find_prices(model, provider=provider)


def test_declared_prices() -> None:
    prices = Prices.declared(uncached=3, cached=0.3, output=15)
    cost = prices.cost(input_tokens=1_000_000, cached_tokens=900_000, output_tokens=10_000)
    assert cost == Cost(cached=Decimal("0.27"), uncached=Decimal("0.3"), output=Decimal("0.15"))
    assert (cost + cost).total == 2 * cost.total == Decimal("1.44")
    assert str(cost) == "$0.7200"
    with pytest.raises(ValueError, match="0 or more"):
        Prices.declared(uncached=-1, cached=0, output=0)


def test_what_does_not_add_up_is_refused() -> None:
    with pytest.raises(ValueError, match="does not add up"):
        find_prices("gpt-5").cost(input_tokens=10, cached_tokens=8, written_tokens=3)
