"""How an operation begins to which somebody listens: its span, its contexts, its place among those in flight.

The spans and measurements of the conventions are made on the API, and not by ``opentelemetry-util-genai``, which takes
some 40 microseconds a call longer for the same, and can end no span at the moment when a stream did.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import Context, create_key, set_value
from opentelemetry.trace import INVALID_SPAN, SpanKind, set_span_in_context
from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import loggers
from opentelemetry_instrumentation_ailib.context import NOWHERE
from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.operation_end import call_hook
from opentelemetry_instrumentation_ailib.telemetry import now

if TYPE_CHECKING:
    from opentelemetry_instrumentation_ailib.operation import Operation

# Not empty, since the SDK takes the current context for an empty one.
_SPANLESS: Final = set_value(create_key(__name__), None, NOWHERE)


Describe = Callable[[], Mapping[str, AttributeValue] | None]


def start(operation: Operation, context: Context, describe: Describe) -> Context:
    """Start the span of an operation, and return the context with the span in it.

    Args:
        operation: The operation.
        context: The context that it begins in.
        describe: Returns what the request says, by the names of the conventions. A sampler wants none of it.
    """
    asked = operation.asked
    operation.began = now()
    operation.span = operation.telemetry.tracer.start_span(
        asked.span_name, context, SpanKind.CLIENT, asked.described, start_time=operation.began.epoch
    )
    operation.recorded = operation.span.is_recording()
    if operation.recorded or operation.telemetry.content.emits:
        try:
            _describe(operation, describe)
        except BaseException:  # A signal, Ctrl-C: nobody else is going to end it.
            operation.span.end()
            raise
    operation.traced = operation.measured = set_span_in_context(operation.span, context)
    if not operation.recorded and not operation.span.get_span_context().trace_flags.sampled:
        # For the SDK to ask, with every measurement, whether a span is sampled takes longer than to see none. A span of
        # somebody else's that is sampled is one for exemplars.
        operation.measured = set_span_in_context(INVALID_SPAN, context) if context else _SPANLESS
    return operation.traced


@guarded
def _describe(operation: Operation, describe: Describe) -> None:
    attributes = describe() or {}
    operation.span.set_attributes(attributes)
    if operation.telemetry.content.emits:
        operation.described = {**operation.asked.described, **attributes}


@guarded
def _count(operation: Operation) -> None:
    # What is counted by nobody now, and by somebody when it ends, would never be made up for.
    if operation.telemetry.listeners.measure():
        operation.telemetry.instruments.requests_in_flight.add(1, operation.asked.labels, context=operation.measured)
        operation.counted = True


def announce(operation: Operation, request: Any) -> None:
    """Count an operation among those in flight, and tell the request hook of it.

    Args:
        operation: The operation, which can be found by now.
        request: The runtime's request object.
    """
    telemetry, operation.request = operation.telemetry, request
    operation.logs_stages = loggers.PIPELINE.isEnabledFor(logging.DEBUG)
    _count(operation)
    if telemetry.request_hook is None:
        return
    try:
        call_hook(telemetry.request_hook, operation, request)
    except BaseException as error:  # sys.exit(), Ctrl-C: the call is not going to be made.
        operation.end(error=error)
        raise
