"""An operation under way: one call the user made, from its first stage to its one end."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context, create_key, set_value
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, Span, get_current_span
from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import logs, naming, operation_begin, operation_end, semconv
from opentelemetry_instrumentation_ailib.attempts import Attempts
from opentelemetry_instrumentation_ailib.context import NOWHERE, current
from opentelemetry_instrumentation_ailib.fields import NOTHING, Answer
from opentelemetry_instrumentation_ailib.telemetry import Moment, Telemetry, elapsed, end_stage

if TYPE_CHECKING:
    from opentelemetry.util.genai.types import OutputMessage

    from opentelemetry_instrumentation_ailib.messages import Conversation
    from opentelemetry_instrumentation_ailib.stream_state import StreamState

_KEY = create_key(__name__)


def current_operation() -> Operation | None:
    """Return the operation whose context is current, so that a stage finds its parent; none where suppressed."""
    context = current()
    operation = context.get(_KEY)
    if not isinstance(operation, Operation):
        return None
    # In its own context it is as it was when the operation began: enabled.
    return operation if context is operation.context or is_instrumentation_enabled() else None


class Operation:
    """One operation span, its context and what its stages told it.

    Args:
        telemetry: The bundle.
        name: ``gen_ai.operation.name``.
        provider_id: The manifest's id.
        model: The model without its provider.
        base_url: Where the requests go.
        request: The runtime's request object, for the request hook.
        describe: Returns what the request says, by the names of the conventions, for those who listen.
        heard: Whether anyone listens. Where nobody does, its end tells of its provider and its caller's statistics.
        secrets: The credentials that are known before there is an exchange, which a call may not get to.

    Attributes:
        span: The operation span.
        counted: Whether it is counted in flight.
        recorded: Whether it is recorded; where it is not, neither are its stages, of which nobody could make sense.
        context: The context in which the stages run, which leads them to the operation.
        traced: The same without the way to the operation, for what is left to be told when it has ended.
        measured: The context in which it is measured.
        asked: What the signals call the operation on the model that the caller asked for.
        identity: The same for the model that answers: after a fallback, another.
        described: The attributes of the conventions that were known at the start.
        attributes: Attributes of our own that the span gets at the end.
        target: The manifest and the model of the attempt, as the runtime names them.
        caller: The client whose next call belongs to this operation.
        loader: The runtime's loader that brings the manifests of fallback models.
        executor: The runtime's executor around the attempts.
        stage: Where the call stands, which is where an error counts.
        attempts: The HTTP exchanges.
        waited: Seconds queued in the executor; ``None`` without one.
        began: When it began, where it is heard.
        stream: What is known of the stream, where the operation is one.
        secrets: The credentials of the requests, never to be recorded.
        conversation: What the request says, where that is captured.
        outputs: What the answer says, where that is captured.
        text_only: Whether the request is known to hold nothing but text.
        unseen: The kind of the one exchange of a call whose exchange cannot be seen.
        statistics: The runtime's statistics of the call, where the caller gets them.
        queued: Since when it queues in the executor, while it does (``perf_counter`` seconds).
        entered: The stage that it is in and when that began (the same), where ``leave`` ends it.
        logs_stages: Whether its stages are logged.
        ended: Whether it has ended.
    """

    # What an operation has no use for costs it nothing.
    span: Span = INVALID_SPAN
    recorded = counted = text_only = logs_stages = ended = False
    request: Any = None
    caller = loader = executor = None
    statistics: Any = None
    described: Mapping[str, AttributeValue] = MappingProxyType({})
    secrets: tuple[str, ...] = ()
    began = Moment(0.0, 0)
    traced = measured = NOWHERE
    target: tuple[Any, Any] = None, None
    stream: StreamState | None = None
    conversation: Conversation | None = None
    outputs: Sequence[OutputMessage] = ()
    waited: float | None = None
    unseen: str | None = None
    queued: float | None = None
    _mistaken: tuple[weakref.ref[BaseException], str] | None = None
    entered: tuple[str, float] | None = None

    def __init__(
        self,
        telemetry: Telemetry,
        *,
        name: str,
        provider_id: str,
        model: str,
        base_url: str,
        request: Any,
        describe: operation_begin.Describe = dict,
        heard: bool = True,
        secrets: tuple[str, ...] = (),
    ) -> None:
        self.telemetry, self.name, self.heard, self.stage = telemetry, name, heard, semconv.CLIENT
        self.identity = self.asked = telemetry.labels.identity(name, provider_id, model, base_url)
        self.attributes: dict[str, AttributeValue] = {}
        self.attempts, self.secrets = Attempts(self.identity.full_name), secrets
        context = operation_begin.start(self, current(), describe) if heard else current()
        self.context: Context = set_value(_KEY, self, context)
        if heard:
            operation_begin.announce(self, request)

    def answered_by(self, provider_id: str, model: str) -> None:
        """Note which manifest and model the next attempt asks: after a fallback, others than before."""
        if (self.identity.provider, self.identity.model) != (provider_id, model):
            self.identity = self.telemetry.labels.identity(self.name, provider_id, model)

    def conceal(self, secrets: tuple[str, ...]) -> None:
        """Note credentials of the requests, never to be recorded."""
        if secrets != self.secrets:  # Those of a fallback's provider.
            self.secrets = tuple(dict.fromkeys((*self.secrets, *secrets)))

    def identify(self, statistics: Any) -> None:
        """Note the runtime's statistics of the call, which say by what id the caller knows it."""
        self.statistics = statistics
        if not self.heard:  # Without a span of its own the call is where its caller is.
            self.span = NonRecordingSpan(get_current_span(self.context).get_span_context())
        self.attributes[semconv.REQUEST_ID] = statistics.client_request_id
        for identified in self.telemetry.identified:
            identified(self)

    def enqueue(self) -> None:
        """Note that the call is in the executor's hands: until an attempt begins it queues there, or is refused."""
        self.stage = semconv.RESILIENCE
        if self.heard:
            self.queued = perf_counter()

    def dequeue(self) -> None:
        """Note that it is not any more."""
        if self.queued is not None:
            self.waited = (self.waited or 0.0) + elapsed(self.queued)
            self.queued = None

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
        began: float,
        *,
        busy: float | None = None,
        ended: float | None = None,
        error: str | None = None,
        attributes: Mapping[str, AttributeValue] | None = None,
    ) -> None:
        """Record a stage that is over.

        Args:
            stage: One of ``semconv.STAGES``.
            began: When it began (``perf_counter`` seconds).
            busy: Its exclusive time in seconds, for a stage of a stream; else it is over now, and had its time alone.
            ended: When it ended (``perf_counter`` seconds); so long after it began, by default.
            error: Its error type.
            attributes: What the span gets besides.
        """
        seconds = elapsed(began) if busy is None else busy
        if self.recorded:
            known = attributes if busy is None else {**(attributes or {}), semconv.BUSY_TIME: busy}
            start_time = self.began.at(began)
            span = self.telemetry.start_stage(stage, self.context, known, start_time)
            end_time = start_time + int(seconds * 1e9) if ended is None else self.began.at(ended)
            end_stage(span, error=error, end_time=max(end_time, start_time))
        self.record_stage_duration(stage, seconds, attributes)

    def record_stage_duration(self, stage: str, seconds: float, attributes: Mapping[str, Any] | None = None) -> None:
        """Record ``ai_lib.stage.duration``.

        Args:
            stage: One of ``semconv.STAGES``.
            seconds: How long it took.
            attributes: What is known of it besides, for the log.
        """
        self.telemetry.instruments.stage_duration.record(seconds, self.identity.by_stage[stage], context=self.measured)
        if self.logs_stages:
            logs.stage_finished(self, stage, seconds, attributes=attributes)

    def enter(self, stage: str, began: float | None = None) -> None:
        """Note that a stage began, now or at a reading of ``perf_counter``, that ends when ``leave`` is called."""
        self.stage = stage
        if self.heard:
            self.entered = stage, perf_counter() if began is None else began

    def leave(self, error: str | None = None) -> bool:
        """Record the stage that was entered, whether it came to its end or not (broken JSON), and return if one was."""
        if self.entered is None:
            return False
        (stage, began), self.entered = self.entered, None
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
        if self.ended:
            return
        self.ended = True
        operation_end.end(self, answer or NOTHING, response, error, duration, outcome)
        # The context refers to this operation: let go, so that no garbage collection is needed.
        self.context = self.traced
        self.outputs, self.conversation, self.target = (), None, (None, None)
        self.request = self.caller = self.loader = self.executor = self.stream = self.statistics = None
