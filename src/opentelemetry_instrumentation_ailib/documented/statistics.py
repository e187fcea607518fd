"""``CallStats``: what the page reads from it, and what the runtime leaves empty in it.

The page's section is 调用统计 (call statistics). Instrumentation fills in no other value of the runtime's.
"""

from __future__ import annotations

from typing import Any, Final

from opentelemetry.trace import SpanContext

from opentelemetry_instrumentation_ailib.fields import Answer
from opentelemetry_instrumentation_ailib.operation import Operation
from opentelemetry_instrumentation_ailib.patching import Addition

FIELDS: Final = ("trace_id", "traceparent", "prompt_tokens", "completion_tokens", "retry_count")
"""The fields that get a value."""


def traceparent(span: SpanContext) -> str:
    """Return a span's context as the W3C header has it."""
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"


def identified(operation: Operation) -> None:
    """Say in a call's statistics which trace it is in; for a stream, from its beginning."""
    span = operation.span.get_span_context()
    if span.is_valid:
        operation.statistics.trace_id = f"{span.trace_id:032x}"
        operation.statistics.traceparent = traceparent(span)


def ended(operation: Operation, answer: Answer) -> None:
    """Fill in what the runtime leaves empty: token counts of other shapes than OpenAI's, and the number of retries."""
    statistics = operation.statistics
    if statistics.prompt_tokens is None:
        statistics.prompt_tokens = answer.usage.input
    if statistics.completion_tokens is None:
        statistics.completion_tokens = answer.usage.output
    if not statistics.retry_count:
        statistics.retry_count = operation.attempts.retries


class _RequestId:
    """The id that the client gave the call, for feedback about it. What the application sets in its place stays."""

    def __get__(self, statistics: Any, owner: Any = None) -> str:
        if statistics is None:
            raise AttributeError  # Of the class it is no attribute, nor the default of a subclass's field.
        return str(statistics.client_request_id)


class _Unknown:
    """What is not known yet, or never. What is set in its place stays."""

    def __get__(self, statistics: Any, owner: Any = None) -> None:
        if statistics is None:
            raise AttributeError  # As above.


_MODULE = "ai_lib_python.client.response"

ROWS = (
    Addition(_MODULE, "CallStats.request_id", lambda _: _RequestId()),
    Addition(_MODULE, "CallStats.trace_id", lambda _: _Unknown()),
    Addition(_MODULE, "CallStats.traceparent", lambda _: _Unknown()),
)
