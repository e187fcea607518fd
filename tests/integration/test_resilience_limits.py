"""Rate limiters and back-pressure over a socket, under a burst: waits, gauges, and who gets refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic, perf_counter
from typing import Any

import pytest
from ai_lib_python.resilience import (
    BackpressureConfig,
    RateLimiterConfig,
)
from ai_lib_python.resilience.backpressure import BackpressureError

from provider import body, completion
from recorder import Recorder
from resilient import (  # noqa: F401 - a fixture
    COMPILE,
    GPT,
    PARSE,
    WAIT,
    Seconds,
    Seen,
    measured,
    operation,
    own_components,
    point,
    refusal,
    seen,
    served,
    transport,
)

EXECUTOR = "openai/gpt-4o"
CHAT = {**GPT, "operation": "chat"}


async def ask(ai: Any) -> Any:
    return await ai.chat().user("?").execute()


async def burst(ai: Any, size: int) -> list[Any]:
    return await asyncio.gather(*(ask(ai) for _ in range(size)), return_exceptions=True)


def gauge(recorder: Recorder, name: str) -> Any:
    """Return the value of a gauge that one executor has."""
    ((labels, value),) = recorder.points(f"ai_lib.{name}")
    assert labels == {"executor": EXECUTOR}
    return value


def waits(spans: list[Seen]) -> list[float]:
    return sorted(span.attributes["ai_lib.resilience.wait"] for span in spans)


def held(ai: Any, size: int) -> tuple[asyncio.Event, Callable[[], None]]:
    """Hold requests back once they have their permit: return what tells that so many have, and what lets them go."""
    arrived, go = asyncio.Event(), asyncio.Event()
    post, waiting = ai._transport.post, []

    async def hold(*args: Any, **kwargs: Any) -> Any:
        waiting.append(1)
        if len(waiting) == size:
            arrived.set()
        await go.wait()
        return await post(*args, **kwargs)

    ai._transport.post = hold
    return arrived, go.set


async def test_a_burst_waits_for_the_limiter_one_after_another(instrumented: Recorder) -> None:
    limit = RateLimiterConfig(requests_per_second=20, burst_size=1, initial_tokens=1)
    computed: list[float] = []
    available: list[float] = []
    async with served(body(completion()), rate_limit=limit) as (server, ai):
        acquire, post = ai._executor._rate_limiter.acquire, ai._transport.post

        async def note(tokens: int = 1) -> None:
            computed.append(await acquire(tokens))

        async def read_first(*args: Any, **kwargs: Any) -> Any:
            available.append(gauge(instrumented, "rate_limiter.available"))
            return await post(*args, **kwargs)

        ai._executor._rate_limiter.acquire, ai._transport.post = note, read_first
        ai._transport._get_client()  # Making it takes about as long as a permit does.
        assert gauge(instrumented, "rate_limiter.available") == 1.0
        began = perf_counter()
        await burst(ai, 4)
        elapsed = perf_counter() - began

    assert [0.0 <= permits < 1.0 for permits in available] == [True] * 4
    spans = seen(instrumented)[1:]
    sent = COMPILE, transport(server.base_url, 200), PARSE
    assert spans == [operation(server.base_url, *sent, **WAIT)] * 4
    assert measured(instrumented, "rate_limiter.wait", "backpressure.wait") == {
        "ai_lib.rate_limiter.wait": [point(4, executor=EXECUTOR)],
        "ai_lib.backpressure.wait": [],
    }
    # Each waits for those before it too, which is more than what the limiter computes for each.
    ((_, waited),) = instrumented.sums("ai_lib.rate_limiter.wait")
    assert computed[0] == 0.0
    assert 1.5 * sum(computed) < waited <= sum(waits(spans)) < 4 * elapsed
    assert max(computed) < waits(spans)[-1]


async def test_a_burst_queues_for_permits_and_the_gauges_show_who_holds_them(instrumented: Recorder) -> None:
    limit = BackpressureConfig(max_concurrent=2)
    async with served(body(completion()), backpressure=limit) as (server, ai):
        before = [gauge(instrumented, "backpressure.in_flight"), gauge(instrumented, "backpressure.limit")]
        arrived, go = held(ai, 2)
        task = asyncio.ensure_future(burst(ai, 5))
        await arrived.wait()
        await asyncio.sleep(0.02)
        midst = [gauge(instrumented, "backpressure.in_flight"), gauge(instrumented, "backpressure.limit")]
        in_flight = measured(instrumented, "requests.in_flight", "backpressure.wait")
        go()
        await task
        after = gauge(instrumented, "backpressure.in_flight")

    assert (before, midst, after) == ([0, 2], [2, 2], 0)
    assert in_flight == {
        "ai_lib.requests.in_flight": [point(5, CHAT)],
        "ai_lib.backpressure.wait": [point(2, executor=EXECUTOR)],
    }
    spans = seen(instrumented)[1:]
    sent = COMPILE, transport(server.base_url, 200), PARSE
    assert spans == [operation(server.base_url, *sent, **WAIT)] * 5
    assert waits(spans)[1] < 0.02 < waits(spans)[2]
    assert measured(instrumented, "requests.in_flight", "backpressure.wait", "errors") == {
        "ai_lib.requests.in_flight": [point(0, CHAT)],
        "ai_lib.backpressure.wait": [point(5, executor=EXECUTOR)],
        "ai_lib.errors": [],
    }
    ((_, waited),) = instrumented.sums("ai_lib.backpressure.wait")
    assert 0.06 < waited <= sum(waits(spans))


async def test_who_queues_for_too_long_is_refused(instrumented: Recorder) -> None:
    limit = BackpressureConfig(max_concurrent=1, queue_timeout=0.02)
    async with served(body(completion()), backpressure=limit) as (server, ai):
        arrived, go = held(ai, 1)
        task = asyncio.ensure_future(ask(ai))
        await arrived.wait()
        errors = await burst(ai, 2)
        go()
        await task

    assert [type(error) for error in errors] == [BackpressureError] * 2
    answered, *refused = seen(instrumented)[1:]
    sent = COMPILE, transport(server.base_url, 200), PARSE
    assert answered == operation(server.base_url, *sent, **WAIT)
    failure: dict[str, Any] = {"error": "backpressure", "description": "Timeout waiting for permit"}
    wait: dict[str, Any] = {"ai_lib.resilience.wait": Seconds(0.019)}
    assert refused == [operation(server.base_url, attempts=0, **failure, **wait)] * 2
    assert measured(instrumented, "requests", "errors", "attempts", "backpressure.wait") == {
        "ai_lib.requests": [point(3, CHAT)],
        "ai_lib.errors": [point(2, CHAT, type="backpressure", stage="resilience")],
        "ai_lib.attempts": [point(1, GPT, kind="initial", type="ok")],
        "ai_lib.backpressure.wait": [point(3, executor=EXECUTOR)],
    }


async def test_what_a_model_and_its_fallback_waited_adds_up(instrumented: Recorder) -> None:
    limit = RateLimiterConfig(requests_per_second=20, burst_size=1, initial_tokens=0)
    computed: list[float] = []
    async with served(refusal(500), body(completion()), fallbacks=["anthropic/claude"], rate_limit=limit) as (_, ai):
        acquire = ai._executor._rate_limiter.acquire

        async def note(tokens: int = 1) -> None:
            ai._executor._rate_limiter._last_refill = monotonic()  # The bucket is empty both times.
            computed.append(await acquire(tokens))

        ai._executor._rate_limiter.acquire = note
        await ask(ai)

    assert [wait > 0.04 for wait in computed] == [True, True]
    assert waits(seen(instrumented)[1:]) == [Seconds(sum(computed) - 0.01, 2.0)]


async def test_a_fallback_that_queues_for_too_long_is_refused_like_the_first_model(instrumented: Recorder) -> None:
    limit = BackpressureConfig(max_concurrent=1, queue_timeout=0.02)
    async with served(refusal(500), fallbacks=["anthropic/claude"], backpressure=limit) as (_, ai):
        load_model = ai._loader.load_model

        async def dawdle(model: str) -> Any:
            # Between the two models nobody holds the permit: somebody else takes it.
            await ai._executor._backpressure.try_acquire()
            return await load_model(model)

        ai._loader.load_model = dawdle
        with pytest.raises(BackpressureError):
            await ask(ai)

    (call,) = seen(instrumented)[1:]
    assert call.attributes["error.type"] == "backpressure"
    assert call.attributes["ai_lib.attempts"] == 1
    assert call.attributes["ai_lib.resilience.wait"] == Seconds(0.019)
    assert measured(instrumented, "errors") == {
        "ai_lib.errors": [point(1, CHAT, type="backpressure", stage="resilience")]
    }


async def test_a_call_cancelled_in_the_queue_failed_in_the_resilience(instrumented: Recorder) -> None:
    limit = BackpressureConfig(max_concurrent=1)
    async with served(body(completion()), backpressure=limit) as (server, ai):
        arrived, go = held(ai, 1)
        first, second = asyncio.ensure_future(ask(ai)), asyncio.ensure_future(ask(ai))
        await arrived.wait()
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        go()
        await first
        assert gauge(instrumented, "backpressure.in_flight") == 0

    assert seen(instrumented)[2] == operation(server.base_url, attempts=0, error="cancelled", **WAIT)
    assert measured(instrumented, "errors", "backpressure.wait") == {
        "ai_lib.errors": [point(1, CHAT, type="cancelled", stage="resilience")],
        "ai_lib.backpressure.wait": [point(2, executor=EXECUTOR)],
    }


async def test_without_a_limit_nothing_waits_and_no_gauge_pretends_otherwise(instrumented: Recorder) -> None:
    unlimited: dict[str, Any] = {
        "rate_limit": RateLimiterConfig.unlimited(),
        "backpressure": BackpressureConfig.unlimited(),
    }
    async with served(body(completion()), **unlimited) as (_, ai):
        await ask(ai)
        names = ("rate_limiter.available", "rate_limiter.wait", "backpressure.limit", "backpressure.wait")
        found = measured(instrumented, "backpressure.in_flight", *names)

    assert found == {
        "ai_lib.backpressure.in_flight": [point(0, executor=EXECUTOR)],
        **{f"ai_lib.{name}": [] for name in names},
    }
