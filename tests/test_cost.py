"""What calls cost, checked against what genai-prices itself makes of them, and by hand."""

from __future__ import annotations

import logging
import math
import os
import re
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from decimal import Decimal, Inexact, localcontext
from typing import Any

import genai_prices
import pytest
from genai_prices import data_snapshot
from genai_prices.types import (
    ClauseContains,
    ClauseEquals,
    ClauseOr,
    ClauseRegex,
    ClauseStartsWith,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)
from hypothesis import given
from hypothesis import strategies as st

from opentelemetry_instrumentation_ailib import cost
from opentelemetry_instrumentation_ailib.cost import Pricer
from opentelemetry_instrumentation_ailib.usage import Usage

CALL = Usage(input=1_000, output=100)
CACHED = Usage(input=1_000, output=100, cache_read=200, cache_write=30, reasoning=40)
LONG = Usage(input=1_000_000, output=100, cache_read=200, cache_write=30, reasoning=40)
FLAT = ModelPrice(input_mtok=Decimal(2), output_mtok=Decimal(10))


@pytest.fixture(scope="module")
def pricer() -> Pricer:
    """What prices by the list that genai-prices comes with."""
    loaded = cost.load()
    assert loaded is not None
    return loaded


def by_genai_prices(provider_id: str, model: str, usage: Usage) -> float:
    """Return what genai-prices makes of a call that it is told everything about."""
    counts = {
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cache_read_tokens": usage.cache_read,
        "cache_write_tokens": usage.cache_write,
        "output_reasoning_tokens": usage.reasoning,
    }
    asked = genai_prices.Usage(**{name: count for name, count in counts.items() if count is not None})
    return float(genai_prices.calc_price(asked, model, provider_id=provider_id).total_price)


def listed(*models: ModelInfo, provider_id: str = "openai") -> Pricer:
    """Return what prices by a list of the test's own."""
    provider = Provider(id=provider_id, name="", api_pattern="", models=list(models))
    snapshot = data_snapshot.DataSnapshot(providers=[provider], from_auto_update=False)
    return Pricer(lambda: snapshot)


def model(prices: Any = FLAT, match: Any = None) -> ModelInfo:
    return ModelInfo(id="m", match=match or ClauseEquals("m"), prices=prices)


# --- prices ---


def test_a_call_costs_its_tokens_at_the_published_rates(pricer: Pricer) -> None:
    """Of a million: 770 at $15, 200 read from the cache at $1.50, 30 written to it at $18.75, 100 of output at $75."""
    assert pricer.price("anthropic", "claude-3-opus-20240229", CACHED) == pytest.approx(
        0.011550 + 0.000300 + 0.0005625 + 0.0075
    )


@pytest.mark.parametrize("usage", [CALL, CACHED, LONG])
@pytest.mark.parametrize(
    ("provider_id", "name", "there"),
    [
        ("openai", "gpt-4o", "openai"),
        ("openai", "gpt-4o-mini-2024-07-18", "openai"),
        ("openai", "o1", "openai"),
        ("anthropic", "claude-3-5-haiku-20241022", "anthropic"),
        ("anthropic", "claude-sonnet-4-5", "anthropic"),
        ("gemini", "gemini-2.5-pro", "google"),
        ("google", "gemini-2.5-pro-preview-05-06", "google"),
        ("deepseek", "deepseek-v3.2-exp", "deepseek"),
        ("groq", "llama-3.3-70b-versatile", "groq"),
        ("mistral", "mistral-large-latest", "mistral"),
        ("xai", "grok-3", "x-ai"),
        ("openrouter", "anthropic/claude-3-haiku", "openrouter"),
        ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo", "together"),
    ],
)
def test_a_price_is_the_one_of_genai_prices(
    pricer: Pricer, provider_id: str, name: str, there: str, usage: Usage
) -> None:
    assert pricer.price(provider_id, name, usage) == pytest.approx(by_genai_prices(there, name, usage), rel=1e-12)


def test_every_listed_model_has_the_price_of_genai_prices_or_none(pricer: Pricer) -> None:
    ids = {there: here for here, there in cost._PROVIDERS.items()}
    priced = 0
    for provider in data_snapshot.get_snapshot().providers:
        for name in (info.id for info in provider.models if provider.id in ids):
            price = pricer.price(ids[provider.id], name, CACHED, text_only=True)
            if price is not None:
                assert price == pytest.approx(by_genai_prices(provider.id, name, CACHED), rel=1e-12), name
                priced += 1
    assert priced > 800


