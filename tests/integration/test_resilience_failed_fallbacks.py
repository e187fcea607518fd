"""Fallbacks that do not help, over a socket: not called for, without a manifest, refused, or failing themselves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from ai_lib_python.errors import ProtocolError, RemoteError
from ai_lib_python.protocol import ProtocolLoader
from ai_lib_python.resilience import CircuitBreakerConfig, CircuitOpenError

from provider import body, completion
from recorder import Recorder
from resilient import (  # noqa: F401 - a fixture
    CLAUDE,
    COMPILE,
    GPT,
    PARSE,
    WAIT,
    Seconds,
    load,
    measured,
    operation,
    own_components,
    point,
    points,
    refusal,
    seen,
    served,
    stage,
    transport,
    turned,
)

FALLBACK = ["anthropic/claude"]
BOTH = ["anthropic/claude", "selective/org/m"]
ONE: dict[str, Any] = {"ai_lib.fallback.count": 1, "ai_lib.fallback.model": "claude"}
TWO: dict[str, Any] = {"ai_lib.fallback.count": 2, "ai_lib.fallback.model": "org/m"}
TURN = {"from": "openai/gpt-4o", "to": "anthropic/claude"}
NEXT = {"from": "anthropic/claude", "to": "selective/org/m"}
NOWHERE = {"from": "openai/gpt-4o", "to": "nowhere/m"}
# The manifest says where, and 2.0 is the version of that one.
SECOND = load(version="2.0")
NO_MANIFEST = "ai_lib_python.errors.base.ProtocolError"


def to_claude(base_url: str, status: int, error: str | None = None) -> Any:
    return transport(base_url, status, error, resend=1, path="/messages")


async def test_an_error_that_calls_for_no_fallback_ends_the_call(instrumented: Recorder) -> None:
    async with served(refusal(400), body(completion()), fallbacks=FALLBACK) as (server, ai):
        with pytest.raises(RemoteError):
            await ai.chat().user("Hello?").execute()

    failure: dict[str, Any] = {"error": "invalid_request", "description": "No. [remote]"}
    sent = transport(server.base_url, 400, "invalid_request")
    assert seen(instrumented)[1:] == [operation(server.base_url, COMPILE, sent, **failure)]
    assert instrumented.points("ai_lib.fallbacks") == []


async def test_fallbacks_that_all_fail_leave_the_last_error_with_the_last_model(instrumented: Recorder) -> None:
    async with served(refusal(500), refusal(429), fallbacks=FALLBACK) as (server, ai):
        with pytest.raises(RemoteError):
            await ai.chat().user("Hello?").execute()

    failure: dict[str, Any] = {"error": "rate_limited", "description": "No. [remote]"}
    events = [turned("openai/gpt-4o", "anthropic/claude", "server_error")]
    sent = COMPILE, transport(server.base_url, 500, "server_error")
    second = SECOND, COMPILE, to_claude(server.base_url, 429, "rate_limited")
    assert seen(instrumented)[1:] == [
        operation(server.base_url, *sent, *second, attempts=2, events=events, **ONE, **failure)
    ]
    assert measured(instrumented, "errors", "requests") == {
        "ai_lib.errors": [point(1, CLAUDE, operation="chat", type="rate_limited", stage="http.transport")],
        "ai_lib.requests": [point(1, CLAUDE, operation="chat")],
    }


async def test_a_fallback_without_a_manifest_is_passed_over(instrumented: Recorder) -> None:
    async with served(refusal(500), body(completion()), fallbacks=["nowhere/m", "anthropic/claude"]) as (server, ai):
        await ai.chat().user("Hello?").execute()

    sent = COMPILE, transport(server.base_url, 500, "server_error")
    answered = SECOND, COMPILE, to_claude(server.base_url, 200), PARSE
    events = [
        turned("openai/gpt-4o", "nowhere/m", "server_error"),
        turned("nowhere/m", "anthropic/claude", NO_MANIFEST),
    ]
    more: dict[str, Any] = {"ai_lib.fallback.count": 2, "ai_lib.fallback.model": "claude"}
    missing = stage("protocol.load", NO_MANIFEST)
    assert seen(instrumented)[1:] == [
        operation(server.base_url, *sent, missing, *answered, attempts=2, events=events, **more)
    ]
    assert measured(instrumented, "attempts", "fallbacks", "requests") == {
        "ai_lib.attempts": points(
            point(1, GPT, kind="initial", type="server_error"), point(1, CLAUDE, kind="fallback", type="ok")
        ),
        "ai_lib.fallbacks": points(
            point(1, NOWHERE, type="server_error"),
            point(1, {**TURN, "from": "nowhere/m"}, type=NO_MANIFEST),
        ),
        "ai_lib.requests": [point(1, CLAUDE, operation="chat")],
    }


async def test_a_missing_manifest_of_the_last_fallback_is_what_fails_the_call(instrumented: Recorder) -> None:
    async with served(refusal(500), fallbacks=["nowhere/m"]) as (server, ai):
        with pytest.raises(ProtocolError) as caught:
            await ai.chat().user("Hello?").execute()

    sent = COMPILE, transport(server.base_url, 500, "server_error")
    more: dict[str, Any] = {"ai_lib.fallback.count": 1, "ai_lib.fallback.model": "m"}
    assert seen(instrumented)[1:] == [
        operation(
            server.base_url,
            *(*sent, stage("protocol.load", NO_MANIFEST)),
            error=NO_MANIFEST,
            description=str(caught.value),
            events=[turned("openai/gpt-4o", "nowhere/m", "server_error")],
            **more,
        )
    ]
    assert measured(instrumented, "errors") == {
        "ai_lib.errors": [point(1, GPT, operation="chat", type=NO_MANIFEST, stage="protocol.load")]
    }


BREAKER = CircuitBreakerConfig(failure_threshold=1, cooldown_seconds=60)


async def test_one_open_circuit_refuses_a_model_and_its_fallbacks(instrumented: Recorder) -> None:
    async with served(refusal(400), fallbacks=BOTH, circuit_breaker=BREAKER) as (server, ai):
        with pytest.raises(RemoteError):
            await ai.chat().user("Hello?").execute()
        instrumented.clear()
        with pytest.raises(CircuitOpenError):
            await ai.chat().user("Hello?").execute()

    events = [
        turned("openai/gpt-4o", "anthropic/claude", "circuit_open"),
        turned("anthropic/claude", "selective/org/m", "circuit_open"),
    ]
    assert seen(instrumented) == [
        operation(
            server.base_url,
            *(SECOND, load()),
            attempts=0,
            error="circuit_open",
            description="Circuit breaker is open",
            events=events,
            **TWO,
            **WAIT,
            **{"ai_lib.circuit_breaker.state": "open"},
        )
    ]
    assert measured(instrumented, "attempts", "fallbacks", "circuit_breaker.rejections", "errors") == {
        "ai_lib.attempts": [point(1, GPT, kind="initial", type="invalid_request")],
        "ai_lib.fallbacks": points(point(1, TURN, type="circuit_open"), point(1, NEXT, type="circuit_open")),
        "ai_lib.circuit_breaker.rejections": [point(3, executor="openai/gpt-4o")],
        # No model but the first was asked for by anybody.
        "ai_lib.errors": points(
            point(1, GPT, operation="chat", type="circuit_open", stage="resilience"),
            point(1, GPT, operation="chat", type="invalid_request", stage="http.transport"),
        ),
    }


async def test_the_load_of_a_manifest_is_no_time_in_the_queue(instrumented: Recorder) -> None:
    async with served(refusal(400), fallbacks=["nowhere/m"], circuit_breaker=BREAKER) as (_, ai):
        with pytest.raises(RemoteError):
            await ai.chat().user("Hello?").execute()
        instrumented.clear()
        load_provider = ai._loader.load_provider

        async def dawdle(provider_id: str) -> Any:
            await asyncio.sleep(0.2)
            return await load_provider(provider_id)

        ai._loader.load_provider = dawdle
        with pytest.raises(ProtocolError):
            await ai.chat().user("Hello?").execute()

    (call,) = seen(instrumented)
    assert call.attributes["ai_lib.resilience.wait"] == Seconds(0.0, 0.15)


async def test_a_manifest_that_somebody_else_loads_within_a_call_is_no_fallback(instrumented: Recorder) -> None:
    async with served(body(completion())) as (server, ai):
        post = ai._transport.post

        async def look_up_first(*args: Any, **kwargs: Any) -> Any:
            await ProtocolLoader().load_model("anthropic/claude")
            return await post(*args, **kwargs)

        ai._transport.post = look_up_first
        await ai.chat().user("Hello?").execute()

    sent = COMPILE, SECOND, transport(server.base_url, 200), PARSE
    assert seen(instrumented)[1:] == [operation(server.base_url, *sent)]
    assert measured(instrumented, "fallbacks", "attempts") == {
        "ai_lib.fallbacks": [],
        "ai_lib.attempts": [point(1, GPT, kind="initial", type="ok")],
    }
