"""What the runtime's telemetry API does by itself it does as before: old code runs unchanged beside the page's.

Each behaviour runs without instrumentation too, so that it is the runtime's and not ours that is asserted.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from ai_lib_python import telemetry as t

from opentelemetry_instrumentation_ailib import AiLibInstrumentor
from recorder import Recorder


@pytest.fixture(autouse=True, params=["without", "instrumented"])
def either_way(request: pytest.FixtureRequest, recorder: Recorder) -> Iterator[None]:
    """Without instrumentation, and with it."""
    if request.param == "instrumented":
        AiLibInstrumentor().instrument(**recorder.providers)
    yield
    if request.param == "instrumented":
        AiLibInstrumentor().uninstrument()


GPT = t.MetricLabels(provider="openai", model="gpt-4o")
CLAUDE = t.MetricLabels(provider="anthropic", model="claude")


# --- MetricsCollector ---


def test_requests_are_summed_by_labels_and_over_all() -> None:
    collector = t.MetricsCollector()
    collector.record_request(GPT, 0.5, tokens_in=100, tokens_out=50)
    collector.record_request(GPT, 1.5, status="error")
    collector.record_request(CLAUDE, 0.1, tokens_in=1, tokens_out=2)
    mine, everything = collector.get_snapshot(GPT), collector.get_snapshot()
    assert (mine.total_requests, mine.failed_requests, mine.error_rate) == (2, 1, 0.5)
    assert (mine.latency_p50_ms, mine.avg_latency_ms) == (1000.0, 1000.0)
    assert (everything.total_requests, everything.total_tokens_in, everything.total_tokens_out) == (3, 101, 52)
    assert sorted(label.to_key() for label in collector.get_all_labels()) == sorted([GPT.to_key(), CLAUDE.to_key()])


def test_retries_waits_and_open_circuits_are_counted_and_reset() -> None:
    collector = t.MetricsCollector()
    collector.record_retry(GPT, 1)
    collector.record_rate_limit_wait(GPT, 0.25)
    collector.record_rate_limit_wait(GPT, 0.5)
    collector.record_circuit_open(GPT)
    collector.set_inflight(GPT, 3)
    snapshot = collector.get_snapshot()
    assert (snapshot.retry_count, snapshot.rate_limit_waits, snapshot.circuit_breaker_opens) == (1, 0.75, 1)
    collector.reset()
    assert collector.get_snapshot() == t.MetricSnapshot(rate_limit_waits=0)


def test_callbacks_are_told_until_they_are_removed() -> None:
    collector = t.MetricsCollector()
    told: list[tuple[str, dict[str, Any]]] = []

    def callback(kind: str, data: dict[str, Any]) -> None:
        told.append((kind, data))

    collector.add_callback(callback)
    collector.record_retry(GPT, 2)
    collector.remove_callback(callback)
    collector.record_retry(GPT, 3)
    assert told == [("retry", {"labels": GPT.to_dict(), "attempt": 2})]


def test_its_own_text_is_what_it_was() -> None:
    collector = t.MetricsCollector(t.HistogramBuckets([1.0]))
    collector.record_request(GPT, 0.5)
    lines = collector.to_prometheus().splitlines()
    assert "ailib_requests_total{model=gpt-4o,provider=openai} 1" in lines
    assert 'ailib_request_duration_seconds_bucket{model=gpt-4o,provider=openai,le="+Inf"} 1' in lines


def test_the_global_collector_is_the_one_that_was_set() -> None:
    collector = t.MetricsCollector()
    before = t.get_metrics_collector()
    t.set_metrics_collector(collector)
    assert t.get_metrics_collector() is collector
    t.set_metrics_collector(before)


# --- Tracer ---


def test_spans_nest_and_are_exported_when_they_end() -> None:
    exporter = t.InMemoryExporter()
    tracer = t.Tracer("app", exporter)
    with tracer.span("outer", attributes={"a": 1}) as outer:
        assert t.get_current_span() is outer
        with tracer.span("inner", kind=t.SpanKind.CLIENT) as inner:
            assert inner.set_attribute("b", 2).add_event("step") is inner
            assert (t.get_current_trace_id(), t.get_current_span_id()) == (outer.trace_id, inner.span_id)
    assert t.get_current_span() is None
    assert [span.name for span in exporter.get_spans()] == ["inner", "outer"]
    assert inner.parent_context is not None
    assert (inner.trace_id, inner.parent_context.span_id) == (outer.trace_id, outer.span_id)
    assert (inner.status, inner.kind, inner.attributes) == (t.SpanStatus.OK, t.SpanKind.CLIENT, {"b": 2})
    assert inner.end_time is not None
    assert inner.duration_ms >= 0
    assert json.loads(json.dumps(outer.to_dict()))["parent_span_id"] is None


def test_an_exception_is_noted_and_passes() -> None:
    exporter = t.InMemoryExporter()
    with pytest.raises(KeyError), t.Tracer("app", exporter).span("work"):
        raise KeyError("x")
    (span,) = exporter.get_spans()
    assert (span.status, span.status_message) == (t.SpanStatus.ERROR, "'x'")
    assert [event.name for event in span.events] == ["exception"]


def test_a_status_that_was_set_stays() -> None:
    tracer = t.Tracer("app")
    with tracer.span("work") as span:
        span.set_status(t.SpanStatus.ERROR, "no luck")
    assert (span.status, span.status_message) == (t.SpanStatus.ERROR, "no luck")


def test_an_exporter_can_come_later() -> None:
    exporter, tracer = t.InMemoryExporter(), t.Tracer("app")
    tracer.set_exporter(exporter)
    with tracer.span("work"):
        pass
    assert [span.name for span in exporter.get_spans()] == ["work"]


def test_a_started_span_is_a_root_and_not_current() -> None:
    span = t.Tracer("app").start_span("work", attributes={"a": 1})
    assert (span.parent_context, span.attributes, t.get_current_span()) == (None, {"a": 1}, None)
    assert (len(span.trace_id), len(span.span_id)) == (32, 16)


def test_the_global_tracer_is_made_by_name_and_can_be_set() -> None:
    tracer = t.Tracer("mine")
    t.set_tracer(tracer)
    assert t.get_tracer("mine") is tracer
    assert t.get_tracer("another").name == "another"


def test_a_subclass_keeps_its_ways() -> None:
    class Counting(t.Tracer):
        """Counts its spans."""

        def __init__(self) -> None:
            super().__init__("counting", t.InMemoryExporter())
            self.count = 0

        def start_span(self, *args: Any, **kwargs: Any) -> t.Span:
            self.count += 1
            return super().start_span(*args, **kwargs)

    tracer = Counting()
    with tracer.span("one"), tracer.span("two"):
        pass
    assert tracer.count == 2


# --- HealthChecker and ProviderHealthTracker ---


async def test_registered_checks_run_by_name_and_all_together() -> None:
    async def good() -> t.HealthCheckResult:
        return t.HealthCheckResult("good", t.HealthStatus.HEALTHY)

    async def bad() -> t.HealthCheckResult:
        raise OSError("down")

    checker = t.HealthChecker()
    assert (await checker.check_all()).status is t.HealthStatus.UNKNOWN
    checker.register("good", good)
    checker.register("bad", bad)
    assert (await checker.check("good")).status is t.HealthStatus.HEALTHY
    assert (await checker.check_all()).status is t.HealthStatus.UNHEALTHY
    assert checker.get_all_last_results()["bad"].message == "down"
    checker.unregister("bad")
    assert (await checker.check_all()).to_dict()["status"] == "healthy"
    assert checker.get_last_result("bad") is None
    with pytest.raises(KeyError):
        await checker.check("bad")


async def test_checks_that_take_too_long_are_unhealthy() -> None:
    async def slow() -> t.HealthCheckResult:
        await asyncio.sleep(60)
        raise AssertionError

    checker = t.HealthChecker()
    checker.register("slow", slow)
    assert (await checker.check_all(timeout=0.01)).checks[0].name == "_timeout"


def test_a_tracker_of_the_applications_own_knows_what_it_is_told() -> None:
    tracker = t.ProviderHealthTracker(window_size=4, unhealthy_threshold=0.5, degraded_threshold=0.25)
    assert tracker.get_status("openai") is t.HealthStatus.UNKNOWN
    for _ in range(4):
        tracker.record_success("openai")
    assert tracker.get_status("openai") is t.HealthStatus.HEALTHY
    tracker.record_failure("openai", "rate_limited")
    assert (tracker.get_status("openai"), tracker.get_error_rate("openai")) == (t.HealthStatus.DEGRADED, 0.25)
    assert tracker.get_details("openai")["last_error"] == "rate_limited"
    tracker.reset("openai")
    assert tracker.get_all_providers() == []


# --- feedback ---


async def test_feedback_goes_to_the_sink_that_was_set() -> None:
    sink, before = t.InMemoryFeedbackSink(max_events=2), t.get_feedback_sink()
    t.set_feedback_sink(t.CompositeFeedbackSink([sink, t.NoopFeedbackSink()]))
    reported: list[t.FeedbackEvent] = [t.RatingFeedback("a", 5), t.ThumbsFeedback("b", True), t.TextFeedback("b", "x")]
    for event in reported:
        await t.report_feedback(event)
    t.set_feedback_sink(before)
    assert sink.get_events() == reported[1:]
    assert sink.get_events_by_request("b") == reported[1:]
    assert sink.get_events_by_type(t.FeedbackType.THUMBS) == [reported[1]]
    assert reported[0].to_dict()["type"] == "rating"


async def test_without_a_sink_feedback_is_discarded() -> None:
    before = t.get_feedback_sink()
    t.set_feedback_sink(None)  # type: ignore[arg-type]
    assert await t.report_feedback(t.StopFeedback("a")) is None  # type: ignore[func-returns-value]
    assert isinstance(t.get_feedback_sink(), t.NoopFeedbackSink)
    t.set_feedback_sink(before)
