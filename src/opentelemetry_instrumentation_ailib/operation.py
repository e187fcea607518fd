"""An operation under way: one call the user made, from its first stage to its one end."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context, create_key, get_current, set_value
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import SpanKind, set_span_in_context
from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import logs, naming, operation_end, semconv
from opentelemetry_instrumentation_ailib.attempts import Attempts
from opentelemetry_instrumentation_ailib.fields import Answer
from opentelemetry_instrumentation_ailib.telemetry import Moment, Telemetry, end_stage, now

if TYPE_CHECKING:
    from opentelemetry.util.genai.types import OutputMessage

    from opentelemetry_instrumentation_ailib.messages import Conversation
    from opentelemetry_instrumentation_ailib.stream_state import StreamState

_KEY = create_key(__name__)


def current_operation() -> Operation | None:
    """Return the operation whose context is current, so that a stage finds its parent; none where suppressed."""
    context = get_current()
    operation = context.get(_KEY)
    if not isinstance(operation, Operation):
        return None
    # In its own context it is as it was when the operation began: enabled.
    return operation if context is operation.context or is_instrumentation_enabled() else None


class Operation:
    """One operation span, its context and what its stages told it.

    The span and the measurements of the conventions are made here, and not by ``opentelemetry-util-genai``, which takes
    some 40 microseconds a call longer for the same, and can end no span at the moment when a stream did.

    Args:
        telemetry: The bundle.
        name: ``gen_ai.operation.name``.
        provider_id: The manifest's id.
        model: The model as the metrics label it.
        base_url: Where the requests go.
        request: The runtime's request object, for the request hook.
        attributes: What the request says, by the names of the conventions.

    Attributes:
        name: ``gen_ai.operation.name``.
        span: The operation span.
        recorded: Whether it is recorded; where it is not, neither are its stages, of which nobody could make sense.
        context: The context in which the stages run and everything is recorded.
        provider: The manifest's id: after a fallback, of the one that answers.
        model: The model without its provider: after a fallback, the one that answers.
        labels: ``provider``, ``model`` and ``operation`` of the metrics: those two as far as they may be labels.
        model_labels: ``provider`` and ``model`` alone.
        asked: The labels of the model that the caller asked for.
        described: The attributes of the conventions that were known at the start.
        identity: Those among them that the metrics of the conventions carry.
        attributes: Attributes of our own that the span gets at the end.
        caller: The client whose next call belongs to this operation.
        loader: The runtime's loader that brings the manifests of fallback models.
        executor: The runtime's executor around the attempts.
        stage: Where the call stands, which is where an error counts.
        attempts: The HTTP exchanges.
        waited: Seconds queued in the executor; ``None`` without one.
        began: When it began.
        stream: What is known of the stream, where the operation is one.
        secrets: The credentials of the requests, never to be recorded.
        conversation: What the request says, where that is captured.
        outputs: What the answer says, where that is captured.
        text_only: Whether the request is known to hold nothing but text.
        unseen: The kind of the one exchange of a call whose exchange cannot be seen.
        statistics: The runtime's statistics of the call, where the caller gets them.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        *,
        name: str,
        provider_id: str,
        model: str,
        base_url: str,
        request: Any,
        attributes: Mapping[str, AttributeValue] | None = None,
    ) -> None:
        context = get_current()
        self.telemetry = telemetry
        self.name = name
        self.request = request
        self.provider, self.model = provider_id, model
        identity = naming.identity(name, provider_id, model, base_url)
        self.identity = telemetry.labels.identity(identity)
        self.described: dict[str, AttributeValue] = {**identity, **(attributes or {})}
        self.began = now()
        self.span = telemetry.tracer.start_span(
            f"{name} {model}", context, SpanKind.CLIENT, self.described, start_time=self.began.epoch
        )
        self.recorded = self.span.is_recording()
        self.context: Context = set_value(_KEY, self, set_span_in_context(self.span, context))
        self.model_labels = telemetry.labels.model(provider_id, model)
        self.labels = self.asked = {**self.model_labels, semconv.LABEL_OPERATION: name}
        self.attributes: dict[str, AttributeValue] = {semconv.PROVIDER_ID: provider_id}
        self.caller: Any = None
        self.loader: Any = None
        self.executor: Any = None
        self.stage = semconv.CLIENT
        self.attempts = Attempts(f"{provider_id}/{model}")
        self.waited: float | None = None
        self.stream: StreamState | None = None
        self.secrets: set[str] = set()
        self.conversation: Conversation | None = None
        self.outputs: list[OutputMessage] = []
        self.text_only = False
        self.unseen: str | None = None
        self.statistics: Any = None
        self._queued: Moment | None = None
        self._mistaken: tuple[weakref.ref[BaseException], str] | None = None
        self._open: tuple[str, Moment] | None = None
        self._ended = False
        telemetry.instruments.requests_in_flight.add(1, self.asked, context=self.context)
        try:
            operation_end.call_hook(telemetry.request_hook, self.span, request)
        except BaseException as error:  # sys.exit(), Ctrl-C: the call is not going to be made.
            self.end(error=error)
            raise

    def answered_by(self, provider_id: str, model: str) -> None:
        """Note which manifest and model the next attempt asks: after a fallback, others than before."""
        if (self.provider, self.model) == (provider_id, model):
            return
        self.provider, self.model = provider_id, model
        self.model_labels = self.telemetry.labels.model(provider_id, model)
        self.labels = {**self.model_labels, semconv.LABEL_OPERATION: self.name}

    def identify(self, statistics: Any) -> None:
        """Note the runtime's statistics of the call, which say by what id the caller knows it."""
        self.statistics = statistics
        self.attributes[semconv.REQUEST_ID] = statistics.client_request_id
        for identified in self.telemetry.identified:
            identified(self)

    def enqueue(self) -> None:
        """Note that the call is in the executor's hands: until an attempt begins it queues there, or is refused."""
        self.stage = semconv.RESILIENCE
        self._queued = self.began.later()

    def dequeue(self) -> None:
        """Note that it is not any more."""
        if self._queued is not None:
            self.waited = (self.waited or 0.0) + self._queued.elapsed()
            self._queued = None

    def mistaken(self, error: BaseException, kind: str) -> None:
        """Note that an exception of the executor's stands for one of another type, which it took for its own."""
        self._mistaken = weakref.ref(error), kind

    def error_type(self, error: BaseException | str | None) -> str | None:
        """Return ``error.type`` for what made the call fail."""
        if self._mistaken is not None and self._mistaken[0]() is error:
            return self._mistaken[1]
        return naming.failure_type(error)

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
        seconds = began.elapsed() if busy is None else busy
        attributes = dict(attributes or ())
        self.record_stage_duration(stage, seconds, attributes)
        if not self.recorded:
            return
        if busy is not None:
            attributes[semconv.BUSY_TIME] = busy
        span = self.telemetry.start_stage(stage, self.context, attributes, began.epoch)
        end_stage(span, error=error, end_time=began.after(seconds) if end_time is None else end_time)

    def record_stage_duration(self, stage: str, seconds: float, attributes: Mapping[str, Any] | None = None) -> None:
        """Record ``ai_lib.stage.duration``.

        Args:
            stage: One of ``semconv.STAGES``.
            seconds: How long it took.
            attributes: What is known of it besides, for the log.
        """
        labels = {**self.labels, semconv.LABEL_STAGE: stage}
        self.telemetry.instruments.stage_duration.record(seconds, labels, context=self.context)
        logs.stage_finished(self, stage, seconds, attributes=attributes)

    def enter(self, stage: str, began: Moment | None = None) -> None:
        """Note that a stage began, now by default, that ends when ``leave`` is called."""
        self.stage = stage
        self._open = stage, began or self.began.later()

    def leave(self, error: str | None = None) -> bool:
        """Record the stage that was entered, whether it came to its end or not (broken JSON), and return if one was."""
        if self._open is None:
            return False
        (stage, began), self._open = self._open, None
        self.record_stage(stage, began, error=error)
        return True

    def end(
        self,
        *,
        answer: Answer | None = None,
        response: Any = None,
        error: BaseException | str | None = None,
        duration: float | None = None,
        outcome: str | None = None,
    ) -> None:
        """End the operation, once; whatever comes later is ignored.

        Args:
            answer: What the provider said about its answer.
            response: What the response hook gets.
            error: What made it fail, as an exception or an error type.
            duration: Seconds since the start, where a more exact measure than the time until now exists.
            outcome: How a stream ended.
        """
        if self._ended:
            return
        self._ended = True
        operation_end.end(self, answer or Answer(), response, error, duration, outcome)
        # The context refers to this operation: let go, so that no garbage collection is needed.
        self.context = set_value(_KEY, None, self.context)
        self.outputs, self.conversation = [], None
        self.request = self.caller = self.loader = self.executor = self.stream = self.statistics = None
