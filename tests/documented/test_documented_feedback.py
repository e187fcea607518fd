"""``FeedbackCollector``: a rating is in the trace of the call that it rates, from wherever it comes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ai_lib_python import AiClient
from ai_lib_python.telemetry import (
    StopFeedback,
    report_feedback,
)
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import (
    NonRecordingSpan,
    NoOpTracerProvider,
    SpanContext,
    TraceFlags,
    format_span_id,
    format_trace_id,
    use_span,
)
from rated import NOWHERE, RATED, evaluation, place, rated_call

from opentelemetry_instrumentation_ailib import AiLibInstrumentor, FeedbackCollector, FeedbackResult
from opentelemetry_instrumentation_ailib.documented import feedback as module
from provider import body, completion, delta, events, provider
from receiver import receiver
from recorder import Recorder

INSTRUMENT = str(Path(sys.executable).with_name("opentelemetry-instrument"))


# --- where it goes ---


async def test_a_rating_is_in_the_trace_of_its_call(instrumented: Recorder) -> None:
    stats = await rated_call()
    found = FeedbackCollector().record(request_id=stats.request_id, rating=4, comment="Helpful")
    assert found is FeedbackResult.RECORDED
    assert evaluation(instrumented) == (
        place(instrumented),
        {**RATED, "gen_ai.response.id": "chatcmpl-1", "ai_lib.request.id": stats.request_id},
    )
    assert instrumented.points("ai_lib.feedback") == [({"type": "rating"}, 1)]
    assert instrumented.sums("ai_lib.feedback.score") == [({"type": "rating"}, 0.75)]
    assert instrumented.bounds("ai_lib.feedback.score") == tuple(number / 10 for number in range(11))


async def test_its_exemplars_lead_to_the_call(instrumented: Recorder) -> None:
    stats = await rated_call()
    FeedbackCollector().record(request_id=stats.request_id, rating=4)
    (point,) = instrumented._metrics()["ai_lib.feedback.score"].data.data_points
    (exemplar,) = point.exemplars
    assert (format_trace_id(exemplar.trace_id), format_span_id(exemplar.span_id)) == place(instrumented)


async def test_it_is_not_in_the_trace_of_the_request_that_brings_it(instrumented: Recorder) -> None:
    stats = await rated_call()
    with instrumented.tracer_provider.get_tracer("shop").start_as_current_span("POST /feedback"):
        FeedbackCollector().record(request_id=stats.request_id, rating=4)
    assert evaluation(instrumented)[0] == place(instrumented)


async def test_a_stream_can_be_rated_while_it_runs(instrumented: Recorder) -> None:
    async with provider(events(delta("Hel"), delta("lo", finish="stop"))) as server:
        client = await AiClient.create("openai/gpt-4o", base_url=server.base_url)
        stream, stats = await client.chat().user("Hello?").stream_with_stats()
        async for _ in stream:
            await report_feedback(StopFeedback(stats.client_request_id, tokens_generated=1))
            break
        await stream.aclose()
        await client.close()
    where, attributes = evaluation(instrumented)
    assert where == place(instrumented)
    assert attributes == {"gen_ai.evaluation.name": "stop", "ai_lib.request.id": stats.client_request_id}


async def test_a_call_that_is_not_known_leaves_it_outside_of_any_trace(instrumented: Recorder) -> None:
    with instrumented.tracer_provider.get_tracer("shop").start_as_current_span("POST /feedback"):
        found = FeedbackCollector().record(request_id="unknown", rating=4)
    assert found is FeedbackResult.UNLINKED
    assert evaluation(instrumented) == (NOWHERE, {**RATED, "ai_lib.request.id": "unknown"})
    assert instrumented.points("ai_lib.feedback") == [({"type": "rating"}, 1)]


@pytest.mark.parametrize("request_id", [None, "", 7, ["x"]])
async def test_an_id_that_is_none_is_not_known(request_id: Any, instrumented: Recorder) -> None:
    await rated_call()
    assert FeedbackCollector().record(request_id=request_id, rating=4) is FeedbackResult.UNLINKED
    assert evaluation(instrumented) == (NOWHERE, RATED)


async def test_the_oldest_call_is_forgotten_first(instrumented: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CALLS", 2)
    calls = [await rated_call() for _ in range(3)]
    found = [FeedbackCollector().record(request_id=stats.request_id, rating=4) for stats in calls]
    assert found == [FeedbackResult.UNLINKED, FeedbackResult.RECORDED, FeedbackResult.RECORDED]


async def test_of_a_call_that_nobody_heard_it_tells_no_credential(recorder: Recorder) -> None:
    """Where events alone are exported, there is no span of the call, and the provider's id is all that is known."""
    remote = SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    unheard = {"tracer_provider": NoOpTracerProvider(), "meter_provider": NoOpMeterProvider()}
    AiLibInstrumentor().instrument(**{**recorder.providers, **unheard})
    with use_span(NonRecordingSpan(remote)):
        stats = await rated_call(body(completion(id="resp-secret-of-openai")))
    request_id = stats.request_id
    FeedbackCollector().record(request_id=request_id, rating=4)
    AiLibInstrumentor().uninstrument()
    assert evaluation(recorder) == (
        (f"{0xABC:032x}", f"{0xDEF:016x}"),
        {**RATED, "gen_ai.response.id": "resp-***REDACTED***", "ai_lib.request.id": request_id},
    )


