"""How an operation ends: its measurements, the rest of its attributes, the end of its span, its record in the log."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import Span, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import loggers, logs, naming, semconv
from opentelemetry_instrumentation_ailib.attempts import end_attempt
from opentelemetry_instrumentation_ailib.cardinality import By
from opentelemetry_instrumentation_ailib.fields import NOTHING, Answer
from opentelemetry_instrumentation_ailib.fitting import fitted
from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.masking import clean, safe_message
from opentelemetry_instrumentation_ailib.shortened import joined
from opentelemetry_instrumentation_ailib.telemetry import Hook, elapsed

if TYPE_CHECKING:
    from opentelemetry_instrumentation_ailib.cost import Pricer
    from opentelemetry_instrumentation_ailib.messages import Conversation
    from opentelemetry_instrumentation_ailib.operation import Operation
    from opentelemetry_instrumentation_ailib.usage import Usage


def end(
    operation: Operation,
    answer: Answer,
    response: Any,
    error: BaseException | str | None,
    duration: float | None,
    outcome: str | None,
) -> None:
    """Record everything about an operation that is over, and end its span.

    Args:
        operation: The operation.
        answer: What the provider said about its answer.
        response: What the response hook gets.
        error: What made it fail, as an exception or an error type.
        duration: Seconds since the start; until now by default.
        outcome: How a stream ended.
    """
    kind = None if error is None else _error_type(operation, error) or semconv.OTHER
    if operation.heard or operation.statistics is not None:
        answer = _clean(answer, operation.secrets) or NOTHING
    if operation.heard:
        if operation.entered is not None or operation.queued is not None or operation.unseen is not None:
            _leave(operation, kind)
        if duration is None:
            duration = elapsed(operation.began.seconds)
        try:
            _measure(operation, answer, kind, duration)
        finally:  # A signal may interrupt.
            if operation.recorded or operation.conversation is not None:
                _end_span(operation, answer, response, error, kind, duration)
        _report(operation, answer, kind, duration, outcome)
    for note in operation.telemetry.outcomes:
        note(operation, kind, error)
    if operation.statistics is not None:
        for account in operation.telemetry.accountants:
            account(operation, answer)


def _report(operation: Operation, answer: Answer, kind: str | None, duration: float, outcome: str | None) -> None:
    for observe in operation.telemetry.observers:
        observe(operation, answer, kind, duration)
    if loggers.REQUEST.isEnabledFor(logging.INFO):
        logs.request_finished(
            operation,
            outcome=outcome or (semconv.ERROR if kind else semconv.OK),
            duration=duration,
            error=kind,
            usage=answer.usage,
            finish_reasons=answer.finish_reasons,
        )


def _end_span(
    operation: Operation,
    answer: Answer,
    response: Any,
    error: BaseException | str | None,
    kind: str | None,
    duration: float,
) -> None:
    attributes = _describe(operation, answer, kind) or {}
    try:
        if operation.conversation is not None:
            _capture(operation, operation.conversation, attributes)
        if response is not None and operation.telemetry.response_hook is not None:
            call_hook(operation.telemetry.response_hook, operation, response)
    finally:  # A hook may end the program.
        if kind is not None and operation.recorded:
            _fail(operation, error)
        if operation.recorded:
            _end(operation.span, operation.began.after(duration))


@guarded
def _error_type(operation: Operation, error: BaseException | str) -> str | None:
    return operation.error_type(error)


@guarded
def _measure(operation: Operation, answer: Answer, error: str | None, duration: float) -> None:
    instruments, labels, context = operation.telemetry.instruments, operation.identity.labels, operation.measured
    if operation.counted:
        instruments.requests_in_flight.add(-1, operation.asked.labels, context=context)
    instruments.requests.add(1, labels, context=context)
    instruments.request_duration.record(duration, labels, context=context)
    if error is not None:
        stage, error = naming.error_stage(error, operation.stage), operation.telemetry.labels.error(error)
        instruments.errors.add(1, {**labels, semconv.LABEL_TYPE: error, semconv.LABEL_STAGE: stage}, context=context)
    conventions, by_token = operation.asked.answered(answer.model)
    if error is not None:
        conventions = {**conventions, semconv.ERROR_TYPE: error}
        by_token = By(conventions, semconv.TOKEN_TYPE)
    instruments.operation_duration.record(duration, conventions, context=context)
    _measure_tokens(operation, answer.usage, by_token)
    pricer = operation.telemetry.pricer
    if pricer is not None:
        _price(operation, pricer, answer.usage)


def _measure_tokens(operation: Operation, usage: Usage, by_token: By) -> None:
    instruments, identity, context = operation.telemetry.instruments, operation.identity, operation.measured
    for kind, count in (("input", usage.input), ("output", usage.output)):
        if count is not None:
            instruments.token_usage.record(count, by_token[kind], context=context)
            if count:
                instruments.tokens.add(count, identity.by_token[kind], context=context)
    kinds = (("cache_read", usage.cache_read), ("cache_write", usage.cache_write), ("reasoning", usage.reasoning))
    for kind, count in kinds:
        if count:
            instruments.token_details.add(count, identity.by_token_detail[kind], context=context)


def _price(operation: Operation, pricer: Pricer, usage: Usage) -> None:
    asked = operation.identity
    price = pricer.price(asked.provider, asked.model, usage, text_only=operation.text_only)
    if price is not None:
        operation.attributes[semconv.COST] = price
        operation.telemetry.instruments.cost.add(price, asked.model_labels, context=operation.measured)


@guarded
def _describe(operation: Operation, answer: Answer, error: str | None) -> dict[str, AttributeValue] | None:
    attributes = answer.attributes()
    attributes.update(operation.attributes)
    attributes[semconv.PROVIDER_ID] = operation.asked.provider
    attributes[semconv.ATTEMPTS] = operation.attempts.count
    if operation.waited is not None:
        attributes[semconv.RESILIENCE_WAIT] = operation.waited
    if error is not None:
        attributes[semconv.ERROR_TYPE] = error
    operation.span.set_attributes(attributes)
    return attributes


@guarded
def _capture(operation: Operation, conversation: Conversation, attributes: dict[str, AttributeValue]) -> None:
    content = operation.telemetry.content
    conversation = fitted(replace(conversation, outputs=joined(operation.outputs)), *operation.secrets)
    operation.span.set_attributes(content.span_attributes(conversation))
    content.finish(operation, {**operation.described, **attributes}, conversation)


@guarded
def _leave(operation: Operation, error: str | None) -> None:
    operation.dequeue()
    operation.leave(error)
    if operation.unseen is not None:
        end_attempt(operation, operation.unseen, error)


@guarded
def _end(span: Span, end_time: int) -> None:
    span.end(end_time)


_clean, _message = guarded(clean), guarded(safe_message)


@guarded
def _fail(operation: Operation, error: BaseException | str | None) -> None:
    message = _message(error, operation.secrets) if isinstance(error, BaseException) else None
    operation.span.set_status(Status(StatusCode.ERROR, message))


@guarded
def call_hook(hook: Hook | None, operation: Operation, subject: Any) -> None:
    """Call a hook of the user's with a span that is recorded.

    Args:
        hook: The hook, if there is one.
        operation: The operation, whose credentials an exception of the hook's may quote.
        subject: The request or the response.
    """
    if hook is not None and operation.span.is_recording():
        hook(operation.span, subject)
