"""Circuit breakers over a socket: opening, refusing, testing and closing, in spans, counters and the gauge."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from ai_lib_python.resilience import CircuitBreakerConfig, CircuitOpenError

from provider import body, completion
from recorder import Recorder
from resilient import (  # noqa: F401 - a fixture
    COMPILE,
    GPT,
    PARSE,
    WAIT,
    Seconds,
    measured,
    operation,
    own_components,
    point,
    points,
    refusal,
    seen,
    served,
    states,
    transport,
)

EXECUTOR = "openai/gpt-4o"
CHAT = {**GPT, "operation": "chat"}
OPEN: dict[str, Any] = {"ai_lib.circuit_breaker.state": "open"}
CLOSED: dict[str, Any] = {"ai_lib.circuit_breaker.state": "closed"}
ONCE = CircuitBreakerConfig(failure_threshold=1, cooldown_seconds=60)
# It lets the next call test the provider at once.
EAGER = CircuitBreakerConfig(failure_threshold=1, cooldown_seconds=0, success_threshold=1)


async def ask(ai: Any, times: int = 1) -> list[Any]:
    return [(await asyncio.gather(ai.chat().user("?").execute(), return_exceptions=True))[0] for _ in range(times)]


def breaker(recorder: Recorder) -> dict[str, Any]:
    """Return the points of a breaker, by short names."""
    found = measured(recorder, *(f"circuit_breaker.{name}" for name in ("state", "transitions", "rejections")))
    return {name.rsplit(".", 1)[1]: value for name, value in found.items()}


def to(*transitions: tuple[str, int]) -> list[Any]:
    return points(*(point(count, executor=EXECUTOR, to=state) for state, count in transitions))


async def test_a_breaker_opens_with_the_failure_that_reaches_its_threshold(instrumented: Recorder) -> None:
    config = CircuitBreakerConfig(failure_threshold=2, cooldown_seconds=60)
    async with served(refusal(500), circuit_breaker=config) as (server, ai):
        before = breaker(instrumented)
        await ask(ai)
        once = breaker(instrumented)
        await ask(ai)
        twice = breaker(instrumented)

    closed = {"state": states(EXECUTOR, "closed"), "transitions": [], "rejections": []}
    assert before == once == closed
    assert twice == {"state": states(EXECUTOR, "open"), "transitions": to(("open", 1)), "rejections": []}
    sent = COMPILE, transport(server.base_url, 500, "server_error")
    failed = operation(server.base_url, *sent, error="server_error", description="No. [remote]", **WAIT, **CLOSED)
    assert seen(instrumented)[1:] == [failed, failed]


async def test_a_refused_call_has_its_operation_and_never_leaves_the_client(instrumented: Recorder) -> None:
    async with served(refusal(500), circuit_breaker=ONCE) as (server, ai):
        await ask(ai)
        instrumented.clear()
        errors = await ask(ai, 2)
        gauge = breaker(instrumented)

    assert [type(error) for error in errors] == [CircuitOpenError] * 2
    assert len(server.requests) == 1
    refused = operation(
        server.base_url,
        attempts=0,
        error="circuit_open",
        description="Circuit breaker is open",
        **{"ai_lib.resilience.wait": Seconds(0.0, 0.5)},
        **OPEN,
    )
    assert seen(instrumented) == [refused, refused]
    assert gauge == {
        "state": states(EXECUTOR, "open"),
        "transitions": to(("open", 1)),
        "rejections": [point(2, executor=EXECUTOR)],
    }
    assert measured(instrumented, "requests", "requests.in_flight", "attempts", "errors") == {
        "ai_lib.requests": [point(3, CHAT)],
        "ai_lib.requests.in_flight": [point(0, CHAT)],
        "ai_lib.attempts": [point(1, GPT, kind="initial", type="server_error")],
        "ai_lib.errors": points(
            point(1, CHAT, type="server_error", stage="http.transport"),
            point(2, CHAT, type="circuit_open", stage="resilience"),
        ),
    }
    assert instrumented.counts("gen_ai.client.operation.duration", "error.type") == {
        "server_error": 1,
        "circuit_open": 2,
    }


async def test_a_breaker_is_half_open_while_a_call_tests_the_provider_and_closes_when_it_succeeds(
    instrumented: Recorder,
) -> None:
    meanwhile: list[Any] = []
    async with served(refusal(500), body(completion()), circuit_breaker=EAGER) as (server, ai):
        await ask(ai)
        post = ai._transport.post

        async def read_first(*args: Any, **kwargs: Any) -> Any:
            meanwhile.append(breaker(instrumented))
            return await post(*args, **kwargs)

        ai._transport.post = read_first
        instrumented.clear()
        await ask(ai)
        after = breaker(instrumented)

    assert meanwhile == [
        {"state": states(EXECUTOR, "half_open"), "transitions": to(("open", 1), ("half_open", 1)), "rejections": []}
    ]
    assert after == {
        "state": states(EXECUTOR, "closed"),
        "transitions": to(("open", 1), ("half_open", 1), ("closed", 1)),
        "rejections": [],
    }
    # Open is how the call found it.
    sent = COMPILE, transport(server.base_url, 200), PARSE
    assert seen(instrumented) == [operation(server.base_url, *sent, **WAIT, **OPEN)]


async def test_a_test_that_fails_opens_it_again(instrumented: Recorder) -> None:
    async with served(refusal(500), circuit_breaker=EAGER) as (server, ai):
        await ask(ai, 3)
        gauge = breaker(instrumented)

    assert gauge == {
        "state": states(EXECUTOR, "open"),
        "transitions": to(("open", 3), ("half_open", 2)),
        "rejections": [],
    }
    assert len(server.requests) == 3


async def test_calls_queue_behind_the_one_that_tests_the_provider(instrumented: Recorder) -> None:
    config = CircuitBreakerConfig(failure_threshold=1, cooldown_seconds=0, success_threshold=9)
    async with served(refusal(500), [0.05, *body(completion())], body(completion()), circuit_breaker=config) as (
        _server,
        ai,
    ):
        await ask(ai)
        instrumented.clear()
        await asyncio.gather(ask(ai), ask(ai))

    first, second = seen(instrumented)
    assert first.attributes["ai_lib.resilience.wait"] == Seconds(0.0, 0.04)
    assert second.attributes["ai_lib.resilience.wait"] == Seconds(0.045)


async def test_a_reset_by_hand_closes_it(instrumented: Recorder) -> None:
    async with served(refusal(500), body(completion()), circuit_breaker=ONCE) as (_, ai):
        await ask(ai, 2)
        ai.reset_resilience()
        ai.reset_resilience()  # Nothing left to close.
        gauge = breaker(instrumented)
        (response,) = await ask(ai)

    assert response.content == "Hello"
    assert gauge == {
        "state": states(EXECUTOR, "closed"),
        "transitions": to(("open", 1), ("closed", 1)),
        "rejections": [point(1, executor=EXECUTOR)],
    }


async def test_the_breakers_own_timeout_is_one_where_the_call_stood(instrumented: Recorder) -> None:
    config = CircuitBreakerConfig(failure_threshold=1, cooldown_seconds=60, timeout_seconds=0.5)
    async with served([30.0], circuit_breaker=config) as (server, ai):
        (error,) = await ask(ai)
        gauge = breaker(instrumented)

    assert isinstance(error, asyncio.TimeoutError)
    sent = COMPILE, transport(server.base_url, None, "cancelled")
    assert seen(instrumented)[1:] == [operation(server.base_url, *sent, error="timeout", **WAIT, **CLOSED)]
    assert gauge == {"state": states(EXECUTOR, "open"), "transitions": to(("open", 1)), "rejections": []}
    assert measured(instrumented, "attempts", "errors", "requests.in_flight") == {
        # The breaker cancels the exchange.
        "ai_lib.attempts": [point(1, GPT, kind="initial", type="cancelled")],
        "ai_lib.errors": [point(1, CHAT, type="timeout", stage="http.transport")],
        "ai_lib.requests.in_flight": [point(0, CHAT)],
    }


async def test_a_cancelled_call_is_none_of_the_breakers_failures(instrumented: Recorder) -> None:
    async with served([30.0], circuit_breaker=ONCE) as (server, ai):
        task = asyncio.ensure_future(ai.chat().user("?").execute())
        while not server.requests:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert breaker(instrumented) == {"state": states(EXECUTOR, "closed"), "transitions": [], "rejections": []}
