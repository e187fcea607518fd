"""Breakers, limiters and back-pressure that an application uses without a client, and executors that share a name."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
from ai_lib_python.resilience import (
    Backpressure,
    BackpressureConfig,
    CircuitBreakerConfig,
    CircuitOpenError,
    RateLimiterConfig,
    ResilientConfig,
    ResilientExecutor,
)
from ai_lib_python.resilience.backpressure import BackpressureError
from ai_lib_python.resilience.rate_limiter import AdaptiveRateLimiter
from opentelemetry.instrumentation.utils import suppress_instrumentation

from components import ALONE, GAUGES, breaker, fail, limiter, refused, succeed, tripped
from recorder import Recorder
from resilient import (  # noqa: F401 - a fixture
    measured,
    own_components,
    point,
    states,
)

# --- on their own ---


async def test_a_breaker_on_its_own(instrumented: Recorder) -> None:
    own = breaker()
    assert await own.execute(succeed) == "ok"
    await tripped(own)
    await refused(own, 2)

    assert measured(instrumented) == {
        "ai_lib.circuit_breaker.state": states(ALONE, "open"),
        "ai_lib.circuit_breaker.transitions": [point(1, executor=ALONE, to="open")],
        "ai_lib.circuit_breaker.rejections": [point(2, executor=ALONE)],
    }
    assert instrumented.spans() == []


async def test_a_breaker_that_answers_by_a_fallback_has_refused_all_the_same(instrumented: Recorder) -> None:
    async def instead() -> str:
        return "instead"

    own = breaker()
    with pytest.raises(ConnectionError):
        await own.execute(fail, fallback=instead)
    assert await own.execute(succeed, fallback=instead) == "instead"
    assert await own.execute(operation=succeed, fallback=instead) == "instead"
    with pytest.raises(ConnectionError):
        await own.execute(succeed, fail)

    assert measured(instrumented, "circuit_breaker.rejections") == {
        "ai_lib.circuit_breaker.rejections": [point(3, executor=ALONE)]
    }


async def test_a_limiter_on_its_own(instrumented: Recorder) -> None:
    own = limiter()
    assert [await own.acquire(), await own.acquire(tokens=1)] == [0.0, 0.0]

    found = measured(instrumented)
    assert found.pop("ai_lib.rate_limiter.available") == [point(pytest.approx(1.0), executor=ALONE)]
    assert found == {"ai_lib.rate_limiter.wait": [point(2, executor=ALONE)]}


async def test_an_adaptive_limiter_is_a_limiter_from_when_it_has_a_limit(instrumented: Recorder) -> None:
    own = AdaptiveRateLimiter(header_config={"requests_reset": "reset"})
    await own.acquire()
    before = measured(instrumented)
    own.update_from_headers({"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "60", "reset": "60"})
    await own.acquire()

    assert before == {}
    found = measured(instrumented)
    assert found.pop("ai_lib.rate_limiter.available") == [point(pytest.approx(59.0, abs=0.9), executor=ALONE)]
    assert found == {"ai_lib.rate_limiter.wait": [point(1, executor=ALONE)]}


async def test_back_pressure_on_its_own(instrumented: Recorder) -> None:
    own = Backpressure(BackpressureConfig(max_concurrent=1, queue_timeout=0.01))
    async with own.acquire():
        with pytest.raises(BackpressureError):
            await own.execute(succeed)
        midst = measured(instrumented)
    assert await own.try_acquire()
    held = instrumented.points("ai_lib.backpressure.in_flight")
    own.release()

    assert midst == {
        "ai_lib.backpressure.in_flight": [point(1, executor=ALONE)],
        "ai_lib.backpressure.limit": [point(1, executor=ALONE)],
        "ai_lib.backpressure.wait": [point(2, executor=ALONE)],
    }
    assert held == [({"executor": ALONE}, 1)]
    assert instrumented.points("ai_lib.backpressure.in_flight") == [({"executor": ALONE}, 0)]


async def test_a_permit_of_an_exit_stack_is_timed_like_any(instrumented: Recorder) -> None:
    own = Backpressure(BackpressureConfig(max_concurrent=2))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(own.acquire())
        await stack.enter_async_context(own.acquire())
        assert instrumented.points("ai_lib.backpressure.in_flight") == [({"executor": ALONE}, 2)]

    assert own.current_inflight == 0
    assert instrumented.points("ai_lib.backpressure.wait") == [({"executor": ALONE}, 2)]


async def test_an_executor_on_its_own_names_its_components(instrumented: Recorder) -> None:
    config = ResilientConfig(
        circuit_breaker=CircuitBreakerConfig(failure_threshold=1, cooldown_seconds=60),
        rate_limit=RateLimiterConfig.from_rps(1000),
        backpressure=BackpressureConfig(max_concurrent=4),
    )
    executor = ResilientExecutor(config, name="orders")
    await tripped(executor)
    with pytest.raises(CircuitOpenError):
        await executor.execute_with_stats(succeed)

    found = measured(instrumented)
    assert [labels for labels, _ in instrumented.points("ai_lib.rate_limiter.available")] == [{"executor": "orders"}]
    del found["ai_lib.rate_limiter.available"]
    assert found == {
        "ai_lib.backpressure.in_flight": [point(0, executor="orders")],
        "ai_lib.backpressure.limit": [point(4, executor="orders")],
        "ai_lib.backpressure.wait": [point(2, executor="orders")],
        "ai_lib.circuit_breaker.rejections": [point(1, executor="orders")],
        "ai_lib.circuit_breaker.state": states("orders", "open"),
        "ai_lib.circuit_breaker.transitions": [point(1, executor="orders", to="open")],
        "ai_lib.rate_limiter.wait": [point(2, executor="orders")],
    }
    assert instrumented.spans() == []


async def test_nothing_is_recorded_of_components_where_instrumentation_is_suppressed(instrumented: Recorder) -> None:
    own, queue, bucket = breaker(), Backpressure(), limiter()
    with suppress_instrumentation():
        await tripped(own)
        await refused(own)
        await queue.execute(succeed)
        await bucket.acquire()

    assert sorted(measured(instrumented)) == list(GAUGES)
