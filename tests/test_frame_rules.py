"""Which rule of each of the runtime's mappers matched a frame, and at which path."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from ai_lib_python.pipeline.event_map import AnthropicEventMapper, DefaultEventMapper, ProtocolEventMapper
from ai_lib_python.protocol.manifest import EventMapRule

from opentelemetry_instrumentation_ailib.frame_rules import Match, matched_rule
from provider import delta


def mapper_of(*rows: tuple[str, str, dict[str, str]]) -> ProtocolEventMapper:
    """Return a mapper with rules: condition, event, fields."""
    return ProtocolEventMapper([EventMapRule(match=match, emit=emit, fields=fields) for match, emit, fields in rows])


THINKING = ("exists($.a)", "ThinkingDelta", {"thinking": "$.a.thinking"})
TEXT = ("exists($.a)", "PartialContentDelta", {"content": "$.a.text"})
OTHER_TEXT = ("exists($.b)", "PartialContentDelta", {"content": "$.b.text"})
USAGE = ("exists($.usage)", "Metadata", {"usage": "$.usage", "finish_reason": "$.reason"})
PARTIAL = ("exists($.args)", "PartialToolCall", {"arguments": "$.args", "tool_call_id": "$.id"})
ANY_PARTIAL: tuple[str, str, dict[str, str]] = ("exists($.t)", "PartialToolCall", {})


@pytest.mark.parametrize(
    ("rows", "frame", "expected"),
    [
        pytest.param([TEXT], {"a": {"text": "x"}}, Match("exists($.a)", "$.a.text"), id="one-rule"),
        pytest.param([TEXT], {"b": 1}, None, id="no-rule-matches"),
        pytest.param([TEXT], {"a": {"text": ""}}, Match("exists($.a)", "$.a.text"), id="nothing-to-emit"),
        pytest.param([TEXT], {"a": {}}, Match("exists($.a)", None), id="nothing-at-the-path"),
        pytest.param([THINKING, TEXT], {"a": {"text": "x"}}, Match("exists($.a)", "$.a.text"), id="the-one-that-emits"),
        pytest.param(
            [TEXT, OTHER_TEXT],
            {"a": {"text": ""}, "b": {"text": "x"}},
            Match("exists($.b)", "$.b.text"),
            id="the-one-that-finds",
        ),
        pytest.param(
            [OTHER_TEXT, TEXT],
            {"a": {"text": "x"}, "b": {"text": "x"}},
            Match("exists($.b)", "$.b.text"),
            id="the-first-of-two",
        ),
        pytest.param([USAGE], {"usage": {}, "reason": "x"}, Match("exists($.usage)", "$.usage, $.reason"), id="paths"),
        pytest.param([USAGE], {"usage": {}}, Match("exists($.usage)", "$.usage"), id="emits-without-finding"),
        pytest.param(
            [TEXT, ANY_PARTIAL, PARTIAL],
            {"a": {}, "t": 1, "_accumulated_tool_call": {"id": "c"}},
            Match("exists($.t)", None),
            id="a-tool-call-that-a-transform-put-together",
        ),
        pytest.param([TEXT], {"a": {"text": ["x"]}}, Match("exists($.a)", "$.a.text"), id="not-a-string"),
    ],
)
async def test_the_rule_is_the_one_that_made_the_event(
    rows: list[Any], frame: dict[str, Any], expected: Match | None
) -> None:
    mapper = mapper_of(*rows)

    async def frames() -> AsyncIterator[Any]:
        yield frame

    events = [event.event_type async for event in mapper.map_events(frames())]
    assert matched_rule(mapper, frame, events) == expected


def test_a_path_that_is_none_reads_nothing() -> None:
    broken = ("exists($.a)", "PartialContentDelta", {"content": "$.a[0"})
    assert matched_rule(mapper_of(broken), {"a": []}) == Match("exists($.a)", None)


ERROR = {"error": {"message": "overloaded"}, "usage": {"prompt_tokens": 1}}


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (ERROR, Match("error", "error")),
        ({"error": None}, Match("error", "error")),
        ({"candidates": [{"text": "x"}]}, Match("content_path", "candidates[0].text")),
        ({"candidates": [{"text": ""}]}, None),
        ({"tools": [1]}, Match("tool_call_path", "tools")),
        ({"why": "stop"}, Match("finish_reason_path", "why")),
        ({"usageMetadata": {"x": 1}}, Match("usage_path", "usageMetadata")),
        ({}, None),
    ],
)
def test_the_paths_are_the_mappers_own(frame: dict[str, Any], expected: Match | None) -> None:
    mapper = DefaultEventMapper("candidates[0].text", "tools", "why", "usageMetadata")
    assert matched_rule(mapper, frame) == expected


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ({"type": "message_start", "message": {}}, None),
        (
            {"type": "content_block_start", "content_block": {"type": "text"}},
            Match("type == content_block_start", "content_block"),
        ),
        ({"type": "content_block_delta", "delta": {"text": "x"}}, Match("type == content_block_delta", "delta.text")),
        (
            {"type": "content_block_delta", "delta": {"thinking": "x"}},
            Match("type == content_block_delta", "delta.thinking"),
        ),
        (
            {"type": "content_block_delta", "delta": {"partial_json": ""}},
            Match("type == content_block_delta", "delta.partial_json"),
        ),
        ({"type": "content_block_stop", "index": 0}, Match("type == content_block_stop", "index")),
        (
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}},
            Match("type == message_delta", "delta.stop_reason, usage"),
        ),
        ({"type": "message_stop"}, Match("type == message_stop", None)),
        ({"type": "error", "error": {}}, Match("type == error", "error")),
        ({"type": "ping"}, None),
        ({"type": ["ping"]}, None),
        ({}, None),
    ],
)
def test_anthropics_frames_are_matched_by_their_type(frame: dict[str, Any], expected: Match | None) -> None:
    assert matched_rule(AnthropicEventMapper(), frame) == expected


@pytest.mark.parametrize("frame", [None, [1], "choices", 7])
@pytest.mark.parametrize("mapper", [DefaultEventMapper(), AnthropicEventMapper(), mapper_of(TEXT)])
def test_what_is_no_object_matches_nothing(mapper: Any, frame: Any) -> None:
    assert matched_rule(mapper, frame) is None


def test_a_class_derived_from_a_mapper_may_map_as_it_likes() -> None:
    class Derived(DefaultEventMapper):
        pass

    assert matched_rule(Derived(), delta("x")) is None
    assert matched_rule(None, delta("x")) is None


def test_looking_for_what_matched_changes_no_mapper() -> None:
    """What a mapper keeps of tool calls is shared by all streams of a client."""
    for mapper in (DefaultEventMapper(), AnthropicEventMapper(), mapper_of(TEXT)):
        before = repr(vars(mapper))
        for frame in (
            {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "c", "function": {"arguments": "{}"}}]}}]},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "c"}},
            {"a": {"text": "x"}},
        ):
            matched_rule(mapper, frame, ["PartialToolCall"])
        assert repr(vars(mapper)) == before
