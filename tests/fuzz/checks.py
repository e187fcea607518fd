"""What must hold of a scenario that was played, whatever it was: nobody notices us, and each call has its span."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from calls import Seen
from consumers import EXECUTE, FORESEEN
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode
from performance import Performance
from records import Records
from sums import check_attempts, check_exports, check_requests, check_resilience, check_streams, check_times

from opentelemetry_instrumentation_ailib import naming, semconv

OUTCOMES = {
    *(semconv.COMPLETED, semconv.ABANDONED, semconv.CANCELLED, semconv.ERROR, semconv.TRUNCATED, semconv.EMPTY),
}


def check(performance: Performance, *, timed: bool = True) -> None:
    """Assert everything that must hold.

    Args:
        performance: What came of a scenario.
        timed: Whether it was played by a clock of ours, before a provider that counts.
    """
    differences = performance.differences()
    assert differences == [], differences
    assert performance.faults == [], performance.faults
    unheard, heard = performance.outcomes
    assert unheard == heard
    assert all(seen.intact for seen in performance.begun)
    records = Records(performance)
    _check_spans(records)
    _check_calls(records)
    for check_sums in (check_requests, check_attempts, check_streams, check_resilience, check_exports):
        check_sums(records)
    if timed:
        check_times(records)


# --- spans ---


def _check_spans(records: Records) -> None:
    ended = Counter(span.context.span_id for span in records.performance.spans.ended)
    assert ended == Counter(span.context.span_id for span in records.spans), records.performance.spans.open()
    root = records.performance.application
    for span in records.spans:
        if span is root:
            continue
        parent = records.by_id[span.parent.span_id] if span.parent else None
        if span in records.calls or (span.name == "ai_lib.protocol.load" and parent not in records.calls):
            assert parent is root, span.name
        else:
            assert span.name in semconv.SPAN_NAMES.values()
            assert parent in records.calls, span.name
        if parent is not None:
            assert parent.context.trace_id == span.context.trace_id
            _check_place(span, parent)
    for call in records.calls:
        _check_stages(records, call)


def _check_place(span: ReadableSpan, parent: ReadableSpan) -> None:
    # A millisecond for the difference of two clocks.
    assert span.start_time is not None
    assert span.end_time is not None
    assert parent.start_time is not None
    assert parent.end_time is not None
    assert parent.start_time - 1e6 <= span.start_time <= span.end_time
    assert span.end_time <= parent.end_time + 1e6 or parent.kind is SpanKind.INTERNAL, span.name


def _check_stages(records: Records, call: ReadableSpan) -> None:
    if records.stages != semconv.STAGES:
        return
    compiled, sent, processed, mapped = (len(records.under(call, stage)) for stage in semconv.STAGES[1:])
    assert sent == records.of(call)[semconv.ATTEMPTS]
    if call in records.streams:
        assert compiled == 1
        assert sent <= 1
        assert processed == mapped <= sent
    else:
        answered = sum(
            span.status.status_code is not StatusCode.ERROR for span in records.under(call, "http.transport")
        )
        assert compiled >= sent
        assert processed == answered
        assert mapped == 0


# --- calls, as the application saw them ---


def _check_calls(records: Records) -> None:
    assert len(records.calls) == len(records.performance.begun)
    for span, seen in records.both():
        kind = records.of(span).get(semconv.ERROR_TYPE)
        assert (span.status.status_code is StatusCode.ERROR) is (kind is not None)
        if seen.plan.how == EXECUTE:
            expected = naming.failure_type(seen.failed)
            # The runtime takes any timeout inside of its permit for one of its queue.
            assert kind == expected or (expected, kind) == (semconv.BACKPRESSURE, semconv.TIMEOUT)
        else:
            _check_stream(records.of(span), seen, kind)


def _check_stream(attributes: dict[str, Any], seen: Seen, kind: str | None) -> None:
    outcome = attributes[semconv.STREAM_OUTCOME]
    assert outcome in OUTCOMES
    if seen.plan.how not in FORESEEN:
        return
    assert outcome in _outcomes(seen, attributes)
    assert attributes[semconv.STREAM_EVENTS] == len(seen.events)
    expected = {semconv.CANCELLED: semconv.CANCELLED, semconv.ERROR: semconv.STREAM_ERROR}.get(outcome)
    assert kind == (naming.failure_type(seen.failed) or expected)


def _outcomes(seen: Seen, attributes: dict[str, Any]) -> set[str]:
    if isinstance(seen.failed, asyncio.CancelledError):
        return {semconv.CANCELLED}
    if seen.failed is not None or any(event.event_type == "StreamError" for event in seen.events):
        return {semconv.ERROR}
    if seen.exhausted and not seen.events and attributes[semconv.STREAM_BYTES]:
        return {semconv.EMPTY}
    if any(_finishes(event) for event in seen.events):
        return {semconv.COMPLETED}
    # Whether a done signal was seen, events do not say.
    return {semconv.TRUNCATED, semconv.COMPLETED} if seen.exhausted else {semconv.ABANDONED}


def _finishes(event: Any) -> bool:
    reasons = (getattr(event.data, name, None) for name in ("finish_reason", "stop_reason"))
    return event.event_type == "StreamEnd" or any(isinstance(reason, str) and reason for reason in reasons)
