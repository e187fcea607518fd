"""What requests, responses and frames say, as the fields that the conventions define. There is no span in here.

Everything takes what comes: wrong types and shapes yield less, never an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import semconv
from opentelemetry_instrumentation_ailib.naming import text

# What JSON makes is told at once; to ask an abstract class takes ten times as long.
_MAPPINGS: Final = (dict, Mapping)
_MAX_ITEMS: Final = 64
# What an attribute can carry.
_MAX_INTEGER: Final = 2**63 - 1
# More than any model takes, and few enough that no counter of them comes to what a measurement cannot carry.
_MAX_TOKENS: Final = 2**40


def _texts(value: Any) -> list[str] | None:
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, (list, tuple)):
        return None
    return [item for item in map(text, value[:_MAX_ITEMS]) if item is not None] or None


def number(value: Any) -> int | float | None:
    """Return a number that an attribute can carry, or ``None``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -_MAX_INTEGER <= value <= _MAX_INTEGER:
        return None  # NaN compares with nothing.
    return value


def integer(value: Any) -> int | None:
    """Return a count that is one: providers also send ``12.0``, ``-1``, ``"12"`` and ``null``."""
    if type(value) is int and 0 <= value <= _MAX_INTEGER:
        return value
    whole = _whole(value)
    return whole if whole is not None and whole >= 0 else None


def _whole(value: Any) -> int | None:
    known = number(value)
    return min(int(known), _MAX_INTEGER) if known is not None and known == int(known) else None


# --- the request ---

# The allow-list: from the names that param() and the builder know to the attributes of the conventions.
_PARAMETERS: Final = {
    "temperature": (semconv.REQUEST_TEMPERATURE, number),
    "top_p": (semconv.REQUEST_TOP_P, number),
    "top_k": (semconv.REQUEST_TOP_K, _whole),
    "max_tokens": (semconv.REQUEST_MAX_TOKENS, integer),
    "max_completion_tokens": (semconv.REQUEST_MAX_TOKENS, integer),
    "max_output_tokens": (semconv.REQUEST_MAX_TOKENS, integer),
    "frequency_penalty": (semconv.REQUEST_FREQUENCY_PENALTY, number),
    "presence_penalty": (semconv.REQUEST_PRESENCE_PENALTY, number),
    "seed": (semconv.REQUEST_SEED, _whole),
    "stop": (semconv.REQUEST_STOP_SEQUENCES, _texts),
    "stop_sequences": (semconv.REQUEST_STOP_SEQUENCES, _texts),
    "n": (semconv.REQUEST_CHOICE_COUNT, integer),
    "reasoning_effort": (semconv.REQUEST_REASONING_LEVEL, text),
}
_OUTPUT_TYPES: Final = {"json_object": "json", "json_schema": "json", "text": "text"}


def request_attributes(builder: Any) -> dict[str, AttributeValue]:
    """Return the attributes that the conventions define for a chat request and this one sets.

    Args:
        builder: The runtime's ``ChatRequestBuilder``. ``param()`` values win, as they do in the payload.
    """
    parameters: dict[str, Any] = {
        "temperature": getattr(builder, "_temperature", None),
        "top_p": getattr(builder, "_top_p", None),
        "max_tokens": getattr(builder, "_max_tokens", None),
        "stop": getattr(builder, "_stop_sequences", None),
    }
    extra = getattr(builder, "_extra_params", None)
    if isinstance(extra, _MAPPINGS):
        parameters.update(extra)
    attributes: dict[str, AttributeValue] = {}
    for name, value in parameters.items():
        if value is not None and name in _PARAMETERS:
            attribute, convert = _PARAMETERS[name]
            converted = convert(value)
            if converted is not None:
                attributes[attribute] = converted
    response_format = parameters.get("response_format")
    wanted = response_format.get("type") if isinstance(response_format, _MAPPINGS) else None
    if isinstance(wanted, str) and wanted in _OUTPUT_TYPES:
        attributes[semconv.OUTPUT_TYPE] = _OUTPUT_TYPES[wanted]
    return attributes


