"""What requests, responses and frames say, as the fields that the conventions define. There is no span in here.

Everything takes what comes: wrong types and shapes yield less, never an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from opentelemetry_instrumentation_ailib.semconv import text

_MAX_ITEMS: Final = 64
# What an attribute can carry.
_MAX_INTEGER: Final = 2**63 - 1
# More than any model takes, and few enough that no counter of them comes to what a measurement cannot carry.
_MAX_TOKENS: Final = 2**40


def _texts(value: Any) -> list[str] | None:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, (list, tuple)):
        return None
    return [item for item in map(text, value[:_MAX_ITEMS]) if item is not None] or None


def _number(value: Any) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -_MAX_INTEGER <= value <= _MAX_INTEGER:
        return None  # NaN compares with nothing.
    return value


def _integer(value: Any) -> int | None:
    """Return a count that is one: providers also send ``12.0``, ``-1``, ``"12"`` and ``null``."""
    whole = _whole(value)
    return whole if whole is not None and whole >= 0 else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return min(int(number), _MAX_INTEGER) if number is not None and number == int(number) else None


# --- the request ---

# The allow-list: from the names that param() and the builder know to the fields of util-genai's invocation.
_PARAMETERS: Final = {
    "temperature": ("temperature", _number),
    "top_p": ("top_p", _number),
    "top_k": ("top_k", _whole),
    "max_tokens": ("max_tokens", _integer),
    "max_completion_tokens": ("max_tokens", _integer),
    "max_output_tokens": ("max_tokens", _integer),
    "frequency_penalty": ("frequency_penalty", _number),
    "presence_penalty": ("presence_penalty", _number),
    "seed": ("seed", _whole),
    "stop": ("stop_sequences", _texts),
    "stop_sequences": ("stop_sequences", _texts),
    "n": ("request_choice_count", _integer),
    "reasoning_effort": ("reasoning_level", text),
}
_OUTPUT_TYPES: Final = {"json_object": "json", "json_schema": "json", "text": "text"}


def request_fields(builder: Any) -> Iterator[tuple[str, Any]]:
    """Yield the fields that the conventions define for a chat request and this one sets.

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
    if isinstance(extra, Mapping):
        parameters.update(extra)
    for name, value in parameters.items():
        if name in _PARAMETERS:
            field, convert = _PARAMETERS[name]
            converted = convert(value)
            if converted is not None:
                yield field, converted
    response_format = parameters.get("response_format")
    wanted = response_format.get("type") if isinstance(response_format, Mapping) else None
    if isinstance(wanted, str) and wanted in _OUTPUT_TYPES:
        yield "output_type", _OUTPUT_TYPES[wanted]


# --- usage ---


@dataclass(frozen=True)
class Usage:
    """Token counts; ``None`` is not known. ``input`` includes cached tokens, ``output`` includes reasoning."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None

    def merged(self, later: Usage) -> Usage:
        """Return these counts overridden by those of a later report that are known."""
        known = {f.name: value for f in fields(later) if (value := getattr(later, f.name)) is not None}
        return replace(self, **known) if known else self


def usage(report: Any) -> Usage:
    """Read an OpenAI-, Anthropic- or Gemini-shaped usage object; what it lacks or garbles is not known."""
    if not isinstance(report, Mapping):
        return Usage()

    if "prompt_tokens" in report or "completion_tokens" in report:
        return Usage(
            input=_count(report.get("prompt_tokens")),
            output=_count(report.get("completion_tokens")),
            cache_read=_first(
                _detail(report, "prompt_tokens_details", "cached_tokens"), _count(report.get("prompt_cache_hit_tokens"))
            ),
            reasoning=_detail(report, "completion_tokens_details", "reasoning_tokens"),
        )
    if "promptTokenCount" in report or "candidatesTokenCount" in report:
        # Gemini reports thoughts apart from the candidates.
        thoughts = _count(report.get("thoughtsTokenCount"))
        return Usage(
            input=_count(report.get("promptTokenCount")),
            output=_sum(_count(report.get("candidatesTokenCount")), thoughts),
            cache_read=_count(report.get("cachedContentTokenCount")),
            reasoning=thoughts,
        )
    # Anthropic reports cached tokens apart from the others; OpenAI's responses, in the same names, include them.
    cache_read = _count(report.get("cache_read_input_tokens"))
    cache_write = _count(report.get("cache_creation_input_tokens"))
    return Usage(
        input=_sum(_count(report.get("input_tokens")), cache_read, cache_write),
        output=_count(report.get("output_tokens")),
        cache_read=_first(cache_read, _detail(report, "input_tokens_details", "cached_tokens")),
        cache_write=cache_write,
        reasoning=_detail(report, "output_tokens_details", "reasoning_tokens"),
    )


def _detail(report: Mapping[str, Any], group: str, name: str) -> int | None:
    details = report.get(group)
    return _count(details.get(name)) if isinstance(details, Mapping) else None


def _count(value: Any) -> int | None:
    if type(value) is int and 0 <= value <= _MAX_TOKENS:
        return value
    count = _integer(value)
    return count if count is not None and count <= _MAX_TOKENS else None


def _sum(first: int | None, *others: int | None) -> int | None:
    return None if first is None else _count(first + sum(other or 0 for other in others))


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


# --- responses and frames ---


@dataclass(frozen=True)
class Answer:
    """What a provider says about its answer besides the answer itself."""

    id: str | None = None
    model: str | None = None
    finish_reasons: tuple[str, ...] = ()
    usage: Usage = Usage()


def response_answer(response: Any) -> Answer:
    """Read the runtime's ``ChatResponse``, and the body that it keeps for what it leaves out."""
    raw = getattr(response, "raw_response", None)
    body: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}
    report = getattr(response, "usage", None) or body.get("usage") or body.get("usageMetadata")
    return Answer(
        id=text(body.get("id")) or text(body.get("responseId")),
        model=text(getattr(response, "model", None)) or text(body.get("modelVersion")),
        finish_reasons=_finish_reasons(response, body),
        usage=usage(report),
    )


def _finish_reasons(response: Any, body: Mapping[str, Any]) -> tuple[str, ...]:
    choices = body.get("choices")
    reasons: list[Any] = []
    if isinstance(choices, list):
        reasons = [choice.get("finish_reason") for choice in choices[:_MAX_ITEMS] if isinstance(choice, Mapping)]
    known = tuple(reason for reason in map(text, reasons) if reason)
    first = text(getattr(response, "finish_reason", None))
    # A manifest may find the reason elsewhere than in OpenAI's choices.
    return known or ((first,) if first else ())


def frame_answer(frame: Any) -> Answer:
    """Read the first frame of a stream, the only one to name the response; events carry neither id nor model."""
    if not isinstance(frame, Mapping):
        return Answer()
    message = frame.get("message")
    source: Mapping[str, Any] = message if isinstance(message, Mapping) else frame
    return Answer(
        id=text(source.get("id")) or text(source.get("responseId")),
        model=text(source.get("model")) or text(source.get("modelVersion")),
        usage=usage(source.get("usage") or source.get("usageMetadata")),
    )
