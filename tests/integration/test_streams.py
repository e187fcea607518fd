"""Streams over a socket: what is emitted, and each of the eight endings."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode
from test_chat import ADDRESS, LABELS, OPERATION, operation, port, transport

from conftest import client
from provider import Step, delta, events, provider
from recorder import Recorder

FRAMES = (
    delta("Hel"),
    delta("lo"),
    delta(finish="stop"),
    {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}},
)
STREAM_LABELS = {"provider": "openai", "model": "gpt-4o"}
STAGES = ["ai_lib.request.compile", "ai_lib.http.transport", "ai_lib.pipeline.process", "ai_lib.event.map"]


def wire_size(steps: list[Step]) -> int:
    """The bytes of a scripted body, without head and transfer encoding."""
    chunks = [step.split(b"\r\n", 1)[1][:-2] for step in steps[1:] if isinstance(step, bytes) and step != b"0\r\n\r\n"]
    return sum(map(len, chunks))


async def consume(base_url: str, model: str = "openai/gpt-4o") -> list[Any]:
    ai = await client(model, base_url=base_url)
    try:
        return [event async for event in ai.chat().user("Hello?").stream()]
    finally:
        await ai.close()


def outcome(recorder: Recorder) -> tuple[str, dict[str, Any], list[Any]]:
    """Outcome, attributes and errors of the one stream, after checks that hold for every stream."""
    span = next(span for span in recorder.spans() if span.kind is SpanKind.CLIENT)
    attributes: dict[str, Any] = dict(span.attributes or {})
    found = str(attributes["ai_lib.stream.outcome"])
    (streams,) = recorder.points("ai_lib.streams")
    assert streams[0]["outcome"] == found
    assert streams[1] == 1
    ((_, in_flight),) = recorder.points("ai_lib.requests.in_flight")
    assert in_flight == 0
    assert sum(value for _, value in recorder.points("ai_lib.requests")) == 1
    failed = found in ("cancelled", "error")
    assert (span.status.status_code is StatusCode.ERROR) == failed
    assert ("error.type" in attributes) == failed
    assert attributes["gen_ai.request.stream"] is True
    return found, attributes, [attributes for attributes, _ in recorder.points("ai_lib.errors")]


async def test_a_stream_is_an_operation_span_with_five_parts(instrumented: Recorder) -> None:
    script = events(*FRAMES)
    async with provider(script) as server:
        ai = await client(base_url=server.base_url)
        instrumented.clear()
        stream, stats = await ai.chat().user("Hello?").max_tokens(5).stream_with_stats()
        received = [event.event_type async for event in stream]
        await ai.close()

    assert received == ["PartialContentDelta", "PartialContentDelta", "Metadata", "Metadata"]
    span = instrumented.span(OPERATION)
    attributes: dict[str, Any] = dict(span.attributes or {})
    assert attributes.pop("gen_ai.response.time_to_first_chunk") > 0
    size = wire_size(script)
    assert attributes == operation(
        server.base_url,
        **{
            "gen_ai.request.stream": True,
            "gen_ai.request.max_tokens": 5,
            "gen_ai.response.id": "chatcmpl-1",
            "gen_ai.response.model": "gpt-4o-2024-08-06",
            "gen_ai.response.finish_reasons": ("stop",),
            "gen_ai.usage.input_tokens": 9,
            "gen_ai.usage.output_tokens": 2,
            "ai_lib.request.id": stats.client_request_id,
            "ai_lib.stream.outcome": "completed",
            "ai_lib.stream.bytes": size,
            "ai_lib.stream.frames": 4,
            "ai_lib.stream.events": 4,
        },
    )
    parts: dict[str, dict[str, Any]] = {
        child.name: dict(child.attributes or {}) for child in instrumented.children(span)
    }
    assert sorted(parts) == sorted(STAGES)
    busy = {name: part.pop("ai_lib.busy_time") for name, part in parts.items()}
    assert all(seconds > 0 for seconds in busy.values())
    assert parts == {
        "ai_lib.request.compile": {"ai_lib.stage": "request.compile"},
        "ai_lib.http.transport": transport(server.base_url, **{"http.response.status_code": 200}),
        "ai_lib.pipeline.process": {
            "ai_lib.stage": "pipeline.process",
            "ai_lib.stream.bytes": size,
            "ai_lib.stream.frames": 4,
        },
        "ai_lib.event.map": {"ai_lib.stage": "event.map", "ai_lib.stream.events": 4},
    }
    assert len(instrumented.spans()) == 5


async def test_a_stream_is_measured_once_in_every_instrument(instrumented: Recorder) -> None:
    async with provider(events(*FRAMES)) as server:
        await consume(server.base_url)

    assert instrumented.metric_names() == [
        "ai_lib.attempts",
        "ai_lib.provider.health",
        "ai_lib.request.duration",
        "ai_lib.requests",
        "ai_lib.requests.in_flight",
        "ai_lib.stage.duration",
        "ai_lib.stream.consumer",
        "ai_lib.stream.frames",
        "ai_lib.streams",
        "ai_lib.tokens",
        "gen_ai.client.operation.duration",
        "gen_ai.client.operation.time_per_output_chunk",
        "gen_ai.client.operation.time_to_first_chunk",
        "gen_ai.client.token.usage",
    ]
    request = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "server.address": ADDRESS,
        "server.port": port(server.base_url),
    }
    answered = {**request, "gen_ai.response.model": "gpt-4o-2024-08-06"}
    assert instrumented.points("ai_lib.requests") == [(LABELS, 1)]
    assert instrumented.points("ai_lib.request.duration") == [(LABELS, 1)]
    assert instrumented.points("ai_lib.requests.in_flight") == [(LABELS, 0)]
    assert instrumented.points("ai_lib.tokens") == [({**LABELS, "type": "input"}, 9), ({**LABELS, "type": "output"}, 2)]
    assert instrumented.points("ai_lib.streams") == [({**STREAM_LABELS, "outcome": "completed"}, 1)]
    assert instrumented.points("ai_lib.stream.frames") == [({**STREAM_LABELS, "result": "mapped"}, 4)]
    assert instrumented.points("ai_lib.stream.consumer") == [(STREAM_LABELS, 1)]
    assert instrumented.counts("ai_lib.stage.duration", "stage") == {
        "protocol.load": 1,
        "request.compile": 1,
        "http.transport": 1,
        "pipeline.process": 1,
        "event.map": 1,
    }
    assert instrumented.points("gen_ai.client.operation.duration") == [(answered, 1)]
    assert instrumented.points("gen_ai.client.operation.time_to_first_chunk") == [(request, 1)]
    assert instrumented.points("gen_ai.client.operation.time_per_output_chunk") == [(request, 3)]


async def test_without_chunk_timing_only_the_first_chunk_is_timed(recorder: Recorder) -> None:
    from opentelemetry_instrumentation_ailib import AiLibInstrumentor

    AiLibInstrumentor().instrument(**recorder.providers, chunk_timing=False)
    try:
        async with provider(events(*FRAMES)) as server:
            await consume(server.base_url)
    finally:
        AiLibInstrumentor().uninstrument()

    assert sum(value for _, value in recorder.points("gen_ai.client.operation.time_to_first_chunk")) == 1
    assert recorder.points("gen_ai.client.operation.time_per_output_chunk") == []


@pytest.mark.parametrize("stages", ["none", "http.transport,event.map"])
async def test_stages_switch_spans_and_leave_metrics(recorder: Recorder, stages: str) -> None:
    from opentelemetry_instrumentation_ailib import AiLibInstrumentor

    AiLibInstrumentor().instrument(**recorder.providers, stages=stages)
    try:
        async with provider(events(*FRAMES)) as server:
            await consume(server.base_url)
    finally:
        AiLibInstrumentor().uninstrument()

    wanted = [] if stages == "none" else [f"ai_lib.{stage}" for stage in stages.split(",")]
    assert recorder.names() == sorted([OPERATION, *wanted])
    assert sum(recorder.counts("ai_lib.stage.duration", "stage").values()) == 5


async def test_the_mock_providers_streams_complete(instrumented: Recorder, mock: str) -> None:
    assert len(await consume(mock, "openai/gpt-4o")) == 36

    found, attributes, errors = outcome(instrumented)
    assert (found, errors) == ("completed", [])
    assert attributes["ai_lib.stream.frames"] == 36
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)


async def test_anthropics_stream_names_its_answer_in_the_first_frame(instrumented: Recorder, mock: str) -> None:
    await consume(mock, "anthropic/claude-sonnet")

    found, attributes, _ = outcome(instrumented)
    assert found == "completed"
    assert attributes["gen_ai.response.id"] == "msg-mock"
    assert attributes["gen_ai.response.model"] == "anthropic/claude-sonnet"
    assert attributes["gen_ai.usage.input_tokens"] == 10
    assert instrumented.counts("ai_lib.stream.frames", "result") == {"mapped": 36, "unmapped": 3}


async def test_anthropics_cached_tokens_of_the_first_frame_are_added_to_the_others_of_the_last(
    instrumented: Recorder,
) -> None:
    cached = {"input_tokens": 0, "cache_read_input_tokens": 100, "output_tokens": 1}
    script = events(
        {"type": "message_start", "message": {"id": "msg_1", "usage": cached}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"input_tokens": 10, "output_tokens": 7},
        },
    )
    async with provider(script) as server:
        await consume(server.base_url, "anthropic/claude-sonnet")

    found, attributes, _ = outcome(instrumented)
    assert found == "completed"
    counts = {name: value for name, value in attributes.items() if name.startswith("gen_ai.usage.")}
    assert counts == {
        "gen_ai.usage.input_tokens": 110,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 100,
    }


async def test_frames_that_a_selector_drops_are_filtered(instrumented: Recorder) -> None:
    async with provider(events({"id": "x", "ping": 1}, *FRAMES[:3])) as server:
        received = await consume(server.base_url, "selective/gpt-4o")

    assert len(received) == 3
    assert outcome(instrumented)[1]["ai_lib.stream.frames"] == 4
    assert instrumented.counts("ai_lib.stream.frames", "result") == {"mapped": 3, "filtered": 1}


# --- the eight endings ---


@pytest.mark.parametrize(
    "script",
    [
        events(*FRAMES),
        events(delta("Hi"), done=True),  # a done signal alone
        events(delta("Hi", finish="stop"), done=False),  # a finish reason alone
        events(delta("Hi"), b"data: [DONE]", done=False),  # a done signal without its delimiter
        events(delta("Hi"), b"data: [DONE] \t\r\n", done=False),  # one with blanks instead
    ],
)
async def test_a_stream_that_says_its_end_is_completed(instrumented: Recorder, script: list[Step]) -> None:
    async with provider(script) as server:
        await consume(server.base_url)

    assert outcome(instrumented)[::2] == ("completed", [])


@pytest.mark.parametrize(("events_read", "expected"), [(1, "abandoned"), (3, "completed")])
async def test_leaving_is_abandoning_until_a_finish_reason_was_seen(
    instrumented: Recorder, events_read: int, expected: str
) -> None:
    async with provider([*events(*FRAMES, done=False), 30.0]) as server:
        ai = await client(base_url=server.base_url)
        stream = ai.chat().user("Hello?").stream()
        async for _ in stream:
            events_read -= 1
            if not events_read:
                break
        await stream.aclose()
        await asyncio.sleep(0)
        await ai.close()

    assert outcome(instrumented)[::2] == (expected, [])


async def test_a_task_cancelled_while_reading_cancels_its_stream(instrumented: Recorder) -> None:
    first = asyncio.Event()
    async with provider([*events(delta("Hi"), done=False, end=False), 30.0]) as server:
        ai = await client(base_url=server.base_url)

        async def read() -> None:
            async for _ in ai.chat().user("Hello?").stream():
                first.set()

        task = asyncio.ensure_future(read())
        await first.wait()
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await ai.close()

    found, attributes, errors = outcome(instrumented)
    assert found == attributes["error.type"] == "cancelled"
    assert errors == [{**LABELS, "type": "cancelled", "stage": "http.transport"}]


async def test_a_broken_connection_is_an_error_of_the_transport(instrumented: Recorder) -> None:
    async with provider(events(delta("Hi"), done=False, end=False)) as server:
        with pytest.raises(Exception, match="HTTP error"):
            await consume(server.base_url)

    kind = "ai_lib_python.errors.base.TransportError"
    found, attributes, errors = outcome(instrumented)
    assert (found, attributes["error.type"]) == ("error", kind)
    assert errors == [{**LABELS, "type": kind, "stage": "http.transport"}]
    statuses = {span.name: span.status.status_code for span in instrumented.children(instrumented.span(OPERATION))}
    assert statuses == {**dict.fromkeys(STAGES, StatusCode.UNSET), "ai_lib.http.transport": StatusCode.ERROR}


async def test_a_refused_stream_is_an_error_of_the_transport(instrumented: Recorder, mock: str) -> None:
    with pytest.raises(Exception, match="Rate limit"):
        await consume(mock, "throttled/gpt-4o")

    found, attributes, errors = outcome(instrumented)
    assert (found, attributes["error.type"]) == ("error", "rate_limited")
    assert errors == [
        {
            "provider": "throttled",
            "model": "gpt-4o",
            "operation": "chat",
            "type": "rate_limited",
            "stage": "http.transport",
        }
    ]
    sent = dict(instrumented.span("ai_lib.http.transport").attributes or {})
    assert sent["http.response.status_code"] == 429
    assert sent["error.type"] == "rate_limited"
    assert attributes["ai_lib.stream.events"] == 0
    assert "gen_ai.response.time_to_first_chunk" not in attributes


async def test_a_fault_of_the_mapper_is_an_error_of_mapping(instrumented: Recorder) -> None:
    bad = delta()
    bad["choices"][0]["delta"]["tool_calls"] = [{"index": 0, "function": {"name": "f"}}]  # no id
    async with provider(events(delta("Hi"), bad)) as server:
        with pytest.raises(ValueError, match="tool_call_id"):
            await consume(server.base_url)

    found, attributes, errors = outcome(instrumented)
    assert (found, attributes["error.type"]) == ("error", "pydantic_core._pydantic_core.ValidationError")
    assert [error["stage"] for error in errors] == ["event.map"]
    assert instrumented.counts("ai_lib.stream.frames", "result") == {"mapped": 1, "unmapped": 1}


async def test_a_fault_of_the_decoder_is_an_error_of_the_pipeline(instrumented: Recorder) -> None:
    class Broken:
        async def decode(self, body: Any) -> Any:
            async for _ in body:
                raise ZeroDivisionError
            yield {}

    async with provider(events(*FRAMES)) as server:
        ai = await client(base_url=server.base_url)
        ai._pipeline._decoder = Broken()
        with pytest.raises(ZeroDivisionError):
            [event async for event in ai.chat().user("Hello?").stream()]
        await ai.close()

    found, _, errors = outcome(instrumented)
    assert found == "error"
    assert errors == [{**LABELS, "type": "ZeroDivisionError", "stage": "pipeline.process"}]


async def test_an_error_frame_is_a_stream_error_though_the_stream_goes_on(instrumented: Recorder) -> None:
    async with provider(
        events(delta("Hi"), {"error": {"message": "overloaded"}}, delta("again", finish="stop"))
    ) as server:
        received = await consume(server.base_url)

    assert [event.event_type for event in received] == [
        "PartialContentDelta",
        "StreamError",
        "PartialContentDelta",
        "Metadata",
    ]
    found, attributes, errors = outcome(instrumented)
    assert (found, attributes["error.type"]) == ("error", "stream_error")
    assert errors == [{**LABELS, "type": "stream_error", "stage": "event.map"}]
    assert instrumented.span(OPERATION).status.description is None


async def test_a_stream_that_quotes_its_done_signal_is_truncated(instrumented: Recorder) -> None:
    async with provider(events(delta("data: [DONE]"), done=False)) as server:
        await consume(server.base_url)

    assert outcome(instrumented)[::2] == ("truncated", [])


async def test_a_stream_that_stops_without_a_word_is_truncated(instrumented: Recorder) -> None:
    async with provider(events(delta("Hi"), done=False)) as server:
        await consume(server.base_url)

    assert outcome(instrumented)[::2] == ("truncated", [])


async def test_a_stream_of_which_nothing_is_mapped_is_empty_and_warned_about(
    instrumented: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    script = events(*FRAMES)
    async with provider(script) as server:
        assert await consume(server.base_url, "mapless/gpt-4o") == []

    found, attributes, errors = outcome(instrumented)
    assert (found, errors) == ("empty", [])
    assert instrumented.counts("ai_lib.stream.frames", "result") == {"unmapped": 4}
    (record,) = (record for record in caplog.records if record.name == "ai_lib.stream")
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        f"The stream of mapless/gpt-4o brought {wire_size(script)} bytes in 4 frames and not one event: "
        "its manifest maps none of its frames"
    )
    assert attributes["ai_lib.stream.bytes"] == wire_size(script)
