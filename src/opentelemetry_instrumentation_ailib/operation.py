"""An operation under way: one call the user made, from its first stage to its one end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context, create_key, get_current, get_value, set_value
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import Span
from opentelemetry.util.genai.invocation import CLIENT_INFERENCE_CONTEXT_KEY, Error
from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import semconv
from opentelemetry_instrumentation_ailib.fields import Answer, Usage
from opentelemetry_instrumentation_ailib.masking import safe_message
from opentelemetry_instrumentation_ailib.telemetry import Hook, Moment, Telemetry, end_stage, guarded, now

if TYPE_CHECKING:
    from opentelemetry_instrumentation_ailib.stream_state import StreamState

_KEY = create_key("ai_lib.operation")


def current_operation() -> Operation | None:
    """Return the operation whose context is current, so that a stage finds its parent; none where suppressed."""
    operation = get_value(_KEY)
    return operation if isinstance(operation, Operation) and is_instrumentation_enabled() else None


class Operation:
    """One operation span, its context and what its stages told it.

    Args:
        telemetry: The bundle.
        name: ``gen_ai.operation.name``.
        provider_id: The manifest's id.
        model: The model as the metrics label it.
        base_url: Where the requests go.
        request: The runtime's request object, for the request hook.

    Attributes:
        context: The context in which the stages run and everything is recorded.
        labels: ``provider``, ``model`` and ``operation`` of the metrics: after a fallback, of those that answer.
        caller: The client whose next call belongs to this operation.
        stage: Where the call stands, which is where an error counts.
        asked: The labels of the model that the caller asked for.
        invocation: What util-genai keeps of this operation.
        attempts: HTTP exchanges begun.
        parse_began: When the body arrived that is being processed.
        began: When it began.
        stream: What is known of the stream, where the operation is one.
        attributes: Attributes of our own that the span gets at the end.
        secret: The credential of the requests, never to be recorded.
    """

    def __init__(
        self, telemetry: Telemetry, *, name: str, provider_id: str, model: str, base_url: str, request: Any
    ) -> None:
        context = get_current()
        if get_value(_KEY, context) is not None:
            # A call made inside another (by an operator, say) is a call of its own. Without this util-genai would take
            # it for a second description of the outer one.
            context = set_value(CLIENT_INFERENCE_CONTEXT_KEY, None, context)
        address, port = semconv.server(base_url)
        self.telemetry = telemetry
        self.request = request
        self.invocation = telemetry.handler.inference(
            semconv.provider_name(provider_id),
            request_model=model,
            server_address=address,
            server_port=port,
            operation_name=name,
            context=context,
        )
        # Current only while the runtime runs, which is for the wrappers to arrange.
        self.invocation.suspend()
        self.began = now()
        self.context: Context = set_value(_KEY, self, self.invocation.context)
        self.labels: dict[str, AttributeValue] = {
            semconv.LABEL_PROVIDER: provider_id,
            semconv.LABEL_MODEL: model,
            semconv.LABEL_OPERATION: name,
        }
        self.asked = self.labels
        self.caller: Any = None
        self.stage = semconv.CLIENT
        self.attempts = 0
        self.fallbacks = 0
        self.parse_began: Moment | None = None
        self.stream: StreamState | None = None
        self.attributes: dict[str, AttributeValue] = {semconv.PROVIDER_ID: provider_id}
        self.secret: str | None = None
        self._ended = False
        telemetry.instruments.requests_in_flight.add(1, self.asked, context=self.context)
        _call_request_hook(telemetry.request_hook, self.span, request)

    @property
    def span(self) -> Span:
        """The operation span."""
        return self.invocation.span

    def answered_by(self, provider_id: str, model: str) -> None:
        """Note which manifest and model the next attempt asks; another than before is a fallback."""
        if self.labels[semconv.LABEL_PROVIDER] == provider_id and self.labels[semconv.LABEL_MODEL] == model:
            return
        self.labels = {**self.labels, semconv.LABEL_PROVIDER: provider_id, semconv.LABEL_MODEL: model}
        self.fallbacks += 1
        self.attributes[semconv.FALLBACK_COUNT] = self.fallbacks
        self.attributes[semconv.FALLBACK_MODEL] = model

    def set_fields(self, **values: Any) -> None:
        """Set fields of the conventions by the names of util-genai's invocation."""
        for name, value in values.items():
            setattr(self.invocation, name, value)

    def record_chunk(self) -> None:
        """Record the arrival of a chunk: the first as time to first chunk, the others as time per output chunk."""
        self.invocation.record_stream_chunk()

    def record_stage(
        self,
        stage: str,
        began: Moment,
        *,
        busy: float | None = None,
        end_time: int | None = None,
        error: str | None = None,
        attributes: dict[str, AttributeValue] | None = None,
    ) -> None:
        """Record a stage that is over.

        Args:
            stage: One of ``semconv.STAGES``.
            began: When it began.
            busy: Its exclusive time in seconds, for a stage of a stream; else it is over now, and had its time alone.
            end_time: When it ended, in nanoseconds since the epoch; now by default.
            error: Its error type.
            attributes: What the span gets besides.
        """
        self.record_stage_duration(stage, time.perf_counter() - began.seconds if busy is None else busy)
        attributes = dict(attributes or ())
        if busy is not None:
            attributes[semconv.BUSY_TIME] = busy
        span = self.telemetry.start_stage(stage, self.context, attributes, began.epoch)
        end_stage(span, error=error, end_time=end_time)

    def record_stage_duration(self, stage: str, seconds: float) -> None:
        """Record ``ai_lib.stage.duration``."""
        self.telemetry.instruments.stage_duration.record(
            seconds, {**self.labels, semconv.LABEL_STAGE: stage}, context=self.context
        )

    def close_parse(self, error: str | None) -> None:
        """Record the processing of a body, whether it came to its end or not (broken JSON, say)."""
        if self.parse_began is not None:
            began, self.parse_began = self.parse_began, None
            self.record_stage(semconv.PIPELINE_PROCESS, began, error=error)

    def end(
        self,
        *,
        answer: Answer | None = None,
        response: Any = None,
        error: BaseException | str | None = None,
        duration: float | None = None,
    ) -> None:
        """End the operation, once; whatever comes later is ignored.

        Args:
            answer: What the provider said about its answer.
            response: What the response hook gets.
            error: What made it fail, as an exception or an error type.
            duration: Seconds since the start, where a more exact measure than the time until now exists.
        """
        if self._ended:
            return
        self._ended = True
        answer = answer or Answer()
        kind = _failure_type(error)
        _measure(self, answer.usage, kind, time.perf_counter() - self.began.seconds if duration is None else duration)
        _describe(self, answer)
        if response is not None:
            _call_response_hook(self.telemetry.response_hook, self.span, response)
        _stop(self, kind, error)
        # The context refers to this operation: let go, so that no garbage collection is needed.
        self.context = self.invocation.context
        self.request = self.caller = self.stream = None


