"""The registry of live components: what it knows of whom, for how long, and what its gauges read."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from ai_lib_python.resilience import Backpressure, BackpressureConfig, RateLimiter, RateLimiterConfig
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider

from components import breaker
from opentelemetry_instrumentation_ailib.live import BACKPRESSURE, BREAKER, KINDS, LIMITER, STANDALONE, LiveComponents
from recorder import Recorder


class Thing:
    """Something that can be referred to weakly."""

    def __init__(self, rejected: Any = 0) -> None:
        self._stats = SimpleNamespace(rejected_requests=rejected)


def executor(name: Any, **components: Any) -> Any:
    return SimpleNamespace(name=name, **{kind: components.get(kind) for kind in KINDS})


def observed(components: LiveComponents, recorder: Recorder) -> None:
    """Let the gauges of a recorder's provider speak."""
    components.observe(recorder.meter_provider.get_meter("test"), recorder.meter_provider)


# --- who is known ---


@pytest.mark.parametrize("kind", KINDS)
def test_a_component_is_known_from_when_it_is_first_asked_for(kind: str) -> None:
    components, thing = LiveComponents(), Thing()
    assert list(components.alive(kind)) == []
    known = components.component(kind, thing)
    assert components.component(kind, thing) is known
    assert list(components.alive(kind)) == [(thing, STANDALONE)]
    assert [list(components.alive(other)) for other in KINDS if other != kind] == [[], []]


def test_components_that_are_equal_are_two() -> None:
    class Equal(Thing):
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            return True

    components, things = LiveComponents(), [Equal(), Equal()]
    assert components.component(LIMITER, things[0]) is not components.component(LIMITER, things[1])
    assert len(list(components.alive(LIMITER))) == 2


def test_a_component_is_forgotten_with_its_last_reference() -> None:
    components = LiveComponents()
    gc.disable()  # By reference counts alone.
    try:
        for _ in range(100):  # Later ones get the addresses of earlier ones.
            thing = Thing(rejected=7)
            assert components.component(BREAKER, thing).rejections == 7
            components.component(BREAKER, thing).executor = "gone"
            assert [name for _, name in components.alive(BREAKER)] == ["gone"]
            del thing
            assert list(components.alive(BREAKER)) == []
        assert components._known[BREAKER] == {}
    finally:
        gc.enable()


def test_a_component_in_a_cycle_is_forgotten_with_it() -> None:
    components, thing = LiveComponents(), Thing()
    thing.itself = thing  # type: ignore[attr-defined]
    components.component(BREAKER, thing)
    del thing
    gc.collect()
    assert components._known[BREAKER] == {}


# --- names ---


def test_an_executor_gives_its_components_its_name() -> None:
    components, things = LiveComponents(), {kind: Thing() for kind in KINDS}
    components.adopt(executor("orders", **things))
    assert [list(components.alive(kind)) for kind in KINDS] == [[(things[kind], "orders")] for kind in KINDS]


def test_an_executor_without_components_is_nobody() -> None:
    components = LiveComponents()
    components.adopt(executor("orders"))
    components.adopt(SimpleNamespace(name="of another kind"))
    assert [list(components.alive(kind)) for kind in KINDS] == [[], [], []]


def test_the_last_executor_that_uses_a_component_is_its_own() -> None:
    components, thing = LiveComponents(), Thing()
    for name in ("first", "second"):
        components.adopt(executor(name, _circuit_breaker=thing))
    assert list(components.alive(BREAKER)) == [(thing, "second")]


@pytest.mark.parametrize(
    ("name", "label"),
    [("", STANDALONE), (None, STANDALONE), (7, STANDALONE), ("x" * 1000, "x" * 256), ("\ud800", "?")],
)
def test_a_name_is_bounded_text(name: Any, label: str) -> None:
    components, thing = LiveComponents(), Thing()
    components.adopt(executor(name, _circuit_breaker=thing))
    assert [label for _, label in components.alive(BREAKER)] == [label]


# --- rejections ---