@pytest.mark.parametrize(("tokens", "expected"), [(200, 2.0), (201, 3.0), (300, 3.0), (301, 4.0)])
def test_a_tier_applies_to_all_tokens_of_an_input_longer_than_its_start(tokens: int, expected: float) -> None:
    tiers = [Tier(start=200, price=Decimal(3)), Tier(start=300, price=Decimal(4))]
    pricer = listed(model(ModelPrice(input_mtok=TieredPrices(base=Decimal(2), tiers=tiers), output_mtok=Decimal(0))))
    assert pricer.price("openai", "m", Usage(tokens, 7)) == pytest.approx(tokens * expected / 1e6)


@pytest.mark.parametrize(("days", "expected"), [(-1, 10.0), (1, 2.0)])
def test_a_price_applies_since_its_date(days: int, expected: float) -> None:
    begins = (datetime.now(timezone.utc) + timedelta(days=days)).date()
    later = ConditionalPrice(constraint=StartDateConstraint(start_date=begins), prices=flat(10))
    pricer = listed(model([ConditionalPrice(prices=flat(2)), later]))
    assert pricer.price("openai", "m", Usage(1_000_000, 0)) == expected


@pytest.mark.parametrize(("hours", "expected"), [((-1, 1), 10.0), ((1, 2), 2.0)])
def test_a_price_applies_at_its_time_of_day(hours: tuple[int, int], expected: float) -> None:
    start, end = ((datetime.now(timezone.utc) + timedelta(hours=offset)).timetz() for offset in hours)
    busy = ConditionalPrice(constraint=TimeOfDateConstraint(start_time=start, end_time=end), prices=flat(10))
    pricer = listed(model([ConditionalPrice(prices=flat(2)), busy]))
    assert pricer.price("openai", "m", Usage(1_000_000, 0)) == expected


def flat(dollars: int) -> ModelPrice:
    return ModelPrice(input_mtok=Decimal(dollars), output_mtok=Decimal(dollars))


def test_cached_tokens_without_a_rate_of_their_own_are_input() -> None:
    assert listed(model()).price("openai", "m", Usage(1_000, 0, cache_read=900, cache_write=50)) == 0.002


def test_reasoning_has_its_rate_where_there_is_one() -> None:
    prices = ModelPrice(input_mtok=Decimal(2), output_mtok=Decimal(10), output_reasoning_mtok=Decimal(1))
    assert listed(model(prices)).price("openai", "m", Usage(0, 1_000, reasoning=600)) == pytest.approx(0.0046)


def test_embeddings_have_no_output_and_no_rate_for_it(pricer: Pricer) -> None:
    usage = Usage(input=1_000_000)
    assert pricer.price("openai", "text-embedding-3-small", usage) == 0.02


def test_what_costs_nothing_costs_nothing() -> None:
    free = ModelPrice(input_mtok=Decimal(0), output_mtok=Decimal(0))
    assert listed(model(free)).price("openai", "m", CALL) == 0.0


def test_a_price_list_that_the_application_puts_in_force_applies(pricer: Pricer) -> None:
    before = pricer.price("openai", "gpt-4o", CALL)
    info = ModelInfo(id="gpt-4o", match=ClauseEquals("gpt-4o"), prices=FLAT)
    provider = Provider(id="openai", name="", api_pattern="", models=[info])
    data_snapshot.set_custom_snapshot(data_snapshot.DataSnapshot(providers=[provider], from_auto_update=False))
    try:
        assert pricer.price("openai", "gpt-4o", CALL) == pytest.approx(0.003)
    finally:
        data_snapshot.set_custom_snapshot(None)
    assert pricer.price("openai", "gpt-4o", CALL) == before != pytest.approx(0.003)


# --- unknown rather than guessed ---


@pytest.mark.parametrize(
    "usage",
    [
        Usage(),
        Usage(output=100),
        Usage(input=1_000),
        Usage(input=-1, output=100),
        Usage(input=1_000, output=-1),
        Usage(input=1_000, output=100, cache_read=-1),
        Usage(input=1_000, output=100, cache_read=1_001),
        Usage(input=0, output=100, cache_read=1),
    ],
)
def test_usage_that_is_unknown_or_impossible_has_no_price(pricer: Pricer, usage: Usage) -> None:
    assert pricer.price("openai", "gpt-4o", usage) is None
    assert pricer.price("gemini", "gemini-2.5-pro", usage) is None


def test_more_cached_than_read_has_no_price() -> None:
    prices = ModelPrice(input_mtok=Decimal(2), cache_read_mtok=Decimal(1), cache_write_mtok=Decimal(3))
    usages = [Usage(100, 0, cache_read=60, cache_write=40), Usage(100, 0, cache_read=60, cache_write=41)]
    assert [listed(model(prices)).price("openai", "m", usage) for usage in usages] == [pytest.approx(180e-6), None]


