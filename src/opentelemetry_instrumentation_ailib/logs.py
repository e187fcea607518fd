"""The records about calls, attempts, streams, manifests and stages.

Each function asks first whether its logger is enabled, and else does nothing. No record has message content, and of an
exception only its type.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import Context, get_current

from opentelemetry_instrumentation_ailib import naming, semconv
from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.loggers import (
    PIPELINE,
    PROTOCOL,
    REQUEST,
    RESILIENCE,
    STREAM,
    TRACE,
    emit,
    forget_trace_level,
    identity,
    name_trace_level,
    title,
)

if TYPE_CHECKING:
    from opentelemetry_instrumentation_ailib.operation import Operation
    from opentelemetry_instrumentation_ailib.usage import Usage

__all__ = [
    "TRACE",
    "circuit_opened",
    "fallback",
    "forget_trace_level",
    "name_trace_level",
    "protocol_loaded",
    "request_finished",
    "retry",
    "stage_finished",
    "stream_ended",
]

_STREAM_ENDS: Final = {
    semconv.EMPTY: (
        "The stream of %s brought %d bytes in %d frames and not one event: its manifest maps none of its frames"
    ),
    semconv.TRUNCATED: (
        "The stream of %s ended after %d bytes in %d frames without a finish reason or a done signal: "
        "its answer may be cut off"
    ),
}


@guarded
def request_finished(
    operation: Operation,
    *,
    outcome: str,
    duration: float,
    error: str | None = None,
    usage: Usage | None = None,
    finish_reasons: Sequence[str] = (),
) -> None:
    """Log one line about a call that is over (``INFO``).

    Args:
        operation: The operation.
        outcome: How a stream ended; ``ok`` or ``error`` for other calls.
        duration: Seconds from its start to its end.
        error: Its error type, if it failed.
        usage: The tokens it took, as far as they are known.
        finish_reasons: Why the model stopped.
    """
    if not REQUEST.isEnabledFor(logging.INFO):
        return
    fields = {
        **operation.attributes,
        **identity(operation),
        semconv.LABEL_OUTCOME: outcome,
        semconv.REQUEST_DURATION: duration,
        semconv.ERROR_TYPE: naming.failure_type(error),
        semconv.USAGE_INPUT_TOKENS: usage and usage.input,
        semconv.USAGE_OUTPUT_TOKENS: usage and usage.output,
        semconv.USAGE_CACHE_READ_INPUT_TOKENS: usage and usage.cache_read,
        semconv.USAGE_CACHE_WRITE_INPUT_TOKENS: usage and usage.cache_write,
        semconv.USAGE_REASONING_OUTPUT_TOKENS: usage and usage.reasoning,
        semconv.RESPONSE_FINISH_REASONS: tuple(finish_reasons) or None,
    }
    arguments = title(operation), outcome, duration, _details(fields)
    emit(REQUEST, logging.INFO, operation.context, fields, "%s: %s in %.3f s%s", *arguments)


def _details(fields: Mapping[str, Any]) -> str:
    known = (
        (", {}", fields[semconv.ERROR_TYPE]),
        (", {} input tokens", fields[semconv.USAGE_INPUT_TOKENS]),
        (", {} output tokens", fields[semconv.USAGE_OUTPUT_TOKENS]),
        (", finish reason {}", "/".join(fields[semconv.RESPONSE_FINISH_REASONS] or ()) or None),
    )
    return "".join(text.format(value) for text, value in known if value is not None)


@guarded
def retry(operation: Operation, attempt: int, error: BaseException | str | None, delay: float) -> None:
    """Log that a request is going to be sent again (``WARNING``).

    Args:
        operation: The operation.
        attempt: How many attempts have failed.
        error: What the last one failed with, of which only the type is logged.
        delay: Seconds until the next.
    """
    if not RESILIENCE.isEnabledFor(logging.WARNING):
        return
    kind = naming.failure_type(error) or semconv.OTHER
    fields = {semconv.EVENT_ATTEMPT: attempt, semconv.EVENT_DELAY: delay, semconv.ERROR_TYPE: kind}
    message, arguments = "%s: attempt %d failed (%s), the next in %.3f s", (title(operation), attempt, kind, delay)
    emit(RESILIENCE, logging.WARNING, operation.context, {**identity(operation), **fields}, message, *arguments)


@guarded
def fallback(operation: Operation, origin: str, target: str, error: BaseException | str | None) -> None:
    """Log that a call turns to another model (``WARNING``).

    Args:
        operation: The operation.
        origin: The model that failed, with its provider.
        target: The model that is asked next, with its provider.
        error: What the former failed with, of which only the type is logged.
    """
    if not RESILIENCE.isEnabledFor(logging.WARNING):
        return
    kind = naming.failure_type(error) or semconv.OTHER
    fields = {semconv.LABEL_FROM: origin, semconv.LABEL_TO: target, semconv.ERROR_TYPE: kind}
    arguments = operation.name, origin, kind, target
    message = "%s: %s failed (%s), %s is asked instead"
    emit(RESILIENCE, logging.WARNING, operation.context, {**identity(operation), **fields}, message, *arguments)


@guarded
def circuit_opened(executor: str) -> None:
    """Log that a circuit breaker opened (``WARNING``), in the current context: no operation owns a breaker.

    Args:
        executor: The executor as the metrics label it.
    """
    if RESILIENCE.isEnabledFor(logging.WARNING):
        fields = {semconv.LABEL_EXECUTOR: executor, semconv.CIRCUIT_BREAKER_STATE: "open"}
        emit(RESILIENCE, logging.WARNING, get_current(), fields, "The circuit breaker of %s opened", executor)


@guarded
def stream_ended(operation: Operation, outcome: str, *, bytes: int, frames: int) -> None:  # noqa: A002 - as on the span
    """Log that a stream ended empty or truncated (``WARNING``); other outcomes are no news.

    Args:
        operation: The operation.
        outcome: How the stream ended.
        bytes: Bytes of the body received.
        frames: Frames decoded.
    """
    message = _STREAM_ENDS.get(outcome)
    if message is None or not STREAM.isEnabledFor(logging.WARNING):
        return
    fields = {semconv.STREAM_OUTCOME: outcome, semconv.STREAM_BYTES: bytes, semconv.STREAM_FRAMES: frames}
    arguments = operation.identity.full_name, bytes, frames
    emit(STREAM, logging.WARNING, operation.context, {**identity(operation), **fields}, message, *arguments)


@guarded
def protocol_loaded(
    context: Context,
    *,
    provider: str | None,
    source: str | None,
    version: str | None,
    seconds: float,
    error: BaseException | str | None = None,
) -> None:
    """Log that a manifest was loaded, or was not (``DEBUG``).

    Args:
        context: The context that it was loaded in.
        provider: The manifest's id.
        source: ``cache``, ``local`` or ``remote``.
        version: The protocol version that it is written in.
        seconds: How long it took.
        error: What made it fail, of which only the type is logged.
    """
    if not PROTOCOL.isEnabledFor(logging.DEBUG):
        return
    kind = naming.failure_type(error)
    fields = {
        semconv.PROVIDER_ID: provider,
        semconv.STAGE: semconv.PROTOCOL_LOAD,
        semconv.STAGE_DURATION: seconds,
        semconv.PROTOCOL_SOURCE: source,
        semconv.PROTOCOL_VERSION: version,
        semconv.ERROR_TYPE: kind,
    }
    known = ((", version {}", version), (", from {}", source), (", failed: {}", kind))
    details = "".join(text.format(value) for text, value in known if value is not None)
    message = "Loading the protocol of %s took %.6f s%s"
    emit(PROTOCOL, logging.DEBUG, context, fields, message, provider, seconds, details)


@guarded
def stage_finished(
    operation: Operation, stage: str, seconds: float, *, attributes: Mapping[str, Any] | None = None
) -> None:
    """Log that a stage is over (``DEBUG``).

    Args:
        operation: The operation.
        stage: One of ``semconv.STAGES``.
        seconds: How long it took, or its exclusive time in a stream.
        attributes: What is known of it besides: sizes and counts.
    """
    if not PIPELINE.isEnabledFor(logging.DEBUG):
        return
    known = attributes or {}
    fields = {**identity(operation), **known, semconv.STAGE: stage, semconv.STAGE_DURATION: seconds}
    details = "".join(f", {name}={value}" for name, value in known.items())
    arguments = title(operation), stage, seconds, details
    emit(PIPELINE, logging.DEBUG, operation.context, fields, "%s: %s took %.6f s%s", *arguments)
