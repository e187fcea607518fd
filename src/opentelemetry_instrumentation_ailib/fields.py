"""What requests, responses and frames say, as the fields that the conventions define. There is no span in here.

Everything takes what comes: wrong types and shapes yield less, never an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import semconv
from opentelemetry_instrumentation_ailib.naming import text
from opentelemetry_instrumentation_ailib.usage import Report, Usage, reported, usage
from opentelemetry_instrumentation_ailib.values import MAPPINGS, integer, number, whole

_MAX_ITEMS: Final = 64


def _texts(value: Any) -> list[str] | None:
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, (list, tuple)):
        return None
    return [item for item in map(text, value[:_MAX_ITEMS]) if item is not None] or None


# --- the request ---

# The allow-list: from the names that param() and the builder know to the attributes of the conventions.
_PARAMETERS: Final = {
    "temperature": (semconv.REQUEST_TEMPERATURE, number),
    "top_p": (semconv.REQUEST_TOP_P, number),
    "top_k": (semconv.REQUEST_TOP_K, whole),
    "max_tokens": (semconv.REQUEST_MAX_TOKENS, integer),
    "max_completion_tokens": (semconv.REQUEST_MAX_TOKENS, integer),
    "max_output_tokens": (semconv.REQUEST_MAX_TOKENS, integer),
    "frequency_penalty": (semconv.REQUEST_FREQUENCY_PENALTY, number),
    "presence_penalty": (semconv.REQUEST_PRESENCE_PENALTY, number),
    "seed": (semconv.REQUEST_SEED, whole),
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
    if isinstance(extra, MAPPINGS):
        parameters.update(extra)
    attributes: dict[str, AttributeValue] = {}
    for name, value in parameters.items():
        if value is not None and name in _PARAMETERS:
            attribute, convert = _PARAMETERS[name]
            converted = convert(value)
            if converted is not None:
                attributes[attribute] = converted
    response_format = parameters.get("response_format")
    wanted = response_format.get("type") if isinstance(response_format, MAPPINGS) else None
    if isinstance(wanted, str) and wanted in _OUTPUT_TYPES:
        attributes[semconv.OUTPUT_TYPE] = _OUTPUT_TYPES[wanted]
    return attributes


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
    body: Mapping[str, Any] = raw if isinstance(raw, MAPPINGS) else {}
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
            reason = text(choice.get("finish_reason")) if isinstance(choice, MAPPINGS) else None
            if reason is not None:
                known.append(reason)
    if not known:
        # A manifest may find the reason elsewhere than in OpenAI's choices.
        first = text(getattr(response, "finish_reason", None))
        return () if first is None else (first,)
    return tuple(known)


def frame_answer(frame: Any) -> Answer:
    """Read the first frame of a stream, the only one to name the response; events carry neither id nor model."""
    source = _message(frame)
    return Answer(
        id=text(source.get("id")) or text(source.get("responseId")),
        model=text(source.get("model")) or text(source.get("modelVersion")),
    )


def frame_report(frame: Any) -> Report:
    """Read what the first frame of a stream reports: of Anthropic's input tokens, what no event does."""
    source = _message(frame)
    return reported(source.get("usage") or source.get("usageMetadata"))


def _message(frame: Any) -> Mapping[str, Any]:
    if not isinstance(frame, MAPPINGS):
        return {}
    message = frame.get("message")
    return message if isinstance(message, MAPPINGS) else frame