def test_rejections_count_once_and_from_when_a_breaker_is_known() -> None:
    components, thing = LiveComponents(), Thing(rejected=5)
    seen = [components.new_rejections(thing)]
    thing._stats.rejected_requests = 7
    seen += [components.new_rejections(thing), components.new_rejections(thing)]
    components.adopt(executor("orders", _circuit_breaker=thing))
    thing._stats.rejected_requests = 8
    assert [*seen, components.new_rejections(thing)] == [
        (0, STANDALONE),
        (2, STANDALONE),
        (0, STANDALONE),
        (1, "orders"),
    ]


def test_the_rejections_of_the_time_between_two_rounds_are_nobodys(recorder: Recorder) -> None:
    components, thing = LiveComponents(), Thing()
    components.component(BREAKER, thing)
    thing._stats.rejected_requests = 3
    observed(components, recorder)
    thing._stats.rejected_requests = 4
    assert components.new_rejections(thing) == (1, STANDALONE)


# --- gauges ---


@given(
    rate=st.floats(0.001, 1e6),
    tokens=st.floats(-1e3, 1e3),
    burst=st.integers(1, 1000),
    elapsed=st.floats(0, 1e6),
)
def test_what_a_limiter_has_left_is_what_it_would_say_itself(
    rate: float, tokens: float, burst: int, elapsed: float
) -> None:
    recorder, components = Recorder(), LiveComponents()
    observed(components, recorder)
    limiter = RateLimiter(RateLimiterConfig(requests_per_second=rate, burst_size=burst))
    limiter._tokens, limiter._last_refill = tokens, 1000.0
    components.component(LIMITER, limiter)
    with patch.object(time, "monotonic", lambda: 1000.0 + elapsed):
        ((_, available),) = recorder.points("ai_lib.rate_limiter.available")
        untouched = limiter._tokens, limiter._last_refill
        itself = limiter.available_tokens
    assert untouched == (tokens, 1000.0)
    assert available == itself


def test_the_gauges_of_the_last_provider_speak_and_no_others(recorder: Recorder) -> None:
    components, own, first = LiveComponents(), breaker(), Recorder()
    components.component(BREAKER, own)
    spoken: list[list[list[str]]] = []
    steps: tuple[Callable[[], None], ...] = (
        lambda: observed(components, first),
        lambda: observed(components, recorder),
        components.silence,
        lambda: observed(components, first),
        lambda: observed(components, first),
    )
    for step in steps:
        step()
        spoken.append([first.metric_names(), recorder.metric_names()])
    name = "ai_lib.circuit_breaker.state"
    assert spoken == [[[name], []], [[], [name]], [[], []], [[name], []], [[name], []]]
    assert len(first.points(name)) == 3


def test_a_provider_is_let_go_with_its_round() -> None:

    components, provider = LiveComponents(), MeterProvider()
    components.observe(provider.get_meter("test"), provider)
    reference = weakref.ref(provider)
    provider.shutdown()
    components.silence()
    del provider
    gc.collect()
    assert reference() is None


def test_what_is_no_limit_is_not_summed(recorder: Recorder) -> None:
    components = LiveComponents()
    observed(components, recorder)
    limits = (
        BackpressureConfig(max_concurrent=2),
        BackpressureConfig.unlimited(),
        BackpressureConfig(max_concurrent=3),
    )
    controls = [Backpressure(config) for config in limits]
    for control in controls:
        components.component(BACKPRESSURE, control)
    for control in controls[:2]:
        control._current_inflight = 4
    assert recorder.points("ai_lib.backpressure.limit") == [({"executor": STANDALONE}, 5)]
    assert recorder.points("ai_lib.backpressure.in_flight") == [({"executor": STANDALONE}, 8)]


def test_components_come_and_go_while_the_gauges_are_read(recorder: Recorder) -> None:
    components = LiveComponents()
    observed(components, recorder)
    faults: list[BaseException] = []
    reading = threading.Event()

    def come_and_go() -> None:
        try:
            while not reading.is_set():
                things = [breaker() for _ in range(20)]
                for index, thing in enumerate(things):
                    components.component(BREAKER, thing).executor = f"{index}"
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        points = recorder.points("ai_lib.circuit_breaker.state")
        assert len(points) == 3 * len({labels["executor"] for labels, _ in points})
    reading.set()
    for thread in threads:
        thread.join()
    assert faults == []
    gc.collect()
    assert components._known[BREAKER] == {}
