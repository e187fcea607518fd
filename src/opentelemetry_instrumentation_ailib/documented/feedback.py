"""User feedback: an event in the trace of the call that it is about, and the feedback metrics.

The page's section is 用户反馈 (user feedback).
"""

from __future__ import annotations

import importlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from opentelemetry._logs import LogRecord
from opentelemetry.context import Context
from opentelemetry.metrics import Meter
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, SpanContext, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.genai.types import ContentCapturingMode
from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import masking, naming, semconv
from opentelemetry_instrumentation_ailib.content import Content
from opentelemetry_instrumentation_ailib.documented import feedback_types
from opentelemetry_instrumentation_ailib.documented.current import CURRENT
from opentelemetry_instrumentation_ailib.documented.feedback_types import Evaluation
from opentelemetry_instrumentation_ailib.documented.statistics import traceparent as written
from opentelemetry_instrumentation_ailib.fields import Answer
from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.operation import Operation

_logger = logging.getLogger(__name__)

MAX_CALLS: Final = 10_000
"""Calls that feedback can be about by their id alone: the last ones of this process."""

_MAX_COMMENT: Final = 1024
_SCORE_BOUNDARIES: Final = tuple(number / 10 for number in range(11))
_WITH_CONTENT: Final = (ContentCapturingMode.EVENT_ONLY, ContentCapturingMode.SPAN_AND_EVENT)


class FeedbackResult(str, Enum):
    """What became of a piece of feedback."""

    RECORDED = "recorded"
    """It is in the trace of the call that it is about."""

    UNLINKED = "unlinked"
    """It is recorded outside of any trace: nothing here knows the call, and there was no valid ``traceparent``."""

    REJECTED = "rejected"
    """It is not recorded: the rating is out of range, or it is no feedback that the runtime knows."""

    INACTIVE = "inactive"
    """It is not recorded: nothing is instrumented."""


class Recorder:
    """Records the feedback of one round and knows the calls that it may be about.

    Args:
        meter: The meter of this instrumentation's scope.
        content: Emits events, and says whether they may carry content.
    """

    def __init__(self, meter: Meter, content: Content) -> None:
        # By its id, the traceparent of a call and, after a blank, the id that the provider gave its answer: strings,
        # which the garbage collector need not look at. In a dictionary whose every step is atomic, since a lock could
        # be asked for by the thread that holds it, in which the garbage collector runs.
        self._calls: OrderedDict[str, str] = OrderedDict()
        self._content = content
        self._feedback = meter.create_counter(semconv.FEEDBACK, "{feedback}", "Feedback received, by type")
        self._score = meter.create_histogram(
            semconv.FEEDBACK_SCORE,
            "{score}",
            "Scores of the feedback that is a score, from 0 to 1",
            explicit_bucket_boundaries_advisory=_SCORE_BOUNDARIES,
        )
        self._complained = False

    def remember(self, operation: Operation) -> None:
        """Keep where a call's span is, when its id has become known."""
        self._keep(operation, None)

    def ended(self, operation: Operation, answer: Answer) -> None:
        """Keep the id of a call's answer."""
        if answer.id is not None:
            self._keep(operation, answer.id)

    def _keep(self, operation: Operation, response_id: str | None) -> None:
        span = operation.span.get_span_context()
        if span.is_valid:
            self._calls[operation.statistics.client_request_id] = f"{written(span)} {response_id or ''}"
            if len(self._calls) > MAX_CALLS:
                self._calls.popitem(last=False)

    def record(self, request_id: str | None, traceparent: str | None, read: Callable[[], Evaluation]) -> FeedbackResult:
        """Record feedback.

        Args:
            request_id: The id of the call that it is about.
            traceparent: Where that call's span is, if the application kept it.
            read: Reads the feedback, or raises ``ValueError``.
        """
        try:
            evaluation = read()
        except ValueError as error:
            if not self._complained:
                _logger.warning("Feedback is not recorded: %s (reported once)", error)
            self._complained = True
            return FeedbackResult.REJECTED
        known, _, response_id = self._calls.get(request_id if isinstance(request_id, str) else "", "").partition(" ")
        span = _parsed(traceparent) or _parsed(known)
        # Outside of any trace is not in the current one, as an empty context would be.
        context = set_span_in_context(INVALID_SPAN if span is None else NonRecordingSpan(span), Context())
        _emit(self._content, evaluation, request_id, response_id or None, context)
        self._count(evaluation, context)
        return FeedbackResult.UNLINKED if span is None else FeedbackResult.RECORDED

    def _count(self, evaluation: Evaluation, context: Context) -> None:
        labels = {semconv.LABEL_TYPE: evaluation.type}
        self._feedback.add(1, labels, context=context)
        if evaluation.score is not None:
            self._score.record(evaluation.score, labels, context=context)


