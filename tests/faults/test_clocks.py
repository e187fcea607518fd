"""Clocks that jump, stand still or go backwards: calls do not notice, and what can be told is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ai_lib_python.batch import BatchExecutor
from ai_lib_python.resilience import Backpressure, BackpressureConfig, RateLimiter, RateLimiterConfig
from clock import EPOCH, HOUR, set_clocks, ticking
from opentelemetry.sdk.trace import ReadableSpan
from unmoved import CASES, Case, assert_recorded, unmoved

from differential import encoded
from provider import body, completion
from recorder import Recorder
from resilient import fast, refusal, served

Clock = Callable[[], Callable[[], float]]
# A clock of a call's own each: they have a state.
WALLS: dict[str, Clock] = {
    "right": lambda: ticking(EPOCH, 1e-3),
    "back by an hour at each step": lambda: ticking(EPOCH, -HOUR),
    "to and fro": lambda: ticking(EPOCH, 2 * HOUR, -3 * HOUR),
}
TICKS: dict[str, Clock] = {
    "right": lambda: ticking(HOUR, 1e-3),
    "standing still": lambda: ticking(HOUR, 0.0),
    "backwards": lambda: ticking(HOUR, -1.0),
    "to and fro": lambda: ticking(HOUR, 1.0, -2.0),
}
each_wall = pytest.mark.parametrize("wall", WALLS.values(), ids=WALLS)
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def lasted(span: ReadableSpan) -> float:
    """Return how long a span took, in seconds."""
    return ((span.end_time or 0) - (span.start_time or 0)) / 1e9


@pytest.mark.noisy("opentelemetry")  # The SDK refuses durations that are negative.
@each_case
@pytest.mark.parametrize("ticks", TICKS.values(), ids=TICKS)
@each_wall
def test_no_clock_changes_a_call(
    wall: Clock, ticks: Clock, case: Case, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_clocks(monkeypatch, wall=wall(), ticks=ticks())
    unmoved(recorder, case)
    assert_recorded(recorder, case)
    assert encoded(recorder)


@each_wall
def test_a_manifests_span_ends_after_it_began(wall: Clock, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    set_clocks(monkeypatch, wall=wall(), ticks=TICKS["right"]())
    unmoved(recorder, CASES["execute"])
    assert lasted(recorder.span("ai_lib.protocol.load")) == pytest.approx(1e-3)


@each_wall
async def test_a_batchs_span_ends_after_it_began(
    wall: Clock, instrumented: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def succeed(item: int) -> int:
        return item

    set_clocks(monkeypatch, wall=wall(), ticks=TICKS["right"]())
    assert (await BatchExecutor(succeed).execute([1, 2])).successful_count == 2
    assert lasted(instrumented.span("ai_lib.batch")) == pytest.approx(1e-3)


@each_wall
async def test_what_happens_during_a_call_lies_within_its_span(
    wall: Clock, instrumented: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry, and a fallback, whose manifest is loaded."""
    set_clocks(monkeypatch, wall=wall(), ticks=TICKS["right"]())
    scripts = refusal(503), refusal(503), body(completion())
    async with served(*scripts, retry=fast(1), fallbacks=["anthropic/claude"]) as (_, ai):
        await ai.chat().user("Hello?").execute()
    call = instrumented.span("chat gpt-4o")
    children = instrumented.children(call)
    assert [child.name for child in children].count("ai_lib.protocol.load") == 1
    assert [event.name for event in call.events] == ["ai_lib.retry", "ai_lib.fallback"]
    dates = [event.timestamp for event in call.events]
    assert dates == sorted(dates)
    dates += [date or 0 for child in children for date in (child.start_time, child.end_time)]
    assert [date for date in dates if not (call.start_time or 0) <= date <= (call.end_time or 0)] == []


@each_wall
def test_a_streams_spans_last_as_long_as_they_did(
    wall: Clock, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_clocks(monkeypatch, wall=wall(), ticks=TICKS["right"]())
    unmoved(recorder, CASES["stream"])
    ((_, seconds),) = recorder.sums("ai_lib.request.duration")
    assert lasted(recorder.span("chat gpt-4o")) == pytest.approx(seconds)
    assert seconds > 0


async def test_a_wait_by_a_clock_that_goes_backwards_is_none(
    instrumented: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_clocks(monkeypatch, wall=WALLS["right"](), ticks=TICKS["backwards"]())
    await RateLimiter(RateLimiterConfig(requests_per_second=1000, burst_size=5)).acquire()
    async with Backpressure(BackpressureConfig(max_concurrent=1)).acquire():
        pass
    assert instrumented.sums("ai_lib.rate_limiter.wait") == [({"executor": "standalone"}, 0.0)]
    assert instrumented.sums("ai_lib.backpressure.wait") == [({"executor": "standalone"}, 0.0)]
