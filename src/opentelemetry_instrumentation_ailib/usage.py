"""Token usage: the reports of the providers, each in its own shape, as the counts of the conventions.

Everything takes what comes: wrong types and shapes yield less, never an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from opentelemetry_instrumentation_ailib.values import MAPPINGS, integer

# More than any model takes, and few enough that no counter of them comes to what a measurement cannot carry.
_MAX_TOKENS: Final = 2**40


class Usage(NamedTuple):
    """Token counts; ``None`` is not known. ``input`` includes cached tokens, ``output`` includes reasoning."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None

    def merged(self, later: Usage) -> Usage:
        """Return these counts overridden by those of a later report that are known."""
        return Usage(*(new if new is not None else old for old, new in zip(self, later, strict=True)))


def usage(report: Any, before: Usage = Usage()) -> Usage:
    """Read a provider's report.

    Args:
        report: An OpenAI-, Anthropic- or Gemini-shaped object.
        before: What was reported before, of which a stream may repeat a part.
    """
    if not isinstance(report, MAPPINGS):
        return Usage()
    # A report may have the names of both of OpenAI's APIs, and values for those of one.
    if report.get("prompt_tokens") is not None or report.get("completion_tokens") is not None:
        return _chat(report)
    if "promptTokenCount" in report or "candidatesTokenCount" in report:
        return _gemini(report)
    return _messages(report, before)


def _chat(report: Mapping[str, Any]) -> Usage:
    """Read what OpenAI's chat completions say, and what is modelled on them."""
    sent, completion = _count(report.get("prompt_tokens")), _count(report.get("completion_tokens"))
    reasoning = _detail(report, "completion_tokens_details", "reasoning_tokens")
    cached = _detail(report, "prompt_tokens_details", "cached_tokens")
    if reasoning:
        # Some count it apart from the completion: then the total is made of three.
        total = _sum(sent, completion, reasoning)
        apart = total is not None and _count(report.get("total_tokens")) == total
        completion = _sum(completion, reasoning) if apart else completion
    return Usage(
        input=sent,
        output=completion,
        cache_read=_count(report.get("prompt_cache_hit_tokens")) if cached is None else cached,
        cache_write=_detail(report, "prompt_tokens_details", "cache_write_tokens"),
        reasoning=reasoning,
    )


def _gemini(report: Mapping[str, Any]) -> Usage:
    """Read what Gemini says. It reports thoughts apart from the candidates."""
    thoughts, said = _count(report.get("thoughtsTokenCount")), _count(report.get("candidatesTokenCount"))
    return Usage(
        # What the provider's own tools put into the prompt it reports apart, too.
        input=_sum(_count(report.get("promptTokenCount")), _count(report.get("toolUsePromptTokenCount"))),
        output=thoughts if said is None else _sum(said, thoughts),
        cache_read=_count(report.get("cachedContentTokenCount")),
        reasoning=thoughts,
    )


def _messages(report: Mapping[str, Any], before: Usage) -> Usage:
    """Read what Anthropic's messages say, or OpenAI's responses, which have the same names."""
    sent, output = _count(report.get("input_tokens")), _count(report.get("output_tokens"))
    reasoning = _detail(report, "output_tokens_details", "reasoning_tokens")
    if before.input and not sent:
        return Usage(output=output, reasoning=reasoning)
    # Anthropic reports cached tokens apart from the others; OpenAI's responses, in the same names, include them.
    read, write = _count(report.get("cache_read_input_tokens")), _count(report.get("cache_creation_input_tokens"))
    # Without them it may repeat a part of what was reported before, or all of it.
    whole = sent and max(sent, before.input or 0)
    if read is not None or write is not None:
        known = before.merged(Usage(cache_read=read, cache_write=write))
        whole = _sum(sent, known.cache_read, known.cache_write)
    read = _detail(report, "input_tokens_details", "cached_tokens") if read is None else read
    return Usage(whole, output, read, write, reasoning)


def _detail(report: Mapping[str, Any], group: str, name: str) -> int | None:
    details = report.get(group)
    return _count(details.get(name)) if isinstance(details, MAPPINGS) else None


def _count(value: Any) -> int | None:
    if value is None:
        return None
    if type(value) is int and 0 <= value <= _MAX_TOKENS:
        return value
    count = integer(value)
    return count if count is not None and count <= _MAX_TOKENS else None


def _sum(first: int | None, *others: int | None) -> int | None:
    return None if first is None else _count(first + sum(other or 0 for other in others))
