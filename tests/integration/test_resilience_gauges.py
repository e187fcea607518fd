"""The gauges: several components of one name, components of the user's own making, and a guest that touches nothing."""

from __future__ import annotations

import gc
import weakref
from enum import Enum
from typing import Any

import pytest
from ai_lib_python.resilience import (
    Backpressure,
    BackpressureConfig,
    CircuitBreaker,
    CircuitBreakerConfig,
    RateLimiter,
    RateLimiterConfig,
    ResilientConfig,
    ResilientExecutor,
)

from components import ALONE, GAUGES, breaker, limiter, succeed, tripped
from recorder import Recorder
from resilient import (  # noqa: F401 - a fixture
    measured,
    own_components,
    point,
    points,
    states,
)

# --- several of one name ---


async def test_executors_of_one_name_show_the_worst_state_and_their_sums(instrumented: Recorder) -> None:
    config = ResilientConfig(
        circuit_breaker=CircuitBreakerConfig(failure_threshold=1, cooldown_seconds=0, success_threshold=2),
        rate_limit=RateLimiterConfig(requests_per_second=1e-9, burst_size=5, initial_tokens=5),
        backpressure=BackpressureConfig(max_concurrent=3),
    )
    same = [ResilientExecutor(config, name="same") for _ in range(3)]
    other = ResilientExecutor(config, name="other")
    await other.execute(succeed)
    seen = [measured(instrumented, "circuit_breaker.state")]
    await tripped(same[0])
    await same[0].execute(succeed)  # One of the two successes that close it: half-open.
    seen.append(measured(instrumented, "circuit_breaker.state"))
    await tripped(same[1])
    async with same[0]._backpressure.acquire(), same[2]._backpressure.acquire():  # type: ignore[union-attr]
        sums = measured(instrumented, "backpressure.in_flight", "backpressure.limit")
    seen.append(measured(instrumented, "circuit_breaker.state"))

    assert seen == [
        {"ai_lib.circuit_breaker.state": points(*states("same", state), *states("other", "closed"))}
        for state in ("closed", "half_open", "open")
    ]
    assert sums == {
        "ai_lib.backpressure.in_flight": points(point(2, executor="same"), point(0, executor="other")),
        "ai_lib.backpressure.limit": points(point(9, executor="same"), point(3, executor="other")),
    }
    available = instrumented.points("ai_lib.rate_limiter.available")
    assert {str(labels["executor"]): value for labels, value in available} == {
        "same": pytest.approx(12.0),
        "other": pytest.approx(4.0),
    }
    assert measured(instrumented, "circuit_breaker.transitions") == {
        "ai_lib.circuit_breaker.transitions": points(
            point(2, executor="same", to="open"), point(1, executor="same", to="half_open")
        )
    }


class State(Enum):
    """A state that the runtime does not know."""

    ISOLATED = "isolated"


class Remote(RateLimiter):
    """A limiter that counts elsewhere."""

    def __init__(self) -> None:  # Without that of its base, deliberately.
        self._rate = 1.0

    async def acquire(self, tokens: int = 1) -> float:
        return 0.0


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")  # It says once that something is missing.
async def test_a_limiter_of_the_users_own_making_does_not_silence_the_others(instrumented: Recorder) -> None:
    executor, own = ResilientExecutor(name="remote"), limiter()
    executor._rate_limiter = Remote()
    assert await executor.execute(succeed) == "ok"

    assert measured(instrumented, "rate_limiter.available") == {
        "ai_lib.rate_limiter.available": [point(pytest.approx(own._tokens), executor=ALONE)]
    }


async def test_a_state_that_only_the_user_knows_does_not_silence_the_others(instrumented: Recorder) -> None:
    class Isolated(CircuitBreaker):
        """A breaker with a fourth state."""

        @property
        def state(self) -> Any:
            return State.ISOLATED

    executor, own = ResilientExecutor(name="isolated"), breaker()
    executor._circuit_breaker = Isolated()
    assert await executor.execute(succeed) == "ok"
    await tripped(own)

    assert measured(instrumented, "circuit_breaker.state") == {"ai_lib.circuit_breaker.state": states(ALONE, "open")}


# --- a guest ---


async def test_gauges_hold_nothing_alive(instrumented: Recorder) -> None:
    config = ResilientConfig.default()
    executor, own, bucket, queue = ResilientExecutor(config), breaker(), limiter(), Backpressure()
    await executor.execute(succeed)
    await own.execute(succeed)
    await bucket.acquire()
    await queue.execute(succeed)
    kept = [weakref.ref(it) for it in (executor, executor._circuit_breaker, own, bucket, queue)]
    assert set(GAUGES) < set(instrumented.metric_names())
    gc.disable()  # By reference counts alone.
    try:
        del executor, own, bucket, queue
        assert [reference() for reference in kept] == [None] * 5
        assert set(GAUGES) & set(instrumented.metric_names()) == set()
    finally:
        gc.enable()


async def test_reading_the_gauges_changes_nothing_in_the_components(instrumented: Recorder) -> None:
    own = RateLimiter(RateLimiterConfig(requests_per_second=1000, burst_size=50, initial_tokens=0))
    circuit = breaker(cooldown=0)
    await tripped(circuit)
    queue = Backpressure()
    own._last_refill -= 0.01  # Ten permits ago.
    before = [dict(vars(it)) for it in (own, circuit, queue)]
    ((_, available),) = instrumented.points("ai_lib.rate_limiter.available")
    instrumented.metric_names()

    assert [dict(vars(it)) for it in (own, circuit, queue)] == before
    # What `available_tokens` comes to, which does change them.
    assert 10.0 <= available <= own.available_tokens <= 50.0
    assert instrumented.points("ai_lib.circuit_breaker.state") == [
        ({"executor": ALONE, "state": name}, int(name == "open")) for name in ("closed", "half_open", "open")
    ]