# --- by traceparent ---


async def test_a_traceparent_leads_to_the_call_when_its_id_is_forgotten(
    instrumented: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CALLS", 0)
    stats = await rated_call()
    found = FeedbackCollector().record(request_id=stats.request_id, rating=4, traceparent=stats.traceparent)
    assert found is FeedbackResult.RECORDED
    assert evaluation(instrumented) == (place(instrumented), {**RATED, "ai_lib.request.id": stats.request_id})


@pytest.mark.parametrize("traceparent", ["", "nonsense", f"00-{'0' * 32}-{'0' * 16}-01", 7])
async def test_a_traceparent_that_is_none_leaves_it_to_the_id(traceparent: Any, instrumented: Recorder) -> None:
    stats = await rated_call()
    found = FeedbackCollector().record(request_id=stats.request_id, rating=4, traceparent=traceparent)
    assert (found, evaluation(instrumented)[0]) == (FeedbackResult.RECORDED, place(instrumented))


OTHER_PROCESS = """
import sys
from ai_lib_python.telemetry import FeedbackCollector
print(FeedbackCollector().record(request_id=sys.argv[1], rating=2, traceparent=sys.argv[2]).value)
"""


async def test_feedback_recorded_in_another_process_joins_the_trace(instrumented: Recorder) -> None:
    stats = await rated_call()
    with receiver() as received:
        done = await asyncio.to_thread(
            subprocess.run,
            [INSTRUMENT, sys.executable, "-c", OTHER_PROCESS, stats.request_id, stats.traceparent],
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("OTEL_")},
                "OTEL_EXPORTER_OTLP_ENDPOINT": received.endpoint,
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                # Since Python 3.12 its handler cannot be flushed at the end of a process, and says so.
                "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "logging",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "recorded\n", "")
    (log,) = received.logs
    assert (log.event_name, (log.trace_id, log.span_id)) == ("gen_ai.evaluation.result", place(instrumented))
    assert log.attributes["gen_ai.evaluation.score.value"] == 0.25


# --- not instrumented ---


async def test_where_nothing_is_instrumented_nothing_is_recorded(recorder: Recorder) -> None:
    AiLibInstrumentor().instrument(**recorder.providers)
    from ai_lib_python.telemetry import FeedbackCollector as Added  # type: ignore[attr-defined]

    collector = Added()
    AiLibInstrumentor().uninstrument()
    assert Added is FeedbackCollector
    assert collector.record(request_id="unknown", rating=4) is FeedbackResult.INACTIVE
    assert recorder.events() == []
    with pytest.raises(ImportError):
        from ai_lib_python.telemetry import FeedbackCollector as Gone  # type: ignore[attr-defined] # noqa: F401
