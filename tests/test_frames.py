"""The record of each frame: its size, what matched it, what it became; and the stream is the same as without."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from ai_lib_python.pipeline.base import EventMapper, Pipeline
from ai_lib_python.pipeline.decode import AnthropicSSEDecoder, JsonLinesDecoder, SSEDecoder
from ai_lib_python.pipeline.event_map import AnthropicEventMapper, DefaultEventMapper, ProtocolEventMapper
from ai_lib_python.pipeline.fan_out import FanOutTransform
from ai_lib_python.pipeline.select import JsonPathSelector
from ai_lib_python.protocol.manifest import EventMapRule
from ai_lib_python.types.events import StreamingEvent
from opentelemetry.context import Context
from opentelemetry.trace import Span, set_span_in_context

from opentelemetry_instrumentation_ailib.cardinality import Identity, Labels
from opentelemetry_instrumentation_ailib.frames import traced
from opentelemetry_instrumentation_ailib.loggers import TRACE
from opentelemetry_instrumentation_ailib.pipeline import PipelineView
from opentelemetry_instrumentation_ailib.stream_state import StageClock, StreamState
from provider import delta
from recorder import Recorder

LOGGER = "ai_lib.frame"
SECRET = 'secret/of "openai"'


@dataclass
class Operation:
    """What the records use of an operation."""

    span: Span
    context: Context
    attributes: dict[str, Any]
    secrets: set[str] = field(default_factory=set)
    name: str = "chat"
    identity: Identity = field(default_factory=lambda: Labels().identity("chat", "openai", "gpt-4o"))


@pytest.fixture
def operation(recorder: Recorder) -> Any:
    """Return an operation with a span that is not current."""
    span = recorder.tracer_provider.get_tracer("test").start_span("chat gpt-4o", Context())
    return Operation(span, set_span_in_context(span), {"ai_lib.request.id": "r-1"}, {SECRET})


@pytest.fixture(autouse=True)
def listening(caplog: pytest.LogCaptureFixture) -> None:
    """Enable the level."""
    caplog.set_level(TRACE, logger=LOGGER)


Records = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture, operation: Any) -> Records:
    """Return a function that returns each record as its frame's fields and message; the others are always the same."""
    ids = operation.span.get_span_context()
    standard = {*vars(logging.makeLogRecord({})), "message", "asctime"}
    always = {
        "trace_id": f"{ids.trace_id:032x}",
        "span_id": f"{ids.span_id:016x}",
        "gen_ai.operation.name": "chat",
        "ai_lib.provider.id": "openai",
        "gen_ai.request.model": "gpt-4o",
        "ai_lib.request.id": "r-1",
    }

    def read() -> list[dict[str, Any]]:
        found = []
        for record in caplog.records:
            fields = {name: value for name, value in vars(record).items() if name not in standard}
            assert {name: fields.pop(name, None) for name in always} == always
            assert (record.name, record.levelno) == (LOGGER, 5)
            title, _, message = record.getMessage().partition(": ")
            assert title == "chat openai/gpt-4o"
            found.append({"message": message, **{key.removeprefix("ai_lib.frame."): fields[key] for key in fields}})
        return found

    return read


async def body(*frames: Any) -> AsyncIterator[bytes]:
    """Yield frames as server-sent events, a chunk each; an exception among them is raised."""
    for frame in frames:
        if isinstance(frame, BaseException):
            raise frame
        yield b"data: " + json.dumps(frame, ensure_ascii=False).encode() + b"\n\n"


def size(frame: Any) -> int:
    """Return the size of a frame's JSON in bytes."""
    return len(json.dumps(frame, ensure_ascii=False).encode())


async def run(pipeline: Any, operation: Any, *frames: Any, content: bool = False) -> list[Any]:
    """Send frames through a traced pipeline and return the events."""
    view = traced(pipeline, operation, content=content)
    return [event async for event in type(pipeline).process(view, body(*frames))]


def default(*transforms: Any, **paths: str) -> Any:
    """Return a pipeline with the mapper for OpenAI's shape."""
    return Pipeline(SSEDecoder(), list(transforms), DefaultEventMapper(**paths))


def rules(*rows: tuple[str, str, dict[str, str]]) -> Any:
    """Return a pipeline with a manifest's rules: condition, event, fields."""
    mapped = [EventMapRule(match=match, emit=emit, fields=fields) for match, emit, fields in rows]
    return Pipeline(SSEDecoder(), [], ProtocolEventMapper(mapped))