# --- usage ---


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
    """Read an OpenAI-, Anthropic- or Gemini-shaped usage object, perhaps a part of what was reported before."""
    if not isinstance(report, _MAPPINGS):
        return Usage()
    # A report may have the names of both of OpenAI's APIs, and values for those of one.
    if report.get("prompt_tokens") is not None or report.get("completion_tokens") is not None:
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
    if "promptTokenCount" in report or "candidatesTokenCount" in report:
        # Gemini reports thoughts apart from the candidates.
        thoughts, said = _count(report.get("thoughtsTokenCount")), _count(report.get("candidatesTokenCount"))
        return Usage(
            # What the provider's own tools put into the prompt it reports apart, too.
            input=_sum(_count(report.get("promptTokenCount")), _count(report.get("toolUsePromptTokenCount"))),
            output=thoughts if said is None else _sum(said, thoughts),
            cache_read=_count(report.get("cachedContentTokenCount")),
            reasoning=thoughts,
        )
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
    return _count(details.get(name)) if isinstance(details, _MAPPINGS) else None


def _count(value: Any) -> int | None:
    if value is None:
        return None
    if type(value) is int and 0 <= value <= _MAX_TOKENS:
        return value
    count = integer(value)
    return count if count is not None and count <= _MAX_TOKENS else None


def _sum(first: int | None, *others: int | None) -> int | None:
    return None if first is None else _count(first + sum(other or 0 for other in others))


# --- responses and frames ---


class Answer(NamedTuple):
    """What a provider says about its answer besides the answer itself."""

    id: str | None = None
    model: str | None = None
    finish_reasons: tuple[str, ...] = ()
    usage: Usage = Usage()

    def attributes(self) -> dict[str, AttributeValue]:
        """Return the attributes that the conventions define for what is known."""
        known = (
            (semconv.RESPONSE_ID, self.id),
            (semconv.RESPONSE_MODEL, self.model),
            (semconv.RESPONSE_FINISH_REASONS, self.finish_reasons or None),
            (semconv.USAGE_INPUT_TOKENS, self.usage.input),
            (semconv.USAGE_OUTPUT_TOKENS, self.usage.output),
            (semconv.USAGE_CACHE_READ_INPUT_TOKENS, self.usage.cache_read),
            (semconv.USAGE_CACHE_WRITE_INPUT_TOKENS, self.usage.cache_write),
            (semconv.USAGE_REASONING_OUTPUT_TOKENS, self.usage.reasoning),
        )
        return {attribute: value for attribute, value in known if value is not None}


NOTHING: Final = Answer()
"""What an operation says that was not answered, or whose answer says nothing."""


def response_answer(response: Any) -> Answer:
    """Read the runtime's ``ChatResponse``, and the body that it keeps for what it leaves out."""
    raw = getattr(response, "raw_response", None)
    body: Mapping[str, Any] = raw if isinstance(raw, _MAPPINGS) else {}
    report = getattr(response, "usage", None) or body.get("usage") or body.get("usageMetadata")
    return Answer(
        id=text(body.get("id")) or text(body.get("responseId")),
        model=text(getattr(response, "model", None)) or text(body.get("modelVersion")),
        finish_reasons=_finish_reasons(response, body),
        usage=usage(report),
    )


def _finish_reasons(response: Any, body: Mapping[str, Any]) -> tuple[str, ...]:
    choices, known = body.get("choices"), []
    if isinstance(choices, list):
        for choice in choices[:_MAX_ITEMS]:
            reason = text(choice.get("finish_reason")) if isinstance(choice, _MAPPINGS) else None
            if reason is not None:
                known.append(reason)
    if not known:
        # A manifest may find the reason elsewhere than in OpenAI's choices.
        first = text(getattr(response, "finish_reason", None))
        return () if first is None else (first,)
    return tuple(known)


def frame_answer(frame: Any) -> Answer:
    """Read the first frame of a stream, the only one to name the response; events carry neither id nor model."""
    if not isinstance(frame, _MAPPINGS):
        return Answer()
    message = frame.get("message")
    source: Mapping[str, Any] = message if isinstance(message, _MAPPINGS) else frame
    return Answer(
        id=text(source.get("id")) or text(source.get("responseId")),
        model=text(source.get("model")) or text(source.get("modelVersion")),
        usage=usage(source.get("usage") or source.get("usageMetadata")),
    )
