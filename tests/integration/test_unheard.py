"""Calls to which nobody listens: nothing of them is put together, and what needs no listener works."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import NonRecordingSpan, NoOpTracerProvider, SpanContext, TraceFlags

from opentelemetry_instrumentation_ailib import AiLibInstrumentor, fields, logs, operation_begin, semconv, stages
from opentelemetry_instrumentation_ailib.documented.current import CURRENT
from opentelemetry_instrumentation_ailib.operation import Operation
from opentelemetry_instrumentation_ailib.operations import chat
from planted import Kind, plant
from provider import Step, body, completion, delta, events, provider
from recorder import Recorder
from resilient import chatting, fast, refusal

NOBODY: dict[str, Any] = {"tracer_provider": NoOpTracerProvider(), "meter_provider": NoOpMeterProvider()}
FRAMES = events(delta("Hel"), delta("lo", finish="stop"))
SECRET = "sk-of-a-query-string"


@pytest.fixture(autouse=True)
def unheard(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Instrument the runtime where nobody listens: pytest does, to the warnings of streams."""
    monkeypatch.setattr(chat, "streams_are_logged", lambda: False)
    AiLibInstrumentor().instrument(**NOBODY)
    yield
    AiLibInstrumentor().uninstrument()


def outcomes() -> dict[str, list[str | None]]:
    """Return the outcomes from which the health of each provider is read."""
    assert CURRENT.round is not None
    return {name: list(window.errors) for name, window in CURRENT.round.outcomes._providers.items()}


async def plain(ai: Any) -> Any:
    """Make a call."""
    return (await ai.chat().user("Hello?").execute()).content


async def with_stats(ai: Any) -> Any:
    """Make a call of which the caller gets the statistics."""
    response, stats = await ai.chat().user("Hello?").execute_with_stats()
    return response.content, stats


async def streamed(ai: Any) -> Any:
    """Read a stream."""
    return "".join([event.data.content async for event in ai.chat().user("Hello?").stream() if event.is_content_delta])


async def streamed_with_stats(ai: Any) -> Any:
    """Read a stream of which the caller gets the statistics."""
    stream, stats = await ai.chat().user("Hello?").stream_with_stats()
    return "".join([event.data.content async for event in stream if event.is_content_delta]), stats


@pytest.mark.parametrize(("call", "script"), [(plain, body(completion())), (streamed, FRAMES)], ids=["call", "stream"])
async def test_nothing_of_it_is_put_together(
    monkeypatch: pytest.MonkeyPatch, call: Callable[[Any], Awaitable[Any]], script: list[Step]
) -> None:
    def asked(*_: Any, **__: Any) -> Any:
        raise AssertionError("nobody listens")

    for owner, name in (
        (operation_begin, "start"),
        (operation_begin, "announce"),
        (Operation, "record_stage"),
        (Operation, "record_stage_duration"),
        (fields, "request_attributes"),
        (fields, "response_answer"),
        (stages, "PipelineView"),
        (stages, "timed_body"),
        (logs, "request_finished"),
    ):
        monkeypatch.setattr(owner, name, asked)
    async with provider(script) as server, chatting(server.base_url) as ai:
        assert await call(ai) == "Hello"
    assert outcomes() == {"openai": [None]}


# --- statistics ---


@pytest.mark.parametrize(
    ("call", "script"), [(with_stats, body(completion())), (streamed_with_stats, FRAMES)], ids=["call", "stream"]
)
async def test_statistics_name_the_call_and_no_trace(call: Callable[[Any], Awaitable[Any]], script: list[Step]) -> None:
    async with provider(script) as server, chatting(server.base_url) as ai:
        content, stats = await call(ai)
    assert content == "Hello"
    assert stats.request_id == stats.client_request_id
    assert (stats.trace_id, stats.traceparent) == (None, None)


@pytest.mark.parametrize(
    ("call", "script"), [(with_stats, body(completion())), (streamed_with_stats, FRAMES)], ids=["call", "stream"]
)
async def test_statistics_name_the_trace_that_the_caller_is_in(
    call: Callable[[Any], Awaitable[Any]], script: list[Step]
) -> None:
    """It may come from another process, whose spans are collected."""
    remote = SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    async with provider(script) as server, chatting(server.base_url) as ai:
        with trace.use_span(NonRecordingSpan(remote)):
            _, stats = await call(ai)
    assert stats.trace_id == f"{0xABC:032x}"
    assert stats.traceparent == f"00-{0xABC:032x}-{0xDEF:016x}-01"


async def test_statistics_get_the_tokens_that_the_runtime_does_not_read() -> None:
    gemini = {"choices": completion()["choices"], "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 3}}
    async with provider(body(gemini)) as server, chatting(server.base_url) as ai:
        _, stats = await with_stats(ai)
    assert (stats.prompt_tokens, stats.completion_tokens) == (7, 3)


async def test_statistics_count_retries() -> None:
    async with provider(refusal(500), body(completion())) as server, chatting(server.base_url, retry=fast()) as ai:
        _, stats = await with_stats(ai)
    assert stats.retry_count == 1


# --- what is told of troubles ---


async def test_retries_and_fallbacks_are_logged_and_count_against_who_failed(caplog: pytest.LogCaptureFixture) -> None:
    scripts = refusal(500), refusal(500), body(completion())
    async with (
        provider(*scripts) as server,
        chatting(server.base_url, fallbacks=["anthropic/claude"], retry=fast(1)) as ai,
    ):
        assert await plain(ai) == "Hello"
    told = [(record.levelno, record.name, record.getMessage()) for record in caplog.records if "ai_lib" in record.name]
    assert told == [
        (
            logging.WARNING,
            semconv.LOGGER_RESILIENCE,
            "chat openai/gpt-4o: attempt 1 failed (server_error), the next in 0.004 s",
        ),
        (
            logging.WARNING,
            semconv.LOGGER_RESILIENCE,
            "chat: openai/gpt-4o failed (server_error), anthropic/claude is asked instead",
        ),
    ]
    assert outcomes() == {"openai": ["server_error"], "anthropic": [None]}


# --- credentials ---


async def test_an_http_client_that_somebody_listens_to_tells_no_credential(
    recorder: Recorder, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may have providers of their own."""
    plant(Kind({"type": "query_param", "param_name": "key"}), SECRET, tmp_path, monkeypatch)
    HTTPXClientInstrumentor().instrument(tracer_provider=recorder.tracer_provider)
    try:
        async with provider(body(completion()), FRAMES) as server, chatting(server.base_url, "planted/m") as ai:
            await plain(ai)
            await streamed(ai)
            assert [SECRET in repr(request) for request in server.requests] == [True, True]
            async with httpx.AsyncClient() as other:
                await other.get(server.base_url)
    finally:
        HTTPXClientInstrumentor().uninstrument()
    assert [span.name for span in recorder.spans()] == ["GET"]