# --- for nobody ---


class Untouchable:
    """Something at which nobody may look."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"{name} was looked at")


def test_where_the_level_is_not_enabled_the_pipeline_is_the_pipeline(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(TRACE + 1, logger=LOGGER)
    pipeline: Any = Untouchable()
    operation: Any = Untouchable()
    assert traced(pipeline, operation, content=True) is pipeline


async def test_a_listener_who_leaves_gets_no_more_records(operation: Any, records: Records) -> None:
    view = traced(default(), operation, content=False)
    events: Any = Pipeline.process(view, body(delta("a"), delta("b"), delta("c")))
    await events.__anext__()
    await events.__anext__()
    logging.getLogger(LOGGER).setLevel(TRACE + 1)  # The handler would still take what is logged.
    assert [event.data.content async for event in events] == ["c"]
    assert [record["index"] for record in records()] == [0]


def test_a_pipeline_without_a_mapper_is_left_alone(operation: Any) -> None:
    pipeline = Pipeline(SSEDecoder())
    assert traced(pipeline, operation, content=False) is pipeline


# --- the records ---


async def test_frames_of_openais_shape(operation: Any, records: Records) -> None:
    frames = (
        delta("Hé"),
        delta(finish="stop", usage={"prompt_tokens": 12}),
        delta(),
        delta(None, choices=[{"delta": {"reasoning_content": "hm", "tool_calls": [{"function": {"arguments": ""}}]}}]),
    )
    await run(default(), operation, *frames)
    assert records() == [
        {
            "message": f"frame 0, {size(frames[0])} bytes, content_path at choices[0].delta.content "
            "-> PartialContentDelta",
            "index": 0,
            "size": size(frames[0]),
            "result": "mapped",
            "rule": "content_path",
            "path": "choices[0].delta.content",
            "events": ("PartialContentDelta",),
        },
        {
            "message": f"frame 1, {size(frames[1])} bytes, finish_reason_path, usage_path "
            "at choices[0].finish_reason, usage -> Metadata, Metadata",
            "index": 1,
            "size": size(frames[1]),
            "result": "mapped",
            "rule": "finish_reason_path, usage_path",
            "path": "choices[0].finish_reason, usage",
            "events": ("Metadata", "Metadata"),
        },
        {
            "message": f"frame 2, {size(frames[2])} bytes, no known rule -> no event",
            "index": 2,
            "size": size(frames[2]),
            "result": "unmapped",
        },
        {
            "message": f"frame 3, {size(frames[3])} bytes, reasoning_content, tool_call_path "
            "at choices[0].delta.reasoning_content, choices[0].delta.tool_calls -> ThinkingDelta",
            "index": 3,
            "size": size(frames[3]),
            "result": "mapped",
            "rule": "reasoning_content, tool_call_path",
            "path": "choices[0].delta.reasoning_content, choices[0].delta.tool_calls",
            "events": ("ThinkingDelta",),
        },
    ]


CONTENT = "exists($.choices[*].delta.content)"


async def test_frames_that_a_manifests_rules_map(operation: Any, records: Records) -> None:
    pipeline = rules(
        (CONTENT, "PartialContentDelta", {"content": "$.choices[*].delta.content"}),
        ("$.type == 'end'", "StreamEnd", {}),
    )
    frames = delta("Hi"), {"type": "end"}, {"type": "ping"}
    await run(pipeline, operation, *frames)
    assert records() == [
        {
            "message": f"frame 0, {size(frames[0])} bytes, {CONTENT} at $.choices[*].delta.content "
            "-> PartialContentDelta",
            "index": 0,
            "size": size(frames[0]),
            "result": "mapped",
            "rule": CONTENT,
            "path": "$.choices[*].delta.content",
            "events": ("PartialContentDelta",),
        },
        {
            "message": "frame 1, 15 bytes, $.type == 'end' -> StreamEnd",
            "index": 1,
            "size": 15,
            "result": "mapped",
            "rule": "$.type == 'end'",
            "events": ("StreamEnd",),
        },
        {"message": "frame 2, 16 bytes, no known rule -> no event", "index": 2, "size": 16, "result": "unmapped"},
    ]


async def test_a_rule_that_matches_and_finds_nothing_is_what_explains_an_empty_stream(
    operation: Any, records: Records
) -> None:
    """Published manifests say ``extract`` where the runtime reads ``fields``."""
    frame = delta("Hi")
    await run(rules((CONTENT, "PartialContentDelta", {})), operation, frame)
    assert records() == [
        {
            "message": f"frame 0, {size(frame)} bytes, {CONTENT} -> no event",
            "index": 0,
            "size": size(frame),
            "result": "unmapped",
            "rule": CONTENT,
        }
    ]


async def test_frames_that_a_selector_drops(operation: Any, records: Records) -> None:
    pings = {"ping": 1}, {"ping": 22}
    await run(default(JsonPathSelector("exists($.choices)")), operation, pings[0], delta("a"), pings[1], delta("b"))
    found = records()
    assert [(record["index"], record["result"]) for record in found] == [
        (0, "filtered"),
        (1, "mapped"),
        (2, "filtered"),
        (3, "mapped"),
    ]
    assert found[2] == {"message": "frame 2, 12 bytes, filtered", "index": 2, "size": 12, "result": "filtered"}


async def test_the_pieces_of_a_frame_have_its_index(operation: Any, records: Records) -> None:
    pipeline = default(FanOutTransform(array_path="parts"), content_path="text")
    await run(pipeline, operation, {"parts": [{"text": "a"}, {"text": "b"}]}, {"parts": [{"text": "c"}]})
    assert [record["index"] for record in records()] == [0, 0, 1]


async def test_the_last_frame_before_the_consumer_leaves_is_logged(operation: Any, records: Records) -> None:
    view = traced(default(), operation, content=False)
    events: Any = Pipeline.process(view, body(delta("a"), delta("b"), delta("c")))
    assert [(await events.__anext__()).data.content for _ in range(2)] == ["a", "b"]
    assert [record["index"] for record in records()] == [0]
    await events.aclose()
    for _ in range(5):  # The runtime leaves it to the event loop to close what is inside.
        await asyncio.sleep(0)
    assert [(record["index"], record["result"]) for record in records()] == [(0, "mapped"), (1, "mapped")]


async def test_the_frame_that_a_mapper_fails_at_is_logged_and_the_exception_passes(
    operation: Any, records: Records
) -> None:
    """A tool call without an id fails the runtime's own validation."""
    broken = {"choices": [{"delta": {"tool_calls": [{"function": {"name": "f"}}]}}]}
    with pytest.raises(ValueError, match="tool_call_id"):
        await run(default(), operation, delta("a"), broken)
    assert [(record["index"], record["result"]) for record in records()] == [(0, "mapped"), (1, "unmapped")]