def _parsed(traceparent: str | None) -> SpanContext | None:
    if not isinstance(traceparent, str):
        return None
    extracted = TraceContextTextMapPropagator().extract({"traceparent": traceparent}, Context())
    span = get_current_span(extracted).get_span_context()
    return span if span.is_valid else None


@guarded
def _emit(content: Content, evaluation: Evaluation, request_id: Any, response_id: str | None, context: Context) -> None:
    category = naming.text(evaluation.category)
    attributes: dict[str, AttributeValue | None] = {
        semconv.EVALUATION_NAME: evaluation.type if category is None else f"{evaluation.type}.{category}",
        semconv.EVALUATION_SCORE_VALUE: evaluation.score,
        semconv.EVALUATION_SCORE_LABEL: naming.text(evaluation.label),
        semconv.EVALUATION_EXPLANATION: _comment(evaluation.comment) if content.mode in _WITH_CONTENT else None,
        semconv.RESPONSE_ID: response_id,
        semconv.REQUEST_ID: naming.text(request_id),
    }
    known = {key: value for key, value in attributes.items() if value is not None}
    content.logger.emit(LogRecord(event_name=semconv.EVALUATION_RESULT, attributes=known, context=context))


@guarded
def _comment(comment: Any) -> str | None:
    if not isinstance(comment, str) or not comment:
        return None
    importlib.import_module("ai_lib_python.telemetry.logger")  # Without the masker there is no comment.
    return masking.masked(comment, _MAX_COMMENT)


def record(request_id: str | None, traceparent: str | None, read: Callable[[], Evaluation]) -> FeedbackResult:
    """Record feedback in the active round; see :meth:`Recorder.record`."""
    active = CURRENT.round
    if active is None:
        return FeedbackResult.INACTIVE
    return _record(active.feedback, request_id, traceparent, read) or FeedbackResult.REJECTED


_record = guarded(Recorder.record)


@guarded
def _report(event: Any, traceparent: str | None) -> FeedbackResult:
    return record(getattr(event, "request_id", None), traceparent, lambda: feedback_types.evaluation(event))


class FeedbackCollector:
    """Records what users think of answers. It keeps nothing itself, so that one serves as well as many.

    Example:
        >>> response, stats = await client.chat().user("Hello?").execute_with_stats()
        >>> FeedbackCollector().record(request_id=stats.request_id, rating=5, comment="Helpful response")
    """

    def record(
        self,
        request_id: str | None = None,
        rating: float | None = None,
        comment: str | None = None,
        *,
        min_rating: float = 1,
        max_rating: float = 5,
        category: str | None = None,
        traceparent: str | None = None,
    ) -> FeedbackResult:
        """Record a rating: a ``gen_ai.evaluation.result`` event, ``ai_lib.feedback`` and ``ai_lib.feedback.score``.

        Args:
            request_id: The ``request_id`` of the call's statistics.
            rating: The rating. Without one, the comment alone is recorded, as feedback of the type ``text``.
            comment: What the user wrote. It leaves the process, masked, where events may carry content.
            min_rating: The worst rating there is.
            max_rating: The best.
            category: What was rated.
            traceparent: The ``traceparent`` of the call's statistics. By it feedback reaches the call's trace from
                another process, and when the call was long ago.

        Returns:
            What became of it. Nothing is raised.
        """

        def read() -> Evaluation:
            if rating is None and comment:
                return Evaluation("text", category, comment=comment)
            return feedback_types.rating(rating, min_rating, max_rating, category, comment)

        return record(request_id, traceparent, read)

    def report(self, event: Any, *, traceparent: str | None = None) -> FeedbackResult:
        """Record one of the runtime's feedback events. ``report_feedback()`` does so too, and tells the runtime's sink.

        Args:
            event: One of the seven types of ``ai_lib_python.telemetry``.
            traceparent: As for :meth:`record`.
        """
        return _report(event, traceparent) or FeedbackResult.REJECTED