@pytest.mark.parametrize(
    "provider_id", ["", "azure", "moonshot", "my-openai", "openai-compatible", "litellm", "OPENAI", "mapless"]
)
def test_another_provider_has_not_the_price_of_one_that_it_resembles(pricer: Pricer, provider_id: str) -> None:
    assert pricer.price(provider_id, "gpt-4o", CALL) is None
    assert pricer.price(provider_id, "openai/gpt-4o", CALL) is None


@pytest.mark.parametrize(
    ("provider_id", "name"),
    [
        ("openai", ""),
        ("openai", "gpt-4o-of-tomorrow"),
        ("openai", "claude-3-opus-20240229"),
        ("anthropic", "gpt-4o"),
        ("anthropic", "claude-opus-4-10"),
        ("deepseek", "deepseek-r1-distill-qwen-7b"),
        ("gemini", "gemini-1.5-flash-8b"),
        ("gemini", "gemini-2.5-pro-computer-use-preview-10-2025"),
        ("cohere", "my-aya-expanse-8b"),
    ],
)
def test_a_model_has_not_the_price_of_one_whose_name_is_part_of_its_own(
    pricer: Pricer, provider_id: str, name: str
) -> None:
    assert pricer.price(provider_id, name, CALL, text_only=True) is None


STARTS = ClauseStartsWith("m-4")


@pytest.mark.parametrize(
    ("match", "name", "known"),
    [
        (ClauseEquals("m"), "M", True),
        (ClauseEquals("m"), "m-latest", False),
        (STARTS, "m-4", True),
        (STARTS, "m-4-latest", True),
        (STARTS, "m-4-preview-05-20", True),
        (STARTS, "m-4-001", True),
        (STARTS, "m-4-20250929", True),
        (STARTS, "m-4@20250929", True),
        (STARTS, "m-4-2025-09-29", True),
        (STARTS, "m-41", False),
        (STARTS, "m-4-1", False),
        (STARTS, "m-4.5", False),
        (STARTS, "m-4-mini", False),
        (STARTS, "m-4-8b", False),
        (STARTS, "m-4-latest-mini", False),
        (STARTS, "m-4:free", False),
        (ClauseStartsWith("m-4-2025"), "m-4-20250929", True),
        (ClauseStartsWith("m-4@"), "m-4@20250929", True),
        (ClauseContains("m-4"), "m-4-001", True),
        (ClauseContains("m-4"), "some-m-4", False),
        (ClauseRegex(r"^m-\d$"), "m-4", True),
        (ClauseRegex(r"m-\d"), "m-4-mini", False),
        (ClauseOr([STARTS, ClauseEquals("m-4-mini")]), "m-4-mini", False),
        (ClauseOr([ClauseEquals("m-4-mini"), ClauseEquals("m-4")]), "m-4-mini", True),
    ],
)
def test_a_model_is_what_the_list_calls_so_or_a_release_of_it(match: Any, name: str, known: bool) -> None:
    assert (listed(model(match=match)).price("openai", name, CALL) is not None) is known


def test_the_exact_entry_counts_where_a_looser_one_comes_first() -> None:
    loose, exact = model(flat(9), ClauseStartsWith("m")), model(FLAT, ClauseEquals("m-mini"))
    assert listed(loose, exact).price("openai", "m-mini", CALL) == pytest.approx(0.003)


@pytest.mark.parametrize(
    "prices",
    [
        ModelPrice(),
        ModelPrice(output_mtok=Decimal(10)),
        ModelPrice(input_mtok=Decimal(2)),
        ModelPrice(input_mtok=Decimal(2), output_mtok=Decimal(10), requests_kcount=Decimal(5)),
        ModelPrice(input_mtok=Decimal(2), output_mtok=Decimal(10), output_image_mtok=Decimal(30)),
        ModelPrice(audio_hours=Decimal(1)),
    ],
)
def test_what_is_billed_by_more_than_tokens_in_and_out_has_no_price(prices: ModelPrice) -> None:
    pricer = listed(model(prices))
    assert pricer.price("openai", "m", CALL, text_only=True) is None


def test_what_has_no_rate_has_no_price_even_for_nothing() -> None:
    assert listed(model(ModelPrice())).price("openai", "m", Usage(0, 0)) is None