async def test_an_exception_of_the_body_passes_and_no_frame_is_logged_twice(operation: Any, records: Records) -> None:
    with pytest.raises(ConnectionError, match="cut"):
        await run(default(), operation, delta("a"), ConnectionError("cut"))
    assert [record["index"] for record in records()] == [0]


class Own(EventMapper):
    """A mapper of the user's own: as many events a frame as it says, of whatever type."""

    async def map_events(self, frames: Any) -> AsyncIterator[Any]:
        async for frame in frames:
            for kind in frame["events"]:
                yield StreamingEvent.content_delta("x") if kind == "content" else kind


async def test_a_mapper_of_the_users_own_has_no_known_rules(operation: Any, records: Records) -> None:
    events = await run(Pipeline(SSEDecoder(), [], Own()), operation, {"events": ["content", 7]}, {"events": [1] * 100})
    assert len(events) == 102
    first, second = records()
    assert first == {
        "message": "frame 0, 26 bytes, no known rule -> PartialContentDelta, _OTHER",
        "index": 0,
        "size": 26,
        "result": "mapped",
        "events": ("PartialContentDelta", "_OTHER"),
    }
    assert second["events"] == ("_OTHER",) * 64


@pytest.mark.parametrize("frame", [[1], "text", 7])
async def test_a_frame_that_is_no_object(operation: Any, records: Records, frame: Any) -> None:
    await run(rules((CONTENT, "PartialContentDelta", {})), operation, frame)
    assert records() == [
        {
            "message": f"frame 0, {size(frame)} bytes, no known rule -> no event",
            "index": 0,
            "size": size(frame),
            "result": "unmapped",
        }
    ]