_failure_type = guarded(semconv.failure_type)


@guarded
def _measure(operation: Operation, usage: Usage, error: str | None, duration: float) -> None:
    instruments, labels, context = operation.telemetry.instruments, operation.labels, operation.context
    instruments.requests_in_flight.add(-1, operation.asked, context=context)
    operation.close_parse(error)
    instruments.requests.add(1, labels, context=context)
    instruments.request_duration.record(duration, labels, context=context)
    _count_tokens(operation, usage)
    if error is not None:
        stage = semconv.error_stage(error, operation.stage)
        instruments.errors.add(1, {**labels, semconv.LABEL_TYPE: error, semconv.LABEL_STAGE: stage}, context=context)


def _count_tokens(operation: Operation, usage: Usage) -> None:
    instruments, labels, context = operation.telemetry.instruments, operation.labels, operation.context
    for kind, count in (("input", usage.input), ("output", usage.output)):
        if count:
            instruments.tokens.add(count, {**labels, semconv.LABEL_TYPE: kind}, context=context)
    details = {key: labels[key] for key in (semconv.LABEL_PROVIDER, semconv.LABEL_MODEL)}
    kinds = (("cache_read", usage.cache_read), ("cache_write", usage.cache_write), ("reasoning", usage.reasoning))
    for kind, count in kinds:
        if count:
            instruments.token_details.add(count, {**details, semconv.LABEL_TYPE: kind}, context=context)


@guarded
def _describe(operation: Operation, answer: Answer) -> None:
    usage = answer.usage
    operation.set_fields(
        response_id=answer.id,
        response_model_name=answer.model,
        finish_reasons=answer.finish_reasons or None,
        input_tokens=usage.input,
        output_tokens=usage.output,
        thinking_tokens=usage.reasoning,
        cache_read_input_tokens=usage.cache_read,
        cache_write_input_tokens=usage.cache_write,
    )
    operation.attributes[semconv.ATTEMPTS] = operation.attempts
    operation.invocation.attributes.update(operation.attributes)


_message = guarded(safe_message)


@guarded
def _stop(operation: Operation, kind: str | None, error: BaseException | str | None) -> None:
    if kind is None:
        operation.invocation.stop()
    else:
        message = _message(error, operation.secret) if isinstance(error, BaseException) else None
        operation.invocation.fail(Error(message=message, type=kind))


@guarded
def _call_request_hook(hook: Hook | None, span: Span, request: Any) -> None:
    if hook is not None and span.is_recording():
        hook(span, request)


@guarded
def _call_response_hook(hook: Hook | None, span: Span, response: Any) -> None:
    if hook is not None and span.is_recording():
        hook(span, response)
