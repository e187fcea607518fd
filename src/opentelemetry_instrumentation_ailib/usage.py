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
        """Return these counts overridden by those of a later report that it knows. Counts grow: a zero is none."""
        return Usage(*(new if new or old is None else old for old, new in zip(self, later, strict=True)))


class Report(NamedTuple):
    """What a provider reported, perhaps in parts, as a stream does at its beginning and its end.

    Attributes:
        counts: The counts as they were reported.
        apart: Whether those of the input leave out the cached tokens; ``None`` where nothing said so yet.
    """

    counts: Usage = Usage()
    apart: bool | None = None

    def merged(self, later: Report) -> Report:
        """Return this report with what a later one knows."""
        return Report(self.counts.merged(later.counts), self.apart if later.apart is None else later.apart)

    @property
    def usage(self) -> Usage:
        """What it comes to."""
        counts = self.counts
        if not self.apart:
            return counts
        return counts._replace(input=_sum(counts.input, counts.cache_read, counts.cache_write))


def usage(said: Any) -> Usage:
    """Return what a whole report comes to, in the shape of any provider."""
    return reported(said).usage


def reported(said: Any) -> Report:
    """Read an OpenAI-, Anthropic- or Gemini-shaped report, perhaps one of several of a stream."""
    if not isinstance(said, MAPPINGS):
        return Report()
    # A report may have the names of both of OpenAI's APIs, and values for those of one.
    if said.get("prompt_tokens") is not None or said.get("completion_tokens") is not None:
        counts = _chat(said)
    elif "promptTokenCount" in said or "candidatesTokenCount" in said:
        counts = _gemini(said)
    else:
        return _messages(said)
    return Report(counts, None if counts.input is None else False)


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


def _messages(report: Mapping[str, Any]) -> Report:
    """Read what Anthropic's messages say, or OpenAI's responses, which have the same names for the sums."""
    read, write = _count(report.get("cache_read_input_tokens")), _count(report.get("cache_creation_input_tokens"))
    # Anthropic's input has no cached tokens in it, whichever of its reports tell of them; that of the responses has.
    apart = None if read is None and write is None else True
    if read is None:
        read = _detail(report, "input_tokens_details", "cached_tokens")
        apart = False if apart is None and read is not None else apart
    counts = Usage(
        input=_count(report.get("input_tokens")),
        output=_count(report.get("output_tokens")),
        cache_read=read,
        cache_write=write,
        reasoning=_detail(report, "output_tokens_details", "reasoning_tokens"),
    )
    return Report(counts, apart)


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
