"""Chat calls over a socket: every span and every metric point, exactly."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from conftest import client
from provider import body, completion, delta, events, provider
from recorder import Recorder

OPERATION = "chat gpt-4o"
LABELS = {"provider": "openai", "model": "gpt-4o", "operation": "chat"}
ADDRESS = "127.0.0.1"


def port(base_url: str) -> int:
    return int(base_url.rsplit(":", 1)[1].split("/")[0])


def transport(base_url: str, **more: Any) -> dict[str, Any]:
    return {
        "ai_lib.stage": "http.transport",
        "http.request.method": "POST",
        "url.path": "/v1/chat/completions",
        "server.address": ADDRESS,
        "server.port": port(base_url),
        **more,
    }


def operation(base_url: str, **more: Any) -> dict[str, Any]:
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "server.address": ADDRESS,
        "server.port": port(base_url),
        "ai_lib.provider.id": "openai",
        "ai_lib.attempts": 1,
        **more,
    }


async def test_a_call_is_an_operation_span_with_its_stages(instrumented: Recorder) -> None:
    async with provider(body(completion(), headers={"x-request-id": "req-1"})) as server:
        ai = await client(base_url=server.base_url)
        response, stats = await (
            ai.chat().system("Be brief").user("Hello?").temperature(0.5).max_tokens(64).top_p(0.9).stop(["END"])
        ).execute_with_stats()
        await ai.close()

    assert response.content == "Hello"
    load = instrumented.span("ai_lib.protocol.load")
    assert load.parent is None
    assert load.kind is SpanKind.INTERNAL
    assert dict(load.attributes or {}) == {
        "ai_lib.stage": "protocol.load",
        "ai_lib.protocol.source": "local",
        "ai_lib.protocol.version": "1.5",
    }
    span = instrumented.span(OPERATION)
    assert span.parent is None
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert span.events == ()
    assert dict(span.attributes or {}) == operation(
        server.base_url,
        **{
            "gen_ai.request.temperature": 0.5,
            "gen_ai.request.max_tokens": 64,
            "gen_ai.request.top_p": 0.9,
            "gen_ai.request.stop_sequences": ("END",),
            "gen_ai.response.id": "chatcmpl-1",
            "gen_ai.response.model": "gpt-4o-2024-08-06",
            "gen_ai.response.finish_reasons": ("stop",),
            "gen_ai.usage.input_tokens": 12,
            "gen_ai.usage.output_tokens": 5,
            "ai_lib.request.id": stats.client_request_id,
        },
    )
    compiled, sent, parsed = instrumented.children(span)
    assert [compiled.name, sent.name, parsed.name] == [
        "ai_lib.request.compile",
        "ai_lib.http.transport",
        "ai_lib.pipeline.process",
    ]
    assert {child.kind for child in (compiled, sent, parsed)} == {SpanKind.INTERNAL}
    assert dict(compiled.attributes or {}) == {"ai_lib.stage": "request.compile"}
    assert dict(sent.attributes or {}) == transport(
        server.base_url, **{"http.response.status_code": 200, "ai_lib.provider.request_id": "req-1"}
    )
    assert dict(parsed.attributes or {}) == {"ai_lib.stage": "pipeline.process"}
    assert compiled.end_time <= sent.start_time <= sent.end_time <= parsed.start_time  # type: ignore[operator]
    assert len(instrumented.spans()) == 5


async def test_a_call_is_measured_once_in_every_instrument(instrumented: Recorder) -> None:
    usage = {
        "prompt_tokens": 12,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    async with provider(body(completion(usage=usage))) as server:
        ai = await client(base_url=server.base_url)
        await ai.chat().user("Hello?").execute()
        await ai.close()

    gen_ai = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.model": "gpt-4o-2024-08-06",
        "server.address": ADDRESS,
        "server.port": port(server.base_url),
    }
    assert instrumented.metric_names() == [
        "ai_lib.attempts",
        "ai_lib.provider.health",
        "ai_lib.request.duration",
        "ai_lib.requests",
        "ai_lib.requests.in_flight",
        "ai_lib.stage.duration",
        "ai_lib.token.details",
        "ai_lib.tokens",
        "gen_ai.client.operation.duration",
        "gen_ai.client.token.usage",
    ]
    assert instrumented.points("ai_lib.requests") == [(LABELS, 1)]
    assert instrumented.points("ai_lib.request.duration") == [(LABELS, 1)]
    assert instrumented.points("ai_lib.requests.in_flight") == [(LABELS, 0)]
    assert instrumented.points("ai_lib.tokens") == [
        ({**LABELS, "type": "input"}, 12),
        ({**LABELS, "type": "output"}, 5),
    ]
    details = {"provider": "openai", "model": "gpt-4o"}
    assert instrumented.points("ai_lib.token.details") == [
        ({**details, "type": "cache_read"}, 8),
        ({**details, "type": "reasoning"}, 3),
    ]
    assert instrumented.points("ai_lib.stage.duration") == [
        ({"provider": "openai", "model": "gpt-4o", "stage": "protocol.load"}, 1),
        ({**LABELS, "stage": "request.compile"}, 1),
        ({**LABELS, "stage": "http.transport"}, 1),
        ({**LABELS, "stage": "pipeline.process"}, 1),
    ]
    assert instrumented.points("gen_ai.client.operation.duration") == [(gen_ai, 1)]
    assert instrumented.sums("gen_ai.client.token.usage") == [
        ({**gen_ai, "gen_ai.token.type": "input"}, 12),
        ({**gen_ai, "gen_ai.token.type": "output"}, 5),
    ]


async def test_anthropics_cached_tokens_count_as_input(instrumented: Recorder, mock: str) -> None:
    ai = await client("anthropic/claude-sonnet", base_url=mock)
    await ai.chat().user("Hello?").execute()
    await ai.close()

    attributes = dict(instrumented.span("chat claude-sonnet").attributes or {})
    assert attributes["gen_ai.usage.input_tokens"] == 16  # 10, and 2 read from the cache, and 4 written to it
    assert attributes["gen_ai.usage.cache_read.input_tokens"] == 2
    assert attributes["gen_ai.usage.cache_write.input_tokens"] == 4
    assert attributes["gen_ai.response.finish_reasons"] == ("end_turn",)
    assert instrumented.counts("ai_lib.token.details", "type") == {"cache_read": 2, "cache_write": 4}


async def test_geminis_usage_and_name_are_understood(instrumented: Recorder) -> None:
    answer = {
        "candidates": [{"content": {"parts": [{"text": "Hi"}]}}],
        "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 2, "thoughtsTokenCount": 30},
        "modelVersion": "gemini-2.5-flash",
        "responseId": "r-1",
    }
    async with provider(body(answer)) as server:
        ai = await client("gemini/gemini-2.5-flash", base_url=server.base_url)
        response = await ai.chat().user("Hello?").execute()
        await ai.close()

    assert response.content == "Hi"
    attributes = dict(instrumented.span("chat gemini-2.5-flash").attributes or {})
    assert attributes["gen_ai.provider.name"] == "gcp.gemini"
    assert attributes["gen_ai.response.id"] == "r-1"
    assert attributes["gen_ai.response.model"] == "gemini-2.5-flash"
    assert attributes["gen_ai.usage.input_tokens"] == 7
    assert attributes["gen_ai.usage.output_tokens"] == 32
    assert attributes["gen_ai.usage.reasoning.output_tokens"] == 30
    assert instrumented.counts("ai_lib.requests", "provider") == {"gemini": 1}


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request"), (401, "authentication"), (404, "not_found"), (429, "rate_limited"), (503, "overloaded")],
)
async def test_a_refused_call_names_error_and_stage(instrumented: Recorder, status: int, kind: str) -> None:
    async with provider(body({"error": {"message": "No."}}, status, {"x-request-id": "req-9"})) as server:
        ai = await client(base_url=server.base_url)
        with pytest.raises(Exception, match="No"):
            await ai.chat().user("Hello?").execute()
        await ai.close()

    span = instrumented.span(OPERATION)
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "No. [remote]"
    assert span.events == ()
    assert dict(span.attributes or {}) == operation(server.base_url, **{"error.type": kind})
    sent = instrumented.span("ai_lib.http.transport")
    assert sent.status.status_code is StatusCode.ERROR
    assert dict(sent.attributes or {}) == transport(
        server.base_url,
        **{"http.response.status_code": status, "ai_lib.provider.request_id": "req-9", "error.type": kind},
    )
    assert instrumented.points("ai_lib.errors") == [({**LABELS, "type": kind, "stage": "http.transport"}, 1)]
    assert instrumented.points("ai_lib.requests") == [(LABELS, 1)]
    assert instrumented.points("ai_lib.requests.in_flight") == [(LABELS, 0)]
    assert instrumented.counts("gen_ai.client.operation.duration", "error.type") == {kind: 1}


async def test_a_body_that_is_no_json_fails_in_the_pipeline(instrumented: Recorder) -> None:
    async with provider(body(b"<html>Bad gateway</html>")) as server:
        ai = await client(base_url=server.base_url)
        with pytest.raises(ValueError, match="Expecting value"):
            await ai.chat().user("Hello?").execute()
        await ai.close()

    assert instrumented.points("ai_lib.errors") == [
        ({**LABELS, "type": "json.decoder.JSONDecodeError", "stage": "pipeline.process"}, 1)
    ]
    parsed = instrumented.span("ai_lib.pipeline.process")
    assert parsed.status.status_code is StatusCode.ERROR
    assert dict(parsed.attributes or {}) == {
        "ai_lib.stage": "pipeline.process",
        "error.type": "json.decoder.JSONDecodeError",
    }
    assert instrumented.span("ai_lib.http.transport").status.status_code is StatusCode.UNSET


async def test_a_connection_refused_fails_in_the_transport(instrumented: Recorder) -> None:
    ai = await client(base_url="http://127.0.0.1:1/v1")
    with pytest.raises(Exception, match="Connection failed"):
        await ai.chat().user("Hello?").execute()
    await ai.close()

    kind = "ai_lib_python.errors.base.TransportError"
    assert instrumented.points("ai_lib.errors") == [({**LABELS, "type": kind, "stage": "http.transport"}, 1)]
    assert dict(instrumented.span("ai_lib.http.transport").attributes or {}) == transport(
        "http://127.0.0.1:1/v1", **{"error.type": kind}
    )


async def test_a_timeout_is_a_timeout(instrumented: Recorder) -> None:
    async with provider([30.0]) as server:
        ai = await client(base_url=server.base_url, timeout=0.05)
        with pytest.raises(Exception, match="timed out"):
            await ai.chat().user("Hello?").execute()
        await ai.close()

    assert instrumented.points("ai_lib.errors") == [({**LABELS, "type": "timeout", "stage": "http.transport"}, 1)]


async def test_a_cancelled_call_is_cancelled(instrumented: Recorder) -> None:
    async with provider([30.0]) as server:
        ai = await client(base_url=server.base_url)
        task = asyncio.ensure_future(ai.chat().user("Hello?").execute())
        while not server.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await ai.close()

    assert instrumented.points("ai_lib.errors") == [({**LABELS, "type": "cancelled", "stage": "http.transport"}, 1)]
    assert instrumented.points("ai_lib.requests.in_flight") == [(LABELS, 0)]


async def test_an_error_while_compiling_counts_there(instrumented: Recorder) -> None:
    ai = await client(base_url="http://127.0.0.1:1/v1")
    with pytest.raises(AttributeError, match="role"):
        await ai.chat().messages(["not a message"]).execute()
    await ai.close()

    assert instrumented.points("ai_lib.errors") == [
        ({**LABELS, "type": "AttributeError", "stage": "request.compile"}, 1)
    ]
    compiled = instrumented.span("ai_lib.request.compile")
    assert dict(compiled.attributes or {}) == {"ai_lib.stage": "request.compile", "error.type": "AttributeError"}
    assert dict(instrumented.span(OPERATION).attributes or {})["ai_lib.attempts"] == 0


async def test_a_manifest_that_does_not_load_is_an_error_of_its_stage_and_no_request(instrumented: Recorder) -> None:
    from ai_lib_python.protocol import ProtocolLoader

    with pytest.raises(Exception, match="nowhere"):
        await ProtocolLoader(fallback_to_github=False).load_model("nowhere/m")

    span = instrumented.span("ai_lib.protocol.load")
    assert span.status.status_code is StatusCode.ERROR
    assert dict(span.attributes or {}) == {
        "ai_lib.stage": "protocol.load",
        "error.type": "ai_lib_python.errors.base.ProtocolError",
    }
    assert instrumented.metric_names() == ["ai_lib.stage.duration"]


async def test_a_second_load_comes_from_the_cache(instrumented: Recorder) -> None:
    from ai_lib_python.protocol import ProtocolLoader

    loader = ProtocolLoader()
    await loader.load_provider("openai")
    await loader.load_provider("openai")

    sources = [(span.attributes or {})["ai_lib.protocol.source"] for span in instrumented.spans()]
    assert sources == ["local", "cache"]
    assert instrumented.points("ai_lib.stage.duration") == [({"provider": "openai", "stage": "protocol.load"}, 2)]


async def test_concurrent_calls_on_one_client_keep_their_stages(instrumented: Recorder, mock: str) -> None:
    ai = await client(base_url=mock)
    instrumented.clear()
    await asyncio.gather(*(ai.chat().user(f"{n}").execute() for n in range(10)))
    await ai.close()

    operations = [span for span in instrumented.spans() if span.name == OPERATION]
    assert len(operations) == 10
    assert len({span.context.trace_id for span in operations}) == 10
    for span in operations:
        assert [child.name for child in instrumented.children(span)] == [
            "ai_lib.request.compile",
            "ai_lib.http.transport",
            "ai_lib.pipeline.process",
        ]
    assert instrumented.points("ai_lib.requests") == [(LABELS, 10)]
    assert instrumented.points("ai_lib.requests.in_flight") == [(LABELS, 0)]


async def test_a_call_is_a_child_of_the_span_around_it(instrumented: Recorder, mock: str) -> None:
    tracer = instrumented.tracer_provider.get_tracer("app")
    with tracer.start_as_current_span("handler"):
        ai = await client(base_url=mock)
        await ai.chat().user("Hello?").execute()
        await ai.close()

    handler = instrumented.span("handler")
    assert [child.name for child in instrumented.children(handler)] == ["ai_lib.protocol.load", OPERATION]


async def test_a_call_inside_a_call_is_an_operation_of_its_own(instrumented: Recorder, mock: str) -> None:
    inner = await client("anthropic/claude-sonnet", base_url=mock)
    outer = await client(base_url=mock)
    post = outer._transport.post

    async def ask_first(*args: Any, **kwargs: Any) -> Any:
        await inner.chat().user("Which tool?").execute()
        return await post(*args, **kwargs)

    outer._transport.post = ask_first
    await outer.chat().user("Hello?").execute()
    await inner.close()
    await outer.close()

    span = instrumented.span(OPERATION)
    assert [child.name for child in instrumented.children(span)] == [
        "ai_lib.request.compile",
        "chat claude-sonnet",
        "ai_lib.http.transport",
        "ai_lib.pipeline.process",
    ]
    assert instrumented.counts("ai_lib.requests", "model") == {"gpt-4o": 1, "claude-sonnet": 1}
    assert instrumented.counts("gen_ai.client.operation.duration", "gen_ai.request.model") == {
        "gpt-4o": 1,
        "claude-sonnet": 1,
    }


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # The runtime never closes the transport of a fallback model.
async def test_after_a_fallback_metrics_name_the_model_that_answered(instrumented: Recorder, mock: str) -> None:
    from ai_lib_python import AiClient

    ai = await (
        AiClient.builder().model("throttled/gpt-4o").with_fallbacks(["openai/gpt-4o-mini"]).base_url(mock).build()
    )
    instrumented.clear()
    await ai.chat().user("Hello?").execute()
    await ai.close()
    gc.collect()

    span = instrumented.span(OPERATION)
    assert [child.name for child in instrumented.children(span)] == [
        "ai_lib.request.compile",
        "ai_lib.http.transport",
        "ai_lib.protocol.load",
        "ai_lib.request.compile",
        "ai_lib.http.transport",
        "ai_lib.pipeline.process",
    ]
    attributes = dict(span.attributes or {})
    assert span.status.status_code is StatusCode.UNSET
    assert attributes["ai_lib.provider.id"] == "throttled"
    assert attributes["gen_ai.request.model"] == "gpt-4o"
    assert attributes["ai_lib.attempts"] == 2
    assert attributes["ai_lib.fallback.count"] == 1
    assert attributes["ai_lib.fallback.model"] == "gpt-4o-mini"
    first, second = (child for child in instrumented.children(span) if child.name == "ai_lib.http.transport")
    assert "http.request.resend_count" not in (first.attributes or {})
    assert (second.attributes or {})["http.request.resend_count"] == 1
    answered = {"provider": "openai", "model": "gpt-4o-mini", "operation": "chat"}
    assert instrumented.points("ai_lib.requests") == [(answered, 1)]
    assert instrumented.points("ai_lib.errors") == []
    assert instrumented.points("ai_lib.requests.in_flight") == [
        ({**answered, "provider": "throttled", "model": "gpt-4o"}, 0)
    ]


async def test_a_breaker_shows_its_state_and_its_rejections_never_left_the_client(
    instrumented: Recorder, mock: str
) -> None:
    from ai_lib_python import AiClient
    from ai_lib_python.resilience import CircuitBreakerConfig, CircuitOpenError

    breaker = CircuitBreakerConfig(failure_threshold=1, cooldown_seconds=60)
    ai = await AiClient.builder().model("throttled/gpt-4o").with_circuit_breaker(breaker).base_url(mock).build()
    with pytest.raises(Exception, match="Rate limit"):
        await ai.chat().user("Hello?").execute()
    instrumented.clear()
    with pytest.raises(CircuitOpenError):
        await ai.chat().user("Hello?").execute()
    await ai.close()

    (span,) = instrumented.spans()
    attributes = dict(span.attributes or {})
    assert attributes["error.type"] == "circuit_open"
    assert attributes["ai_lib.circuit_breaker.state"] == "open"
    assert attributes["ai_lib.attempts"] == 0
    assert instrumented.counts("ai_lib.errors", "stage") == {"http.transport": 1, "resilience": 1}


async def test_a_sampled_out_call_is_still_measured(mock: str) -> None:
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    from opentelemetry_instrumentation_ailib import AiLibInstrumentor

    recorder = Recorder(sampler=ALWAYS_OFF)
    AiLibInstrumentor().instrument(**recorder.providers)
    try:
        ai = await client(base_url=mock)
        await ai.chat().user("Hello?").execute()
        await ai.close()
    finally:
        AiLibInstrumentor().uninstrument()

    assert recorder.spans() == []
    assert recorder.points("ai_lib.requests") == [(LABELS, 1)]
    assert recorder.counts("ai_lib.tokens", "type") == {"input": 10, "output": 4}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_is_not_recorded_has_no_stages_either(stream: bool) -> None:
    """Whatever the sampler would say to them: without their call nobody could make sense of them."""
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler, SamplingResult

    from opentelemetry_instrumentation_ailib import AiLibInstrumentor

    class AllButCalls(Sampler):
        def should_sample(  # type: ignore[override]
            self, parent: Any, trace_id: int, name: str, *args: Any, **kwargs: Any
        ) -> SamplingResult:
            choice = ALWAYS_OFF if name == OPERATION else ALWAYS_ON
            return choice.should_sample(parent, trace_id, name, *args, **kwargs)

        def get_description(self) -> str:
            return "all but calls"

    recorder = Recorder(sampler=AllButCalls())
    AiLibInstrumentor().instrument(**recorder.providers)
    async with provider(events(delta("Hello"), delta(finish="stop")) if stream else body(completion())) as server:
        ai = await client(base_url=server.base_url)
        request = ai.chat().user("Hello?")
        _ = [event async for event in request.stream()] if stream else await request.execute()
        await ai.close()
    AiLibInstrumentor().uninstrument()

    assert recorder.names() == ["ai_lib.protocol.load"]  # Of the client, which is no part of a call.
    stages = {"request.compile", "http.transport", "pipeline.process", *(["event.map"] if stream else [])}
    assert recorder.counts("ai_lib.stage.duration", "stage") == dict.fromkeys({*stages, "protocol.load"}, 1)


async def test_a_sampler_sees_operation_provider_model_and_server_and_a_hook_all_of_the_request(mock: str) -> None:
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler, SamplingResult

    from opentelemetry_instrumentation_ailib import AiLibInstrumentor

    seen: dict[str, dict[str, Any]] = {}

    class Spy(Sampler):
        def should_sample(  # type: ignore[override]
            self, parent: Any, trace_id: int, name: str, *args: Any, **kwargs: Any
        ) -> SamplingResult:
            seen[name] = dict(kwargs.get("attributes") or args[1])
            return ALWAYS_ON.should_sample(parent, trace_id, name, *args, **kwargs)

        def get_description(self) -> str:
            return "spy"

    def hook(span: Any, request: Any) -> None:
        seen["hook"] = dict(span.attributes)
        span.set_attribute("gen_ai.request.temperature", 0.5)

    recorder = Recorder(sampler=Spy())
    AiLibInstrumentor().instrument(**recorder.providers, request_hook=hook)
    try:
        ai = await client(base_url=mock)
        await ai.chat().user("Hello?").temperature(0.7).execute()
        await ai.close()
    finally:
        AiLibInstrumentor().uninstrument()

    assert seen[OPERATION] == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "server.address": ADDRESS,
        "server.port": port(mock),
    }
    assert seen["hook"] == {**seen[OPERATION], "gen_ai.request.temperature": 0.7}
    (span,) = (span for span in recorder.spans() if span.name == OPERATION)
    assert (span.attributes or {})["gen_ai.request.temperature"] == 0.5, "what a hook sets stays"
