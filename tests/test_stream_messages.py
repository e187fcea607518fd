"""What streams say: their pieces put together, bounded while they pass."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ai_lib_python.types import StreamingEvent
from ai_lib_python.types.events import PartialContentDelta, ThinkingDelta
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.util.genai.types import OutputMessage, ReasoningPart, TextPart, ToolCallRequestPart

from opentelemetry_instrumentation_ailib.parts import Truncated
from opentelemetry_instrumentation_ailib.shortened import left_out_of
from opentelemetry_instrumentation_ailib.stream_messages import StreamMessages
from test_messages import ANYTHING, JSON

text = StreamingEvent.content_delta
thinking = StreamingEvent.thinking_delta
started = StreamingEvent.tool_call_started
arguments = StreamingEvent.partial_tool_call

BOUND = 131_072


def collected(*events: Any, reasons: Any = ()) -> list[OutputMessage]:
    stream = StreamMessages()
    for event in events:
        stream.note(event)
    return stream.messages(reasons)


def test_a_stream_that_says_nothing_has_no_message() -> None:
    assert collected() == collected(StreamingEvent.metadata(usage={"n": 1}), StreamingEvent.stream_end()) == []


def test_pieces_are_put_together_in_the_order_of_their_kinds() -> None:
    assert collected(
        thinking("H"), thinking("m"), text("He"), text("llo"), thinking("Hm?"), text("!"), reasons=["stop"]
    ) == [
        OutputMessage(
            "assistant", [ReasoningPart("Hm"), TextPart("Hello"), ReasoningPart("Hm?"), TextPart("!")], "stop"
        )
    ]


def test_the_arguments_of_interleaved_calls_go_to_their_calls() -> None:
    assert collected(
        text("I ask"),
        started("call_1", "weather", 0),
        arguments("call_1", '{"city":', 0),
        started("call_2", "now", 1),
        arguments("call_2", "{}", 1),
        arguments("call_1", '"Paris"}', 0),
        StreamingEvent.tool_call_ended("call_1", 0),
        reasons=["tool_calls"],
    ) == [
        OutputMessage(
            "assistant",
            [
                TextPart("I ask"),
                ToolCallRequestPart({"city": "Paris"}, "weather", "call_1"),
                ToolCallRequestPart({}, "now", "call_2"),
            ],
            "tool_call",
        )
    ]


def test_calls_with_one_index_and_ids_of_their_own_are_two() -> None:
    assert collected(
        started("call_1", "weather", 0),
        arguments("call_1", "1", 0),
        started("call_2", "now", 0),
        arguments("call_2", "2", 0),
    ) == [
        OutputMessage(
            "assistant", [ToolCallRequestPart(1, "weather", "call_1"), ToolCallRequestPart(2, "now", "call_2")]
        )
    ]


def test_calls_with_one_id_and_indices_of_their_own_are_two() -> None:
    paris, london = ToolCallRequestPart(1, "weather", "call_1"), ToolCallRequestPart(2, "weather", "call_1")
    starts = started("call_1", "weather", 0), started("call_1", "weather", 1)
    assert (
        collected(starts[0], arguments("call_1", "1", 0), starts[1], arguments("call_1", "2", 1))
        == collected(*starts, arguments("call_1", "2", 1), arguments("call_1", "1", 0))
        == [OutputMessage("assistant", [paris, london])]
    )


def test_a_call_with_an_id_need_not_say_its_index_each_time() -> None:
    whole = [OutputMessage("assistant", [ToolCallRequestPart([1], "weather", "call_1")])]
    assert collected(started("call_1", "weather", 0), arguments("call_1", "[1]")) == whole
    assert collected(started("call_1", "weather"), arguments("call_1", "[", 0), arguments("call_1", "1]", 0)) == whole


def test_calls_without_ids_are_told_apart_by_their_index_or_their_start() -> None:
    assert collected(
        started("", "weather", 0), started("", "now", 1), arguments("", "[1]", 0), arguments("", "[2]", 1)
    ) == [
        OutputMessage("assistant", [ToolCallRequestPart([1], "weather", None), ToolCallRequestPart([2], "now", None)])
    ]
    assert collected(started("", "weather"), arguments("", "[1]"), started("", "now"), arguments("", "[2]")) == [
        OutputMessage("assistant", [ToolCallRequestPart([1], "weather", None), ToolCallRequestPart([2], "now", None)])
    ]


def test_the_id_of_a_call_may_come_with_its_start_alone() -> None:
    assert collected(started("call_1", "weather", 3), arguments("", "[1]", 3)) == [
        OutputMessage("assistant", [ToolCallRequestPart([1], "weather", "call_1")])
    ]


def test_a_call_whose_start_never_came_has_no_name() -> None:
    """The runtime's mapper announces a call once for all the streams of a client."""
    assert collected(arguments("call_1", "[1]", 0)) == [
        OutputMessage("assistant", [ToolCallRequestPart([1], "", "call_1")])
    ]


def test_a_call_cut_short_keeps_what_came_of_its_arguments() -> None:
    assert collected(started("call_1", "weather", 0), arguments("call_1", '{"city":"Par', 0)) == [
        OutputMessage("assistant", [ToolCallRequestPart('{"city":"Par', "weather", "call_1")])
    ]
    assert collected(started("call_1", "weather", 0)) == [
        OutputMessage("assistant", [ToolCallRequestPart(None, "weather", "call_1")])
    ]


def of_candidate(index: Any, content: str) -> StreamingEvent:
    data = PartialContentDelta(content=content, candidate_index=index)  # type: ignore[call-arg]
    return StreamingEvent(event_type="PartialContentDelta", data=data)