def test_a_model_that_charges_more_for_audio_is_priced_for_text_alone() -> None:
    prices = ModelPrice(input_mtok=Decimal(2), output_mtok=Decimal(10), input_audio_mtok=Decimal(4))
    pricer = listed(model(prices))
    assert pricer.price("openai", "m", CALL) is None
    assert pricer.price("openai", "m", CALL, text_only=True) == pytest.approx(0.003)


def test_the_tools_of_a_provider_are_not_in_the_price() -> None:
    prices = ModelPrice(input_mtok=Decimal(2), output_mtok=Decimal(10), web_searches_kcount=Decimal(10))
    assert listed(model(prices)).price("openai", "m", CALL) == pytest.approx(0.003)


# --- a guest ---


def test_without_genai_prices_there_is_no_pricer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    assert cost.load() is None


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
def test_a_price_list_that_fails_costs_no_call(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Any:
        raise LookupError

    with caplog.at_level(logging.WARNING):
        assert Pricer(broken).price("openai", "gpt-4o", CALL) is None
    (message,) = caplog.messages
    assert "Pricer.price" in message


@pytest.mark.parametrize("huge", [2**40, 2**63, 10**30])
def test_absurd_counts_have_a_finite_price(pricer: Pricer, huge: int) -> None:
    price = pricer.price("gemini", "gemini-2.5-pro", Usage(huge, huge, huge, 0, huge))
    assert price is not None
    assert math.isfinite(price)


COUNTS = st.none() | st.integers(0, 2**40)
CLEAN = st.builds(Usage, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)


@given(usage=CLEAN, name=st.sampled_from(["gpt-4o", "o1", "text-embedding-3-large", "gpt-4"]))
def test_any_usage_has_the_price_of_genai_prices_or_none(pricer: Pricer, usage: Usage, name: str) -> None:
    price = pricer.price("openai", name, usage)
    if price is not None:
        assert price == pytest.approx(by_genai_prices("openai", name, usage), rel=1e-12)
    else:
        assert usage.input is None or usage.output is None or _overfull(usage) or name.startswith("text-embedding")


def _overfull(usage: Usage) -> bool:
    return (usage.cache_read or 0) + (usage.cache_write or 0) > (usage.input or 0)


@given(
    provider_id=st.sampled_from(sorted(cost._PROVIDERS)) | st.text(), name=st.text() | st.from_regex(r"^g[a-z0-9.-]+")
)
def test_no_name_makes_it_raise(pricer: Pricer, provider_id: str, name: str) -> None:
    assert isinstance(pricer.price(provider_id, name, CALL), float | None)


def test_the_decimal_context_of_the_application_does_not_matter_and_stays_as_it_is(pricer: Pricer) -> None:
    expected = pricer.price("openai", "gpt-4o", CACHED)
    with localcontext() as context:
        context.prec = 1
        context.traps[Inexact] = True
        context.clear_flags()
        assert pricer.price("openai", "gpt-4o", CACHED) == expected
        assert not any(context.flags.values())


class Counted(ModelInfo):
    """A model that counts how often it was looked at."""

    asked = 0

    def is_match(self, model_ref: str) -> bool:
        self.asked += 1
        return super().is_match(model_ref)


@pytest.mark.parametrize("name", ["m", "unknown"])
def test_a_model_is_looked_for_once(name: str) -> None:
    counted = Counted(id="m", match=ClauseEquals("m"), prices=FLAT)
    pricer = listed(counted)
    pricer.price("openai", name, CALL)
    asked = counted.asked
    pricer.price("openai", name, CALL)
    assert counted.asked == asked > 0


def test_names_without_end_take_no_memory_without_end() -> None:
    pricer = listed(model())
    for number in range(1_000):
        pricer.price("openai", f"m-{number}", CALL)
    assert pricer._find.cache_info().currsize == cost._MAX_MODELS < 1_000


ALONE = """
import socket, sys, threading
def refuse(*args, **kwargs):
    raise AssertionError("the network")
socket.socket.connect = socket.getaddrinfo = refuse
from opentelemetry_instrumentation_ailib import cost
from opentelemetry_instrumentation_ailib.usage import Usage
assert "genai_prices" not in sys.modules
pricer = cost.load()
print(pricer.price("openai", "gpt-4o", Usage(1000, 100)), pricer.price("openai", "none", Usage(1000, 100)))
print(threading.active_count())
"""


def test_pricing_uses_neither_the_network_nor_threads_and_imports_when_told() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run([sys.executable, "-c", ALONE], env=environment, check=True, capture_output=True, text=True)
    assert re.fullmatch(r"0\.\d+ None\n1\n", done.stdout)
    assert done.stderr == ""
