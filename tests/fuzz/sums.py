"""What must hold of metrics, times and exports: they add up, and agree with what the provider and the caller saw."""

from __future__ import annotations

from collections import Counter

from calls import Seen
from consumers import EXECUTE, FORESEEN
from frames import UNIT
from policies import SAME
from records import Records
from values import SECRET

from differential import encoded
from leaks import holds
from opentelemetry_instrumentation_ailib import semconv

# What a request fails with that cannot be sent: it never arrives at the provider.
UNSENT = ("ValueError", "UnicodeEncodeError")
SLACK = UNIT / 10


def check_requests(records: Records) -> None:
    """Assert that every call was counted once, with its tokens, its error and its stages."""
    count = len(records.calls)
    failures = Counter(records.attributes(semconv.ERROR_TYPE))
    for name in (semconv.REQUESTS, semconv.REQUEST_DURATION, semconv.CLIENT_OPERATION_DURATION):
        assert records.total(name) == count, name
    assert {value for _, value in records.recorder.points(semconv.REQUESTS_IN_FLIGHT)} <= {0}
    assert records.recorder.counts(semconv.ERRORS, semconv.LABEL_TYPE) == failures
    assert records.recorder.counts(semconv.CLIENT_OPERATION_DURATION, semconv.ERROR_TYPE)["None"] == count - sum(
        failures.values()
    )
    for direction, attribute in (("input", semconv.USAGE_INPUT_TOKENS), ("output", semconv.USAGE_OUTPUT_TOKENS)):
        counted = records.recorder.counts(semconv.TOKENS, semconv.LABEL_TYPE)[direction]
        assert counted == sum(records.attributes(attribute))
    measured = records.recorder.counts(semconv.STAGE_DURATION, semconv.LABEL_STAGE)
    shown = Counter(records.of(span).get(semconv.STAGE) for span in records.spans)
    for stage in records.stages:
        assert measured[stage] == shown[stage], stage


def check_attempts(records: Records) -> None:
    """Assert that what arrived at the provider was counted, and why there was more than one request."""
    kinds = records.recorder.counts(semconv.ATTEMPTS, semconv.LABEL_KIND)
    types = records.recorder.counts(semconv.ATTEMPTS, semconv.LABEL_TYPE)
    events = Counter(event.name for span in records.calls for event in span.events)
    sent = sum(kinds.values())
    assert sent == sum(records.attributes(semconv.ATTEMPTS))
    assert sent - sum(types[kind] for kind in UNSENT) == len(records.performance.provider.requests), types
    assert records.total(semconv.RETRIES) == records.total(semconv.RETRY_DELAY) == events[semconv.RETRY_EVENT]
    assert records.total(semconv.FALLBACKS) == events[semconv.FALLBACK_EVENT]
    assert sum(records.attributes(semconv.FALLBACK_COUNT)) == events[semconv.FALLBACK_EVENT]
    assert kinds[semconv.FALLBACK] <= events[semconv.FALLBACK_EVENT]
    if SAME not in records.performance.scenario.policy.fallbacks:
        assert kinds[semconv.INITIAL] <= len(records.calls)
        # One that was decided on, a timeout may have kept from coming.
        assert kinds[semconv.RETRY] <= events[semconv.RETRY_EVENT]


def check_streams(records: Records) -> None:
    """Assert that every stream was counted once, with its frames and chunks."""
    outcomes = Counter(records.attributes(semconv.STREAM_OUTCOME))
    results = records.recorder.counts("ai_lib.stream.frames", semconv.LABEL_RESULT)
    events = list(records.attributes(semconv.STREAM_EVENTS))
    assert records.recorder.counts(semconv.STREAMS, semconv.LABEL_OUTCOME) == outcomes
    assert sum(outcomes.values()) == len(records.streams) == records.total(semconv.STREAM_CONSUMER)
    assert sum(results.values()) == sum(records.attributes(semconv.STREAM_FRAMES))
    assert results[semconv.MAPPED] <= sum(events)
    assert records.total(semconv.CLIENT_TIME_TO_FIRST_CHUNK) == sum(count > 0 for count in events)
    timed = records.performance.scenario.telemetry.arguments.get("chunk_timing", True)
    assert records.total(semconv.CLIENT_TIME_PER_OUTPUT_CHUNK) == timed * sum(max(count - 1, 0) for count in events)


def check_times(records: Records) -> None:
    """Assert that every wait was measured, and given to whoever made it."""
    assert sum(records.attributes(semconv.STREAM_BYTES)) == records.performance.provider.sent
    provider = sum(records.performance.provider.waited.values())
    assert abs(records.seconds(semconv.STAGE_DURATION, stage=semconv.HTTP_TRANSPORT) - provider) < SLACK
    paused = sum(seen.times.paused for seen in records.performance.begun)
    consumer, whole = records.seconds(semconv.STREAM_CONSUMER), records.seconds(semconv.REQUEST_DURATION)
    assert consumer > paused - SLACK
    if all(map(_is_over, records.performance.begun)):
        assert consumer < paused + SLACK
    if len(records.streams) == len(records.calls):
        stages = sum(records.seconds(semconv.STAGE_DURATION, stage=stage) for stage in semconv.STAGES[1:])
        assert abs(whole - consumer - stages) <= whole / 100
    for span, seen in records.both():
        if not _is_foreseen(seen):
            continue
        assert span.end_time is not None
        assert span.start_time is not None
        took = (span.end_time - span.start_time) / 1e9
        assert took > seen.times.waited + seen.times.paused - SLACK
        if _is_over(seen):
            assert took < seen.times.waited + seen.times.paused + SLACK
        first = records.of(span).get(semconv.RESPONSE_TIME_TO_FIRST_CHUNK)
        assert first is None or not seen.events or abs(first - seen.times.first) < SLACK


def _is_foreseen(seen: Seen) -> bool:
    return seen.plan.how in {EXECUTE, *FORESEEN}


def _is_over(seen: Seen) -> bool:
    # What the application still holds on to when it is done, ends with the loop.
    return _is_foreseen(seen) and (seen.settled or seen.failed is not None or seen.plan.how == EXECUTE)


def check_resilience(records: Records) -> None:
    """Assert that metrics say of the breaker and the queue what these say themselves."""
    breaker = getattr(records.performance.executor, "_circuit_breaker", None)
    if breaker is not None:
        stats = breaker.get_stats()
        assert records.total(semconv.CIRCUIT_BREAKER_TRANSITIONS) == stats.state_changes
        assert records.total(semconv.CIRCUIT_BREAKER_REJECTIONS) == stats.rejected_requests
    assert records.performance.gauges[semconv.CIRCUIT_BREAKER_STATE] == (breaker is not None)
    assert records.performance.gauges[semconv.BACKPRESSURE_IN_FLIGHT] == 0


def check_exports(records: Records) -> None:
    """Assert that all can be exported, no credential is, and each call has its line in the log and its event."""
    exported, telemetry = encoded(records.recorder), records.performance.scenario.telemetry
    lines = records.performance.exported.lines
    assert not holds(exported, SECRET)
    assert not [line for line in lines if holds(line.encode(errors="replace"), SECRET)]
    finished = sum("'name': 'ai_lib.request'" in line for line in lines)
    assert finished == (len(records.calls) if telemetry.level <= 20 else 0)
    details = [record for record in records.recorder.events() if record.event_name == semconv.OPERATION_DETAILS]
    assert len(details) == (len(records.calls) if telemetry.capture != "NO_CONTENT" else 0)
