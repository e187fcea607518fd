"""``client.signals_snapshot()`` and what the documented API fills in of the call statistics."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, make_dataclass
from typing import Any

import pytest
from ai_lib_python import AiClient, CallStats
from ai_lib_python.errors import AiLibError
from ai_lib_python.resilience import (
    BackpressureConfig,
    CircuitBreakerConfig,
    RateLimiterConfig,
    ResilientConfig,
    RetryConfig,
)
from ai_lib_python.resilience.signals import SignalsSnapshot

from opentelemetry_instrumentation_ailib import AiLibInstrumentor, signals_snapshot
from provider import body, completion, delta, events, provider
from recorder import Recorder

REFUSED = body({"error": {"message": "No."}}, 500)
ANTHROPIC = {
    "id": "msg-1",
    "model": "claude",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 5, "cache_read_input_tokens": 3, "output_tokens": 4},
}


async def built(base_url: str, model: str = "openai/gpt-4o", **resilience: Any) -> Any:
    """Build a client, with an executor if there are arguments for it."""
    builder = AiClient.builder().model(model).base_url(base_url)
    if resilience:
        builder.with_resilience(ResilientConfig(**resilience))
    return await builder.build()


# --- signals_snapshot() ---


@pytest.mark.usefixtures("instrumented")
async def test_a_client_without_resilience_has_no_components() -> None:
    client = await built("http://127.0.0.1:9/v1")
    signals = client.signals_snapshot()
    await client.close()
    assert isinstance(signals, SignalsSnapshot)
    assert (signals.circuit_state, signals.current_inflight) == ("disabled", 0)
    assert (signals.circuit_breaker, signals.rate_limiter, signals.inflight) == (None, None, None)
    assert (signals.provider, signals.model, signals.is_healthy) == ("openai", "openai/gpt-4o", True)


@pytest.mark.usefixtures("instrumented")
async def test_every_component_is_in_the_snapshot() -> None:
    client = await built(
        "http://127.0.0.1:9/v1",
        circuit_breaker=CircuitBreakerConfig(failure_threshold=7),
        rate_limit=RateLimiterConfig.from_rps(10),
        backpressure=BackpressureConfig(max_concurrent=3),
    )
    signals = client.signals_snapshot()
    await client.close()
    assert (signals.circuit_state, signals.current_inflight) == ("closed", 0)
    assert (signals.circuit_breaker.state, signals.circuit_breaker.failure_threshold) == ("closed", 7)
    assert (signals.rate_limiter.max_tokens, signals.rate_limiter.refill_rate) == (15.0, 10)
    assert (signals.inflight.max_concurrent, signals.inflight.available) == (3, 3)
    known = json.loads(json.dumps(signals.to_dict()))
    assert (known["circuit_state"], known["current_inflight"], known["is_healthy"]) == ("closed", 0, True)


@pytest.mark.usefixtures("instrumented")
async def test_what_is_not_limited_is_not_in_the_snapshot() -> None:
    client = await built(
        "http://127.0.0.1:9/v1", rate_limit=RateLimiterConfig.unlimited(), backpressure=BackpressureConfig.unlimited()
    )
    signals = client.signals_snapshot()
    await client.close()
    assert (signals.rate_limiter, signals.inflight, signals.circuit_state) == (None, None, "disabled")


@pytest.mark.usefixtures("instrumented")
async def test_an_open_circuit_and_requests_in_flight_show() -> None:
    async with provider([0.05, *REFUSED]) as server:
        client = await built(
            server.base_url,
            circuit_breaker=CircuitBreakerConfig(failure_threshold=1, cooldown_seconds=60),
            backpressure=BackpressureConfig(max_concurrent=2),
        )
        call = asyncio.ensure_future(client.chat().user("Hello?").execute())
        while not server.requests:
            await asyncio.sleep(0)
        during = client.signals_snapshot()
        with pytest.raises(AiLibError):
            await call
        after = client.signals_snapshot()
        await client.close()
    assert (during.circuit_state, during.current_inflight, during.inflight.in_use) == ("closed", 1, 1)
    assert (after.circuit_state, after.current_inflight, after.is_healthy) == ("open", 0, False)


async def test_the_function_needs_no_instrumentation() -> None:
    client = await built("http://127.0.0.1:9/v1")
    assert not hasattr(client, "signals_snapshot")
    assert signals_snapshot(client).circuit_state == client.circuit_state
    await client.close()


# --- call statistics ---


async def test_statistics_lead_to_the_calls_span(instrumented: Recorder) -> None:
    async with provider(body(completion())) as server:
        client = await built(server.base_url)
        _, stats = await client.chat().user("Hello?").execute_with_stats()
        await client.close()
    context = instrumented.span("chat gpt-4o").context
    assert stats.request_id == stats.client_request_id
    assert stats.trace_id == f"{context.trace_id:032x}"
    assert re.fullmatch(f"00-{context.trace_id:032x}-{context.span_id:016x}-0[13]", stats.traceparent)


async def test_a_streams_statistics_lead_to_its_span_from_the_first_event(instrumented: Recorder) -> None:
    async with provider(events(delta("Hel"), delta("lo", finish="stop"))) as server:
        client = await built(server.base_url)
        stream, stats = await client.chat().user("Hello?").stream_with_stats()
        assert (stats.trace_id, stats.traceparent) == (None, None)
        seen = [stats.traceparent async for _ in stream]
        await client.close()
    context = instrumented.span("chat gpt-4o").context
    assert len(seen) >= 2
    assert all(value.startswith(f"00-{context.trace_id:032x}-{context.span_id:016x}") for value in seen)


class Asking:
    """A transport of the user's own, which reads a stream of another client's before it sends.

    Args:
        transport: The runtime's.
        other: The other client.
    """

    def __init__(self, transport: Any, other: Any) -> None:
        self._transport, self._other, self._base_url = transport, other, transport._base_url

    @asynccontextmanager
    async def stream_post(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async for _ in self._other.chat().user("Is it safe?").stream():
            pass
        async with self._transport.stream_post(*args, **kwargs) as response:
            yield response


async def test_a_stream_that_is_read_for_another_leaves_its_statistics_alone(instrumented: Recorder) -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 9}}
    async with provider(events(delta("Yes", finish="stop"), usage), events(delta("Hello", finish="stop"))) as server:
        client, other = await built(server.base_url, "openai/gpt-4"), await built(server.base_url)
        sender, client._transport = client._transport, Asking(client._transport, other)
        stream, stats = await client.chat().user("Hello?").stream_with_stats()
        async for _ in stream:
            pass
        await sender.close()
        await other.close()
    assert (stats.prompt_tokens, stats.completion_tokens) == (None, None)
    assert stats.traceparent[36:52] == f"{instrumented.span('chat gpt-4').context.span_id:016x}"
    assert "ai_lib.request.id" not in (instrumented.span("chat gpt-4o").attributes or {})


async def test_without_a_trace_there_are_no_ids() -> None:
    AiLibInstrumentor().instrument()
    try:
        async with provider(body(completion())) as server:
            client = await built(server.base_url)
            _, stats = await client.chat().user("Hello?").execute_with_stats()
            await client.close()
    finally:
        AiLibInstrumentor().uninstrument()
    assert stats.client_request_id
    assert not hasattr(stats, "traceparent")


@pytest.mark.usefixtures("instrumented")
def test_statistics_of_the_applications_own_have_no_ids() -> None:
    stats = CallStats()
    assert (stats.request_id, stats.trace_id, stats.traceparent) == (stats.client_request_id, None, None)


@pytest.mark.usefixtures("instrumented")
def test_an_id_that_the_application_sets_stays() -> None:
    stats: Any = CallStats()
    stats.request_id = "web-42"
    assert stats.request_id == "web-42"


@pytest.mark.usefixtures("instrumented")
def test_the_id_is_no_default_of_a_field_in_a_subclass_of_the_applications() -> None:
    @dataclass(kw_only=True)
    class Stats(CallStats):
        request_id: str

    assert Stats(request_id="web-42").request_id == "web-42"
    with pytest.raises(TypeError, match="request_id"):
        Stats()  # type: ignore[call-arg]


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize("name", ["trace_id", "traceparent"])
def test_what_is_not_known_is_no_default_of_such_a_field_either(name: str) -> None:
    stats: Any = make_dataclass("Stats", [(name, str)], bases=(CallStats,), kw_only=True)
    assert getattr(stats(**{name: "own"}), name) == "own"
    with pytest.raises(TypeError, match=name):
        stats()


@pytest.mark.usefixtures("instrumented")
async def test_tokens_of_another_shape_are_filled_in_with_the_cached_ones() -> None:
    async with provider(body(ANTHROPIC)) as server:
        client = await built(server.base_url, "anthropic/claude")
        response, stats = await client.chat().user("Hello?").execute_with_stats()
        await client.close()
    assert (stats.prompt_tokens, stats.completion_tokens, stats.total_tokens) == (8, 4, 12)
    assert (response.prompt_tokens, response.usage) == (None, ANTHROPIC["usage"])
    assert (stats.model, stats.provider) == ("anthropic/claude", "anthropic")


@pytest.mark.usefixtures("instrumented")
async def test_geminis_tokens_are_filled_in() -> None:
    answer = {
        "candidates": [{"content": {"parts": [{"text": "Hello"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 2, "thoughtsTokenCount": 3},
    }
    async with provider(body(answer)) as server:
        client = await built(server.base_url, "gemini/gemini-pro")
        _, stats = await client.chat().user("Hello?").execute_with_stats()
        await client.close()
    assert (stats.prompt_tokens, stats.completion_tokens, stats.total_tokens) == (7, 5, 12)


@pytest.mark.usefixtures("instrumented")
async def test_a_streams_tokens_are_filled_in_when_it_ends(mock: str) -> None:
    client = await built(mock, "anthropic/claude")
    stream, stats = await client.chat().user("Hello?").stream_with_stats()
    async for _ in stream:
        pass
    await client.close()
    assert stats.prompt_tokens is not None
    assert stats.completion_tokens is not None
    assert stats.total_tokens == stats.prompt_tokens + stats.completion_tokens


@pytest.mark.usefixtures("instrumented")
async def test_what_the_runtime_knows_stays() -> None:
    usage = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
    async with provider(body(completion(usage=usage))) as server:
        client = await built(server.base_url)
        _, stats = await client.chat().user("Hello?").execute_with_stats()
        await client.close()
    assert (stats.prompt_tokens, stats.completion_tokens, stats.total_tokens, stats.retry_count) == (12, 5, 17, 0)


@pytest.mark.usefixtures("instrumented")
async def test_what_nobody_knows_stays_empty() -> None:
    answer = completion()
    del answer["usage"]
    async with provider(body(answer)) as server:
        client = await built(server.base_url)
        _, stats = await client.chat().user("Hello?").execute_with_stats()
        await client.close()
    assert (stats.prompt_tokens, stats.completion_tokens, stats.total_tokens) == (None, None, None)


@pytest.mark.usefixtures("instrumented")
async def test_the_retries_made_are_counted() -> None:
    async with provider(REFUSED, REFUSED, body(completion())) as server:
        client = await built(server.base_url, retry=RetryConfig(max_retries=3, min_delay_ms=1))
        _, stats = await client.chat().user("Hello?").execute_with_stats()
        await client.close()
    assert stats.retry_count == 2


async def test_documented_api_false_fills_nothing_in(recorder: Recorder) -> None:
    AiLibInstrumentor().instrument(**recorder.providers, documented_api=False)
    try:
        async with provider(REFUSED, body(ANTHROPIC)) as server:
            retry = RetryConfig(max_retries=1, min_delay_ms=1)
            client = await built(server.base_url, "anthropic/claude", retry=retry)
            _, stats = await client.chat().user("Hello?").execute_with_stats()
            await client.close()
    finally:
        AiLibInstrumentor().uninstrument()
    assert (stats.prompt_tokens, stats.completion_tokens, stats.retry_count) == (None, None, 0)
    assert not {"trace_id", "traceparent"} & set(vars(stats))
    assert (recorder.span("chat claude").attributes or {})["ai_lib.attempts"] == 2