def test_there_is_a_message_for_each_candidate() -> None:
    assert collected(
        of_candidate(1, "Sa"),
        text("Hel"),
        of_candidate(1, "lut"),
        text("lo"),
        reasons={0: "stop", 1: "length", 3: "stop"},
    ) == [
        OutputMessage("assistant", [TextPart("Hello")], "stop"),
        OutputMessage("assistant", [TextPart("Salut")], "length"),
        OutputMessage("assistant", [], "stop"),
    ]


def test_a_candidate_that_is_no_number_is_the_first() -> None:
    assert collected(of_candidate("b", "Hello")) == [OutputMessage("assistant", [TextPart("Hello")])]


# --- bounds ---


def test_what_passes_the_bound_is_counted_and_not_kept() -> None:
    (message,) = collected(
        text("x" * BOUND), text("yy"), text("z"), started("call_1", "now", 0), arguments("call_1", "[1]", 0)
    )
    said, call = message.parts
    assert isinstance(said, TextPart)
    assert isinstance(call, ToolCallRequestPart)
    assert (said.content, call.arguments) == ("x" * BOUND, "")
    assert isinstance(said.content, Truncated)
    assert isinstance(call.arguments, Truncated)
    assert (said.content.left_out, call.arguments.left_out) == (3, 3)


def test_a_piece_across_the_bound_is_kept_up_to_it() -> None:
    (message,) = collected(thinking("x" * (BOUND - 1)), text("yyyy"))
    said = message.parts[1]
    assert isinstance(said, TextPart)
    assert isinstance(said.content, Truncated)
    assert (said.content, said.content.left_out) == ("y", 3)


def test_what_just_fits_is_not_truncated() -> None:
    (message,) = collected(text("x" * BOUND), text(""))
    assert isinstance(message.parts[0], TextPart)
    assert type(message.parts[0].content) is str


def test_truncated_arguments_are_not_taken_for_whole() -> None:
    (message,) = collected(text("x" * (BOUND - 1)), started("call_1", "add", 0), arguments("call_1", "12", 0))
    call = message.parts[1]
    assert isinstance(call, ToolCallRequestPart)
    assert call.arguments == "1"


def test_a_stream_has_so_many_parts_at_most_and_says_how_many_more_there_were() -> None:
    (message,) = collected(*(each for _ in range(500) for each in (text("a"), thinking("b"), started("", "now"))))
    assert (len(message.parts), left_out_of(message.parts)) == (256, 1_244)


def test_what_follows_a_part_that_is_left_out_is_left_out_too() -> None:
    """It is no end of a text before."""
    parts = (each for index in range(129) for each in (thinking("Hm"), text(f"{index} ")))
    (message,) = collected(*parts, text("and"), thinking("Hm"), text("that is "), text("all"))
    assert (message.parts[-1], left_out_of(message.parts)) == (TextPart("127 "), 4)


def test_arguments_go_to_a_call_that_is_kept_after_others_are_left_out() -> None:
    calls = [started(f"call_{index}", "add", index) for index in range(300)]
    pieces = [arguments(f"call_{index}", piece, index) for piece in ("[1", "]") for index in range(300)]
    (message,) = collected(*calls, *pieces)
    expected = [ToolCallRequestPart([1], "add", f"call_{index}") for index in range(256)]
    assert (message.parts, left_out_of(message.parts)) == (expected, 44)


def test_each_call_past_those_that_are_remembered_is_counted_once() -> None:
    calls = (
        each
        for index in range(2_000)
        for each in (started(f"call_{index}", "add", index), *(arguments(f"call_{index}", "1", index),) * 3)
    )
    (message,) = collected(*calls)
    assert (len(message.parts), left_out_of(message.parts)) == (256, 1_744)


def test_candidates_of_which_nothing_is_kept_say_so_up_to_so_many() -> None:
    parts = (each for _ in range(128) for each in (thinking("Hm"), text("a")))
    first, *others = collected(*parts, *(of_candidate(index, "a") for index in range(1, 300)))
    assert (len(first.parts), left_out_of(first.parts)) == (256, 0)
    assert [(len(message.parts), left_out_of(message.parts)) for message in others] == [(0, 1)] * 255


# --- anything at all ---


@pytest.mark.parametrize(
    "event",
    [
        None,
        7,
        SimpleNamespace(),
        SimpleNamespace(event_type=[]),
        SimpleNamespace(event_type="PartialContentDelta"),
        SimpleNamespace(event_type="PartialContentDelta", data=SimpleNamespace(content=7)),
        SimpleNamespace(event_type="PartialToolCall", data=SimpleNamespace(tool_call_id=7, index=[], arguments="1")),
    ],
    ids=repr,
)
def test_an_event_of_the_users_own_making_may_be_anything(event: Any) -> None:
    assert collected(event) == []


KINDS = st.sampled_from(["PartialContentDelta", "ThinkingDelta", "ToolCallStarted", "PartialToolCall", "StreamEnd"])
FIELDS = ("content", "thinking", "tool_call_id", "tool_name", "arguments", "index", "__pydantic_extra__")
DATA = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON))


@ANYTHING
@given(st.lists(st.tuples(KINDS, DATA), max_size=8), st.lists(st.text(), max_size=3))
def test_no_event_is_too_odd(events: list[tuple[str, dict[str, Any]]], reasons: list[str]) -> None:
    made = [SimpleNamespace(event_type=kind, data=SimpleNamespace(**data)) for kind, data in events]
    assert all(isinstance(message, OutputMessage) for message in collected(*made, reasons=reasons))


def test_thinking_of_the_runtimes_event_needs_no_consideration() -> None:
    event = StreamingEvent(event_type="ThinkingDelta", data=ThinkingDelta(thinking="Hm", tool_consideration="weather"))
    assert collected(event) == [OutputMessage("assistant", [ReasoningPart("Hm")])]
