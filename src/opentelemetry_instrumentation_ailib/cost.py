"""What a call cost, by the price list of ``genai-prices``: offline, and unknown rather than guessed."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any, Final

from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.usage import Usage

_logger = logging.getLogger(__name__)

# From a manifest's id to the provider in the list. Not here is who bills by contract, region or route, or in another
# currency, so that the list converts or estimates: Azure, Hugging Face, MiniMax, Moonshot, Perplexity, Zhipu.
_PROVIDERS: Final = {
    "anthropic": "anthropic",
    "cerebras": "cerebras",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "fireworks": "fireworks",
    "gemini": "google",
    "google": "google",
    "groq": "groq",
    "mistral": "mistral",
    "openai": "openai",
    "openrouter": "openrouter",
    "together": "together",
    "xai": "x-ai",
}

# Many names in the list stand for all that begin with them: ``deepseek-r1`` also for its distillates. The same model is
# what differs by no more than this: the rest of a number that has three digits at least, dates, words of releases.
_RELEASE: Final = re.compile(r"(?:\d+(?<=\d{3}))?(?:[-@]\d{2,}|[-@](?:latest|preview|exp))*")

_INPUT, _OUTPUT = "input_mtok", "output_mtok"
_CACHE_READ, _CACHE_WRITE, _REASONING = "cache_read_mtok", "cache_write_mtok", "output_reasoning_mtok"
_RATES: Final = frozenset({_INPUT, _OUTPUT, _CACHE_READ, _CACHE_WRITE, _REASONING})
# Rates of what no usage counts: the provider's own tools, and a cache that lives longer than by default.
_EXTRAS: Final = frozenset({"cache_write_1h_mtok", "storage_searches_kcount", "web_searches_kcount"})
# Usage does not tell the modalities apart, so where their rates differ it has to be text alone.
_MODALITIES: Final = frozenset(
    {"cache_audio_read_mtok", "cache_image_read_mtok", "input_audio_mtok", "input_image_mtok", "input_video_mtok"}
)
_TOKENS_OF_A_RATE: Final = 1_000_000
_MAX_MODELS: Final = 256


class Pricer:
    """Prices calls.

    Args:
        price_list: Returns the snapshot of ``genai-prices`` that is in force, which an application may replace.
    """

    def __init__(self, price_list: Callable[[], Any]) -> None:
        self._price_list = price_list
        self._known: Any = None
        # To find a model takes up to a millisecond, to find none as long.
        self._find = lru_cache(maxsize=_MAX_MODELS)(self._search)

    @guarded
    def price(self, provider_id: str, model: str, usage: Usage, *, text_only: bool = False) -> float | None:
        """Return what the tokens of a call cost in USD, now; ``None`` where that is not known.

        What the tools cost that a provider runs (web search, say) is not in it, nor what a discount saved.

        Args:
            provider_id: The manifest's id.
            model: The model as the metrics label it.
            usage: The token counts.
            text_only: Whether the request held nothing but text. Without it, a model for whose input the rates differ
                by modality is not priced.
        """
        if usage.input is None:
            return None
        price_list = self._price_list()
        if price_list is not self._known:
            self._known = price_list
            self._find.cache_clear()
        found = self._find(provider_id, model)
        if found is None:
            return None
        rates = found.rates(usage.input)
        unknown = rates.keys() - _RATES - _EXTRAS
        if _INPUT not in rates or (unknown - _MODALITIES if text_only else unknown):
            return None
        cached = ((_CACHE_READ, usage.cache_read), (_CACHE_WRITE, usage.cache_write))
        sent = _side(rates, _INPUT, usage.input, cached)
        made = _side(rates, _OUTPUT, usage.output, ((_REASONING, usage.reasoning),))
        return None if sent is None or made is None else (sent + made) / _TOKENS_OF_A_RATE

    def _search(self, provider_id: str, model: str) -> _Model | None:
        wanted = _PROVIDERS.get(provider_id)
        for provider in self._known.providers:
            if provider.id == wanted:
                return next((_Model(listed) for listed in provider.models if _is_called(listed, model)), None)
        return None


class _Model:
    """A model of the list, with its rates as numbers for as long as they are in force.

    Args:
        listed: What the list has of it.
    """

    def __init__(self, listed: Any) -> None:
        self._listed = listed
        self._changing = isinstance(listed.prices, list)
        # Replaced as one, since threads share it: the prices, whether they have tiers, and their rates below these.
        self._known: tuple[Any, bool, dict[str, float]] = (None, False, {})

    def rates(self, tokens: int) -> dict[str, float]:
        """Return the rates of now for a call with so many input tokens."""
        known, tiered, flat = self._known
        prices = known
        if known is None or self._changing:
            # By the time of day, or since a date: the list knows.
            prices = self._listed.get_prices(datetime.now(timezone.utc))
        if prices is not known:
            tiered = any(getattr(price, "tiers", ()) for price in vars(prices).values())
            flat = _rates(prices, 0)
            self._known = prices, tiered, flat
        return _rates(prices, tokens) if tiered else flat


def _is_called(listed: Any, name: str) -> bool:
    """Return whether a name is that of the listed model, and not of a relative of which it is a part."""
    if not listed.is_match(name) or listed.is_match(name[1:]):
        return False
    if not listed.is_match(f"{name}\0"):
        return True
    needed = next(end for end in range(1, len(name) + 1) if listed.is_match(name[:end]))
    return _RELEASE.fullmatch(name, needed) is not None


def _rates(prices: Any, tokens: int) -> dict[str, float]:
    """Return the rates that apply to a call with so many input tokens: a tier's, once they exceed where it starts."""
    rates = {}
    for name, price in vars(prices).items():
        for tier in getattr(price, "tiers", ()):
            if tokens > tier.start:
                rates[name] = float(tier.price)
        if price is not None and name not in rates:
            # Not reckoned in decimals, which would go by, and leave traces in, the application's decimal context.
            rates[name] = float(getattr(price, "base", price))
    return rates


def _side(
    rates: dict[str, float], name: str, tokens: int | None, parts: tuple[tuple[str, int | None], ...]
) -> float | None:
    """Price input or output: a part by its own rate where it has one, the rest by the rate of the whole."""
    if tokens is None:
        # Embeddings have no output, and no rate for it.
        return None if rates.get(name) else 0.0
    cost = 0.0
    for part, count in parts:
        if count and part in rates:
            if not 0 < count <= tokens:
                return None
            tokens -= count
            cost += count * rates[part]
    if tokens < 0 or (tokens and name not in rates):
        return None
    return cost + tokens * rates.get(name, 0.0)


@guarded
def load() -> Pricer | None:
    """Import the price list; ``None`` where the extra ``cost`` is not installed.

    That takes 70 ms after the import of the runtime (160 ms without, 270 ms and 480 ms where Python may not write
    bytecode) and 5 MB: too long for the event loop to stand still in the middle of the first call, and too much for
    every process that is instrumented and never calls a model. So it is for the moment when the runtime gets imported.
    """
    try:
        from genai_prices import data_snapshot
    except ImportError:
        _logger.debug("genai-prices is not there: nothing gets priced", exc_info=True)
        return None
    data_snapshot.get_snapshot()  # Which builds it.
    return Pricer(data_snapshot.get_snapshot)