async def test_a_frame_that_is_not_of_json(operation: Any, records: Records) -> None:
    class Objects(JsonLinesDecoder):
        async def decode(self, byte_stream: Any) -> AsyncIterator[Any]:
            async for _ in byte_stream:
                yield {"events": ["content"], 1: {2}, (3,): 4}

    await run(Pipeline(Objects(), [], Own()), operation, {})
    assert [(record["result"], record["size"]) for record in records()] == [
        ("mapped", len('{"events": ["content"], "1": "{2}"}'))
    ]


# --- content ---


async def test_without_content_capture_no_record_has_any(operation: Any, records: Records) -> None:
    await run(default(JsonPathSelector("exists($.choices)")), operation, delta("classified"), {"other": "classified"})
    assert len(records()) == 2
    assert "classified" not in repr(records())


async def test_with_content_capture_a_record_has_the_frame(operation: Any, records: Records) -> None:
    frame = {"choices": [{"delta": {"content": "Hé\n"}}]}
    await run(default(JsonPathSelector("exists($.choices)")), operation, frame, {"ping": 1}, content=True)
    text = '{"choices": [{"delta": {"content": "Hé\\n"}}]}'
    mapped, filtered = records()
    assert (mapped["content"], filtered["content"]) == (text, '{"ping": 1}')
    assert mapped["message"].endswith(f" -> PartialContentDelta: {text}")
    assert filtered["message"] == 'frame 1, 11 bytes, filtered: {"ping": 1}'


async def test_content_is_bounded_and_the_size_is_not(operation: Any, records: Records) -> None:
    frame = delta("x" * 5000)
    await run(default(), operation, frame, content=True)
    (record,) = records()
    assert record["content"] == json.dumps(frame)[:1024]
    assert record["size"] == size(frame) > 5000


@pytest.mark.parametrize(
    "text", ["x" * 200_000, 'é"\n' * 100_000, "\U0001f600" * 65_537], ids=["plain", "escaped", "wide"]
)
async def test_a_frame_of_long_texts_has_its_size_and_shows_its_beginning(
    operation: Any, records: Records, text: str
) -> None:
    frame = {"choices": [{"delta": {"content": text}}], "more": [text, {"text": text}]}
    await run(default(), operation, frame, content=True)
    (record,) = records()
    assert record["content"] == json.dumps(frame, ensure_ascii=False)[:1024]
    assert record["size"] == size(frame)


@pytest.mark.parametrize(
    "frame",
    [{"a": [[0]] * 5_000 + ["x" * 70_000]}, json.loads("[" * 100 + '"x"' + "]" * 100)],
    ids=["of many items", "deep"],
)
async def test_a_frame_of_any_shape_has_its_size(operation: Any, records: Records, frame: Any) -> None:
    await run(default(), operation, {"a": frame}, content=True)
    (record,) = records()
    assert record["content"] == json.dumps({"a": frame})[:1024]
    assert record["size"] == size({"a": frame})


async def test_content_is_valid_text(operation: Any, records: Records) -> None:
    view = traced(default(), operation, content=True)

    async def surrogate() -> AsyncIterator[bytes]:
        yield b'data: {"a": "\\ud800"}\n\n'

    assert [event async for event in Pipeline.process(view, surrogate())] == []
    (record,) = records()
    assert (record["content"], record["size"]) == ('{"a": "?"}', 10)


@pytest.mark.parametrize(
    "quoted", [SECRET, "secret%2Fof%20%22openai%22", "Bearer sk-12345678901234567890"], ids=["raw", "url", "another"]
)
async def test_content_has_no_credential(operation: Any, records: Records, quoted: str) -> None:
    await run(default(), operation, {"error": f"cannot read {quoted}"}, content=True)
    (record,) = records()
    assert "***REDACTED***" in record["content"]
    assert not any(part in repr(record) for part in ("secret", "openai%22", "sk-1"))


async def test_a_credential_at_the_end_of_what_is_shown_is_not_cut_in_two(operation: Any, records: Records) -> None:
    await run(default(), operation, {"a": "x" * 1010, "b": SECRET}, content=True)
    (record,) = records()
    assert "secret" not in record["content"]


async def test_content_of_a_request_without_a_credential(operation: Any, records: Records) -> None:
    operation.secrets = set()
    await run(default(), operation, {"a": 1}, content=True)
    assert [record["content"] for record in records()] == ['{"a": 1}']


