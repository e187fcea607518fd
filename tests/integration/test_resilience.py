"""Retries over a socket: every span, event and point of calls that are tried again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from ai_lib_python.errors import RemoteError, TransportError
from ai_lib_python.resilience import (
    BackpressureConfig,
    CircuitBreakerConfig,
    RateLimiterConfig,
)

from provider import body, completion
from recorder import Recorder
from resilient import (  # noqa: F401 - a fixture
    COMPILE,
    GPT,
    PARSE,
    WAIT,
    chatting,
    fast,
    load,
    measured,
    operation,
    own_components,
    point,
    points,
    refusal,
    retried,
    seen,
    served,
    stages,
    transport,
)

CHAT = {**GPT, "operation": "chat"}
LOAD = point(1, GPT, stage="protocol.load")


def counted(**more: Any) -> dict[str, Any]:
    """Return what every call counts that is answered by ``gpt-4o``, and more."""
    return {
        "ai_lib.requests": points(point(1, CHAT)),
        "ai_lib.request.duration": points(point(1, CHAT)),
        "ai_lib.requests.in_flight": points(point(0, CHAT)),
        "ai_lib.tokens": points(point(12, CHAT, type="input"), point(5, CHAT, type="output")),
        **{f"ai_lib.{name.replace('__', '.')}": value for name, value in more.items()},
    }


async def test_a_429_is_tried_again_after_the_time_that_the_provider_asks_for(instrumented: Recorder) -> None:
    async with served(refusal(429, Retry_After="0.01", x_request_id="req-1"), body(completion()), retry=fast()) as (
        server,
        ai,
    ):
        assert (await ai.chat().user("Hello?").execute()).content == "Hello"

    refused = transport(server.base_url, 429, "rate_limited")
    refused.attributes["ai_lib.provider.request_id"] = "req-1"
    sent = transport(server.base_url, 200, resend=1)
    assert seen(instrumented) == [
        load(),
        operation(
            server.base_url,
            *(COMPILE, refused, COMPILE, sent, PARSE),
            attempts=2,
            events=[retried(1, 0.01, "rate_limited")],
            **WAIT,
        ),
    ]
    assert measured(instrumented) == counted(
        attempts=points(
            point(1, GPT, kind="initial", type="rate_limited"),
            point(1, GPT, kind="retry", type="ok"),
        ),
        retries=[point(1, GPT, type="rate_limited")],
        retry__delay=[point(1, GPT, type="rate_limited")],
        stage__duration=points(LOAD, *stages(GPT, request_compile=2, http_transport=2, pipeline_process=1)),
    )
    assert instrumented.sums("ai_lib.retry.delay") == [({**GPT, "type": "rate_limited"}, 0.01)]


async def test_two_503_are_two_retries_with_growing_delays(instrumented: Recorder) -> None:
    async with served(refusal(503), refusal(503), body(completion()), retry=fast()) as (server, ai):
        _, stats = await ai.chat().user("Hello?").execute_with_stats()

    assert seen(instrumented) == [
        load(),
        operation(
            server.base_url,
            *(COMPILE, transport(server.base_url, 503, "overloaded")),
            *(COMPILE, transport(server.base_url, 503, "overloaded", resend=1)),
            *(COMPILE, transport(server.base_url, 200, resend=2), PARSE),
            attempts=3,
            events=[retried(1, 0.004, "overloaded"), retried(2, 0.008, "overloaded")],
            **WAIT,
            **{"ai_lib.request.id": stats.client_request_id},
        ),
    ]
    assert measured(instrumented) == counted(
        attempts=points(
            point(1, GPT, kind="initial", type="overloaded"),
            point(1, GPT, kind="retry", type="overloaded"),
            point(1, GPT, kind="retry", type="ok"),
        ),
        retries=[point(2, GPT, type="overloaded")],
        retry__delay=[point(2, GPT, type="overloaded")],
        stage__duration=points(LOAD, *stages(GPT, request_compile=3, http_transport=3, pipeline_process=1)),
    )
    assert instrumented.sums("ai_lib.retry.delay") == [({**GPT, "type": "overloaded"}, 0.012)]


async def test_retries_that_are_used_up_leave_the_last_error(instrumented: Recorder) -> None:
    async with served(refusal(503), refusal(429), refusal(500), retry=fast()) as (server, ai):
        with pytest.raises(RemoteError, match="No"):
            await ai.chat().user("Hello?").execute()

    assert seen(instrumented) == [
        load(),
        operation(
            server.base_url,
            *(COMPILE, transport(server.base_url, 503, "overloaded")),
            *(COMPILE, transport(server.base_url, 429, "rate_limited", resend=1)),
            *(COMPILE, transport(server.base_url, 500, "server_error", resend=2)),
            attempts=3,
            error="server_error",
            description="No. [remote]",
            events=[retried(1, 0.004, "overloaded"), retried(2, 0.008, "rate_limited")],
            **WAIT,
        ),
    ]
    expected = counted(
        errors=[point(1, CHAT, type="server_error", stage="http.transport")],
        attempts=points(
            point(1, GPT, kind="initial", type="overloaded"),
            point(1, GPT, kind="retry", type="rate_limited"),
            point(1, GPT, kind="retry", type="server_error"),
        ),
        retries=points(point(1, GPT, type="overloaded"), point(1, GPT, type="rate_limited")),
        retry__delay=points(point(1, GPT, type="overloaded"), point(1, GPT, type="rate_limited")),
        stage__duration=points(LOAD, *stages(GPT, request_compile=3, http_transport=3)),
    )
    del expected["ai_lib.tokens"]
    assert measured(instrumented) == expected


async def test_what_cannot_be_retried_is_one_attempt(instrumented: Recorder) -> None:
    async with served(refusal(400), retry=fast()) as (server, ai):
        with pytest.raises(RemoteError):
            await ai.chat().user("Hello?").execute()

    failure: dict[str, Any] = {"error": "invalid_request", "description": "No. [remote]"}
    sent = transport(server.base_url, 400, "invalid_request")
    assert seen(instrumented) == [load(), operation(server.base_url, COMPILE, sent, **failure, **WAIT)]
    expected = counted(
        errors=[point(1, CHAT, type="invalid_request", stage="http.transport")],
        attempts=[point(1, GPT, kind="initial", type="invalid_request")],
        stage__duration=points(LOAD, *stages(GPT, request_compile=1, http_transport=1)),
    )
    del expected["ai_lib.tokens"]
    assert measured(instrumented) == expected


async def test_a_refused_connection_is_not_retried(instrumented: Recorder) -> None:
    async with chatting("http://127.0.0.1:1/v1", retry=fast()) as ai:
        with pytest.raises(TransportError):
            await ai.chat().user("Hello?").execute()

    kind = "ai_lib_python.errors.base.TransportError"
    assert measured(instrumented, "attempts", "retries") == {
        "ai_lib.attempts": [point(1, GPT, kind="initial", type=kind)],
        "ai_lib.retries": [],
    }


async def test_a_call_cancelled_while_it_waits_for_a_retry_failed_in_the_resilience(instrumented: Recorder) -> None:
    async with served(refusal(429, Retry_After="30"), retry=fast()) as (server, ai):
        task = asyncio.ensure_future(ai.chat().user("Hello?").execute())
        while not instrumented.points("ai_lib.retries"):
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    sent = transport(server.base_url, 429, "rate_limited")
    events = [retried(1, 30.0, "rate_limited")]
    assert seen(instrumented)[1] == operation(server.base_url, COMPILE, sent, error="cancelled", events=events, **WAIT)
    assert measured(instrumented, "errors", "requests.in_flight") == {
        "ai_lib.errors": [point(1, CHAT, type="cancelled", stage="resilience")],
        "ai_lib.requests.in_flight": [point(0, CHAT)],
    }


async def test_an_executor_with_everything_in_it_leaves_one_trace(instrumented: Recorder) -> None:
    everything: dict[str, Any] = {
        "retry": fast(),
        "rate_limit": RateLimiterConfig.from_rps(1000),
        "circuit_breaker": CircuitBreakerConfig(),
        "backpressure": BackpressureConfig(),
    }
    async with served(refusal(500), body(completion()), **everything) as (server, ai):
        await ai.chat().user("Hello?").execute()

    sent = COMPILE, transport(server.base_url, 500, "server_error"), COMPILE
    assert seen(instrumented)[1:] == [
        operation(
            server.base_url,
            *(*sent, transport(server.base_url, 200, resend=1), PARSE),
            attempts=2,
            events=[retried(1, 0.004, "server_error")],
            **WAIT,
            **{"ai_lib.circuit_breaker.state": "closed"},
        )
    ]
