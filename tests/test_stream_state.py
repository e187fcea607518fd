"""What a stream notes as it passes: whose time it is, what the events say, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any

import pytest
from ai_lib_python.errors import ErrorClass, RemoteError, TransportError
from ai_lib_python.types.events import StreamingEvent
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context

from opentelemetry_instrumentation_ailib import pipeline, streaming
from opentelemetry_instrumentation_ailib.fields import Answer
from opentelemetry_instrumentation_ailib.pipeline import PipelineView, timed_body
from opentelemetry_instrumentation_ailib.stream_state import (
    COMPILE,
    MAP,
    NOTES,
    PIPELINE,
    STAGE_OF,
    TRANSPORT,
    StageClock,
    StreamState,
)
from opentelemetry_instrumentation_ailib.usage import Report, Usage


def state(**noted: Any) -> StreamState:
    """Return the state of a stream of which this much has been noted."""
    return StreamState(StageClock(0.0), chunk_timing=True, **noted)


# --- the clock ---

PARTIES = (COMPILE, TRANSPORT, PIPELINE, MAP, "consumer")
SECONDS = st.integers(0, 2**30)
# Of each frame: the wait for it, before and after each party hands it on, and how long the caller keeps it.
FRAMES = st.lists(st.tuples(*[SECONDS] * 6), max_size=8)


def parts(clock: StageClock) -> dict[str, float]:
    """Return the time of each party."""
    return {party: getattr(clock, party) for party in PARTIES}


class Stream:
    """A stream whose parties take as long as they are told, by a clock that stands still in between."""

    def __init__(self, frames: list[tuple[int, ...]], patch: pytest.MonkeyPatch) -> None:
        self.moment, self.frames = 1.0, frames
        for module in (pipeline, streaming):
            patch.setattr(module, "perf_counter", lambda: self.moment)
        patch.setattr(streaming, "end_stream", self.end)
        telemetry = SimpleNamespace(config=SimpleNamespace(chunk_timing=False), content=SimpleNamespace(wanted=False))
        instruments = SimpleNamespace(time_to_first_chunk=SimpleNamespace(record=lambda *_, **__: None))
        telemetry.instruments = instruments
        self.operation: Any = SimpleNamespace(
            telemetry=telemetry,
            heard=True,
            ended=True,
            began=SimpleNamespace(seconds=1.0),
            context=Context(),
            measured=Context(),
            asked=SimpleNamespace(conventions={}),
        )

    def end(self, operation: Any, state: StreamState, ended: float, error: Any, *, exhausted: bool) -> None:
        self.state = state
        state.clock.stop(ended, consuming=error is None and not exhausted)

    async def body(self) -> Any:
        for wait, *_ in self.frames:
            self.moment += wait
            yield b"frame"

    async def _pass(self, frames: Any, before: int, after: int) -> Any:
        index = 0
        async for frame in frames:
            self.moment += self.frames[index][before]
            yield frame
            self.moment += self.frames[index][after]
            index += 1

    async def events(self) -> Any:
        decoder = SimpleNamespace(decode=lambda body: self._pass(body, 1, 2))
        view = PipelineView(
            SimpleNamespace(_decoder=decoder, _transforms=[], _event_mapper=None), self.operation.stream
        )
        body = timed_body(self.body(), self.operation.stream)
        async for _ in self._pass(view._decoder.decode(body), 3, 4):
            yield SimpleNamespace(event_type="PartialContentDelta")

    async def read(self, count: int) -> StageClock:
        """Read so many events, or all, and return the clock when the stream has ended."""
        stream = streaming.observed(self.events(), lambda: self.operation, ())
        async with contextlib.aclosing(stream):
            index = 0
            async for _ in stream:
                self.moment += self.frames[index][5]
                index += 1
                if index == count:
                    break
        return self.state.clock


@given(FRAMES, st.integers(1, 9))
def test_every_second_of_a_stream_is_given_to_who_had_it(frames: list[tuple[int, ...]], count: int) -> None:
    """Whole seconds, so that no sum is rounded. It is read to its end, or left after some events."""
    with pytest.MonkeyPatch.context() as patch:
        clock = asyncio.run(Stream(frames, patch).read(count))
    read = frames[:count]
    left = 1 if len(read) == count else 0  # Of the last, nobody asked for what follows.
    asked = read[: len(read) - left]
    assert parts(clock) == {
        COMPILE: 0.0,
        TRANSPORT: sum(frame[0] for frame in read),
        PIPELINE: sum(frame[1] for frame in read) + sum(frame[2] for frame in asked),
        MAP: sum(frame[3] for frame in read) + sum(frame[4] for frame in asked),
        "consumer": sum(frame[5] for frame in read),
    }
    assert clock.total() == sum(parts(clock).values())


def test_a_clock_starts_with_nothing_given() -> None:
    clock = StageClock(7.0)
    assert parts(clock) == dict.fromkeys(PARTIES, 0.0)
    assert (clock.total(), clock.last, clock.failed) == (0.0, 7.0, None)


def test_a_sum_that_is_rounded_leaves_no_party_with_less_than_nothing() -> None:
    clock = StageClock(0.0)
    clock.body, clock.frames = 0.3, 0.1 + 0.1 + 0.1 - 1e-16
    clock.stop(0.1, consuming=False)
    assert (clock.pipeline, clock.map) == (0.0, 0.0)


def test_the_innermost_party_that_sees_an_exception_is_where_it_came_from() -> None:
    clock = StageClock(0.0)
    for party in (TRANSPORT, PIPELINE, MAP):
        clock.fail(party)
    assert clock.failed == TRANSPORT


def test_every_party_but_the_caller_is_a_stage() -> None:
    assert STAGE_OF == {
        COMPILE: "request.compile",
        TRANSPORT: "http.transport",
        PIPELINE: "pipeline.process",
        MAP: "event.map",
    }


@pytest.mark.parametrize(
    ("decoded", "offered", "frames"),
    [
        pytest.param(0, 0, 0, id="none"),
        pytest.param(0, 3, 3, id="straight-to-the-mapper"),
        pytest.param(5, 3, 5, id="some-filtered"),
        pytest.param(5, 0, 5, id="all-filtered"),
    ],
)
def test_frames_are_what_the_decoder_made(decoded: int, offered: int, frames: int) -> None:
    assert state(decoded=decoded, offered=offered).frames == frames


# --- outcomes ---

BROKEN = TransportError("broken")
CANCELLED = asyncio.CancelledError()
CLOSED = GeneratorExit()


@pytest.mark.parametrize(
    ("noted", "error", "exhausted", "outcome"),
    [
        pytest.param({"finished": True, "events": 3, "bytes": 9}, None, True, "completed", id="iterated-to-the-end"),
        pytest.param({"finished": True, "events": 3, "bytes": 9}, None, False, "completed", id="left-after-the-finish"),
        pytest.param({"finished": True, "events": 3, "bytes": 9}, CLOSED, False, "completed", id="closed-after-finish"),
        pytest.param({"events": 3, "bytes": 9}, None, False, "abandoned", id="left-before-the-finish"),
        pytest.param({"events": 3, "bytes": 9}, CLOSED, False, "abandoned", id="closed-before-the-finish"),
        pytest.param({"events": 3, "bytes": 9}, CANCELLED, False, "cancelled", id="task-cancelled"),
        pytest.param({"events": 3, "bytes": 9}, BROKEN, False, "error", id="raised"),
        pytest.param({"erroneous": True, "events": 3, "bytes": 9}, None, True, "error", id="error-event-passed"),
        pytest.param({"events": 3, "bytes": 9}, None, True, "truncated", id="ended-without-a-finish"),
        pytest.param({"bytes": 9, "decoded": 2}, None, True, "empty", id="bytes-and-no-event"),
        # What takes precedence.
        pytest.param({"finished": True, "events": 3}, CANCELLED, False, "cancelled", id="cancelled-after-the-finish"),
        pytest.param({"finished": True, "events": 3}, BROKEN, False, "error", id="raised-after-the-finish"),
        pytest.param({"erroneous": True, "events": 3}, CANCELLED, False, "cancelled", id="cancelled-after-an-error"),
        pytest.param({"erroneous": True, "finished": True, "events": 3}, None, True, "error", id="finished-with-error"),
        pytest.param({"erroneous": True, "events": 3}, None, False, "error", id="left-after-an-error-event"),
        pytest.param({"erroneous": True, "events": 3}, CLOSED, False, "error", id="closed-after-an-error-event"),
        pytest.param({"finished": True, "bytes": 9}, None, True, "empty", id="done-signal-and-no-event"),
        pytest.param({"bytes": 9}, None, False, "abandoned", id="left-before-the-first-event"),
        pytest.param({}, None, True, "truncated", id="no-byte-at-all"),
        pytest.param({}, None, False, "abandoned", id="left-before-the-first-byte"),
        pytest.param({"bytes": 9}, asyncio.TimeoutError(), False, "error", id="timed-out"),
        pytest.param(
            {},
            RemoteError("closed", status_code=499, error_class=ErrorClass.CANCELLED),
            False,
            "error",
            id="refused-by-the-provider-as-cancelled",
        ),
    ],
)
def test_how_a_stream_ends(noted: dict[str, Any], error: BaseException | None, exhausted: bool, outcome: str) -> None:
    assert state(**noted).outcome(error, exhausted=exhausted) == outcome


# --- notes ---


def noted(*events: StreamingEvent, **before: Any) -> tuple[bool, bool, Answer]:
    """Note some events and return whether the stream is finished, whether it is erroneous, and its answer."""
    stream = state(**before)
    for event in events:
        NOTES[event.event_type](stream, event.data)
    return stream.finished, stream.erroneous, stream.answer()


def test_only_four_kinds_of_events_say_something_about_the_stream() -> None:
    assert sorted(NOTES) == ["FinalCandidate", "Metadata", "StreamEnd", "StreamError"]


USAGE = {"prompt_tokens": 12, "completion_tokens": 5}


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (StreamingEvent.metadata(usage=USAGE), (False, False, Answer(usage=Usage(12, 5)))),
        (StreamingEvent.metadata(finish_reason="stop"), (True, False, Answer(finish_reasons=("stop",)))),
        (StreamingEvent.metadata(stop_reason="end_turn"), (True, False, Answer(finish_reasons=("end_turn",)))),
        (StreamingEvent.metadata(finish_reason="a", stop_reason="b"), (True, False, Answer(finish_reasons=("a",)))),
        (StreamingEvent.metadata(finish_reason=""), (False, False, Answer())),
        (StreamingEvent.metadata(), (False, False, Answer())),
        (StreamingEvent.final_candidate(0, "stop"), (True, False, Answer(finish_reasons=("stop",)))),
        (StreamingEvent.final_candidate(0, "x" * 300), (True, False, Answer(finish_reasons=("x" * 256,)))),
        (StreamingEvent.stream_end("stop"), (True, False, Answer(finish_reasons=("stop",)))),
        (StreamingEvent.stream_end(), (True, False, Answer())),
        (StreamingEvent.stream_error({"message": "overloaded"}), (False, True, Answer())),
    ],
)
def test_what_an_event_says(event: StreamingEvent, expected: tuple[bool, bool, Answer]) -> None:
    assert noted(event) == expected


def test_each_candidate_has_its_finish_reason_in_the_order_of_the_candidates() -> None:
    _, _, answer = noted(
        StreamingEvent.final_candidate(2, "length"),
        StreamingEvent.final_candidate(0, "stop"),
        StreamingEvent.final_candidate(1, "tool_calls"),
    )
    assert answer.finish_reasons == ("stop", "tool_calls", "length")


def test_the_same_reason_twice_is_one_reason() -> None:
    _, _, answer = noted(StreamingEvent.final_candidate(0, "stop"), StreamingEvent.stream_end("stop"))
    assert answer.finish_reasons == ("stop",)


def test_finish_reasons_are_bounded() -> None:
    _, _, answer = noted(*(StreamingEvent.final_candidate(index, "stop") for index in range(100)))
    assert answer.finish_reasons == ("stop",) * 64


def test_usage_is_put_together_from_the_events() -> None:
    _, _, answer = noted(
        StreamingEvent.metadata(usage={"input_tokens": 12, "output_tokens": 1}),
        StreamingEvent.metadata(usage={"output_tokens": 5}),
    )
    assert answer == Answer(usage=Usage(12, 5))


STARTED = Report(Usage(10, 1, cache_read=100, cache_write=20), apart=True)


def test_usage_is_put_together_from_the_first_frame_and_the_events() -> None:
    finished, _, answer = noted(
        StreamingEvent.metadata(usage={"output_tokens": 3}),
        StreamingEvent.metadata(usage={"output_tokens": 7}, stop_reason="end_turn"),
        first_frame=Answer(id="msg_1", model="claude-x"),
        report=STARTED,
    )
    assert finished
    assert answer == Answer("msg_1", "claude-x", ("end_turn",), Usage(130, 7, cache_read=100, cache_write=20))


def test_input_tokens_repeated_without_the_cached_ones_include_those_of_the_first_frame() -> None:
    _, _, answer = noted(
        StreamingEvent.metadata(usage={"input_tokens": 10, "output_tokens": 7}),
        report=STARTED,
    )
    assert answer == Answer(usage=Usage(130, 7, cache_read=100, cache_write=20))


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
@pytest.mark.parametrize("kind", ["Metadata", "FinalCandidate", "StreamEnd", "StreamError"])
@pytest.mark.parametrize("data", [None, object(), SimpleNamespace(usage=7, finish_reason=[1], stop_reason=None)])
def test_an_event_of_the_users_own_making_disturbs_nobody(kind: str, data: Any) -> None:
    stream = state()
    NOTES[kind](stream, data)
    assert stream.answer() == Answer()