# --- the stream ---

STREAM = (
    delta("Hel"),
    {"ping": 1},
    delta("lo"),
    {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{"}}]}}]},
    {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "c", "function": {"arguments": "}"}}]}}]},
    delta(finish="tool_calls", usage={"prompt_tokens": 12}),
    {"error": {"message": "overloaded"}},
)


@pytest.mark.parametrize("content", [False, True])
@pytest.mark.parametrize("selector", [[], [JsonPathSelector("exists($.choices)")]], ids=["all", "selected"])
async def test_the_events_are_those_of_the_pipeline_and_so_is_what_it_keeps(
    operation: Any, records: Records, content: bool, selector: list[Any]
) -> None:
    """The mapper puts the pieces of tool calls together, for all streams of a client."""
    alone, watched = default(*selector), default(*selector)
    expected = [event async for event in alone.process(body(*STREAM))]
    assert await run(watched, operation, *STREAM, content=content) == expected
    assert watched._event_mapper._tool_calls == alone._event_mapper._tool_calls != {}
    assert [record["index"] for record in records()] == list(range(len(STREAM)))


async def test_what_times_a_stream_counts_the_same(operation: Any, records: Records) -> None:
    pipelines = [default(JsonPathSelector("exists($.choices)")) for _ in range(2)]
    states = [StreamState(StageClock(0.0), chunk_timing=True) for _ in range(2)]
    for state, shown in zip(states, (pipelines[0], traced(pipelines[1], operation, content=False)), strict=True):
        view: Any = PipelineView(shown, state)
        async for _ in Pipeline.process(view, body(*STREAM)):
            state.events += 1
    counts = [(state.decoded, state.offered, state.unmapped, state.events) for state in states]
    assert counts[0] == counts[1] == (7, 5, 0, 7)
    assert len(records()) == 7


async def test_a_pipeline_of_the_users_own_class_runs_as_one(operation: Any, records: Records) -> None:
    class Mine(Pipeline):
        async def process(self, byte_stream: Any) -> AsyncIterator[Any]:
            async for event in super().process(byte_stream):
                yield event

    pipeline = Mine(SSEDecoder(), [], DefaultEventMapper())
    view = traced(pipeline, operation, content=False)
    assert isinstance(view, Mine)
    assert isinstance(view._decoder, SSEDecoder)
    assert isinstance(view._event_mapper, DefaultEventMapper)
    assert (view._decoder._done_signal, view._event_mapper._usage_path) == ("[DONE]", "usage")
    assert len(await run(pipeline, operation, delta("a"))) == 1
    assert len(records()) == 1


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
async def test_a_fault_of_ours_costs_the_record_and_not_the_stream(
    operation: Any, caplog: pytest.LogCaptureFixture
) -> None:
    circular: dict[str, Any] = {"events": ["content"]}
    circular["self"] = circular

    class Circles(JsonLinesDecoder):
        async def decode(self, byte_stream: Any) -> AsyncIterator[Any]:
            async for _ in byte_stream:
                yield circular

    assert len(await run(Pipeline(Circles(), [], Own()), operation, 1, 2)) == 2
    assert [record for record in caplog.records if record.name == LOGGER] == []


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
def test_a_pipeline_that_is_none_is_left_alone(operation: Any) -> None:
    pipeline = object()
    assert traced(pipeline, operation, content=False) is pipeline


async def test_every_frame_that_anthropics_mapper_maps_has_a_rule(operation: Any, records: Records) -> None:
    frames = (
        {"type": "message_start", "message": {"id": "m"}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "t", "name": "f"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "x"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
        {"type": "error", "error": {}},
    )
    await run(Pipeline(AnthropicSSEDecoder(), [], AnthropicEventMapper()), operation, *frames)
    assert [(record.get("rule"), record.get("events")) for record in records()] == [
        (None, None),
        ("type == content_block_start", ("ToolCallStarted",)),
        ("type == content_block_delta", ("PartialToolCall",)),
        ("type == content_block_stop", ("ToolCallEnded",)),
        ("type == content_block_delta", ("PartialContentDelta",)),
        ("type == message_delta", ("Metadata", "Metadata")),
        ("type == message_stop", ("StreamEnd",)),
        ("type == error", ("StreamError",)),
    ]
