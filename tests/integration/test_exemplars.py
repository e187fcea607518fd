"""In which context calls are measured: exemplars lead to the span of the call, where there is one."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import baggage
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.metrics import ExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    NoOpTracerProvider,
    SpanContext,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

from conftest import client
from opentelemetry_instrumentation_ailib import AiLibInstrumentor
from provider import body, completion, delta, events, provider
from recorder import Recorder

OPERATION = "chat gpt-4o"
OUTSIDE = {"7": baggage.set_baggage("user", "7", Context()), None: Context()}


class Spy(ExemplarFilter):
    """A filter that takes nothing, and knows the context of each measurement."""

    def __init__(self) -> None:
        self.contexts: list[Context] = []

    def should_sample(self, value: float, time_unix_nano: int, attributes: Any, context: Context) -> bool:
        """Note the context."""
        self.contexts.append(context)
        return False


async def measured(
    sampler: Sampler, outside: Context, *, stream: bool, **providers: Any
) -> tuple[Recorder, list[Context]]:
    """Make a call in a context, and return the contexts of its measurements."""
    recorder, spy = Recorder(sampler=sampler), Spy()
    meters = MeterProvider([InMemoryMetricReader()], exemplar_filter=spy)
    async with provider(events(delta("Hello"), delta(finish="stop")) if stream else body(completion())) as server:
        ai = await client(base_url=server.base_url)
        AiLibInstrumentor().instrument(**{**recorder.providers, "meter_provider": meters, **providers})
        token = attach(outside)
        try:
            request = ai.chat().user("Hello?")
            _ = [event async for event in request.stream()] if stream else await request.execute()
        finally:
            detach(token)
            AiLibInstrumentor().uninstrument()
        await ai.close()
    meters.shutdown()
    return recorder, spy.contexts


@pytest.mark.parametrize("user", ["7", None])
@pytest.mark.parametrize(("stream", "measurements"), [(False, 13), (True, 15)])
async def test_every_measurement_of_a_sampled_call_has_its_span(
    stream: bool, measurements: int, user: str | None
) -> None:
    recorder, contexts = await measured(ALWAYS_ON, OUTSIDE[user], stream=stream)
    assert [get_current_span(context).get_span_context() for context in contexts] == (
        [recorder.span(OPERATION).context] * measurements
    )
    assert [baggage.get_baggage("user", context) for context in contexts] == [user] * measurements


@pytest.mark.parametrize("user", ["7", None])
@pytest.mark.parametrize(("stream", "measurements"), [(False, 13), (True, 15)])
async def test_no_measurement_of_an_unsampled_call_has_a_span(
    stream: bool, measurements: int, user: str | None
) -> None:
    """Where there is one, the SDK asks with each of them whether it is sampled, which takes longer than to see none."""
    recorder, contexts = await measured(ALWAYS_OFF, OUTSIDE[user], stream=stream)
    assert recorder.spans() == []
    assert [get_current_span(context).get_span_context().is_valid for context in contexts] == [False] * measurements
    assert [baggage.get_baggage("user", context) for context in contexts] == [user] * measurements


@pytest.mark.parametrize("sampled", [True, False])
@pytest.mark.parametrize(("stream", "measurements"), [(False, 13), (True, 15)])
async def test_every_measurement_where_nobody_records_spans_has_the_sampled_one_that_the_call_is_made_in(
    stream: bool, measurements: int, sampled: bool
) -> None:
    """Somebody else records it: another process, or the application with a provider of its own."""
    around = SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(sampled))
    outside = set_span_in_context(NonRecordingSpan(around), OUTSIDE["7"])
    _, contexts = await measured(ALWAYS_ON, outside, stream=stream, tracer_provider=NoOpTracerProvider())
    assert [get_current_span(context).get_span_context() for context in contexts] == (
        [around if sampled else INVALID_SPAN_CONTEXT] * measurements
    )
    assert [baggage.get_baggage("user", context) for context in contexts] == ["7"] * measurements


async def test_exemplars_lead_to_the_applications_span_where_the_call_has_none(recorder: Recorder) -> None:
    async with provider(body(completion())) as server:
        ai = await client(base_url=server.base_url)
        AiLibInstrumentor().instrument(**{**recorder.providers, "tracer_provider": NoOpTracerProvider()})
        try:
            with recorder.tracer_provider.get_tracer("app").start_as_current_span("request") as request:
                await ai.chat().user("Hello?").execute()
        finally:
            AiLibInstrumentor().uninstrument()
        await ai.close()

    metrics, context = recorder._metrics(), request.get_span_context()
    assert recorder.names() == ["request"]
    for name in ("ai_lib.request.duration", "ai_lib.requests", "gen_ai.client.operation.duration"):
        (point,) = metrics[name].data.data_points
        assert [(exemplar.trace_id, exemplar.span_id) for exemplar in point.exemplars] == [
            (context.trace_id, context.span_id)
        ], name
