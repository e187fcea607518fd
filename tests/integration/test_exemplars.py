"""In which context calls are measured: exemplars lead to the span of the call, where there is one."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import baggage
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.metrics import ExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace import get_current_span

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


async def measured(sampler: Sampler, outside: Context, *, stream: bool) -> tuple[Recorder, list[Context]]:
    """Make a call in a context, and return the contexts of its measurements."""
    recorder, spy = Recorder(sampler=sampler), Spy()
    meters = MeterProvider([InMemoryMetricReader()], exemplar_filter=spy)
    async with provider(events(delta("Hello"), delta(finish="stop")) if stream else body(completion())) as server:
        ai = await client(base_url=server.base_url)
        AiLibInstrumentor().instrument(**{**recorder.providers, "meter_provider": meters})
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
