"""Timeouts and back-pressure: which of the two it was, where the runtime calls both the same."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from ai_lib_python.resilience import (
    Backpressure,
    BackpressureConfig,
    CircuitBreakerConfig,
)
from ai_lib_python.resilience.backpressure import BackpressureError

from provider import body, completion
from recorder import Recorder
from resilient import (  # noqa: F401 - a fixture
    COMPILE,
    GPT,
    WAIT,
    fast,
    measured,
    operation,
    own_components,
    point,
    seen,
    served,
    transport,
)

CHAT = {**GPT, "operation": "chat"}


async def ask(ai: Any) -> Any:
    return await ai.chat().user("?").execute()


async def test_a_timeout_inside_of_a_permit_is_no_back_pressure(instrumented: Recorder) -> None:
    config: dict[str, Any] = {
        "backpressure": BackpressureConfig(),
        "circuit_breaker": CircuitBreakerConfig(timeout_seconds=0.5),
    }
    async with served([30.0], **config) as (server, ai):
        with pytest.raises(BackpressureError):
            await ask(ai)

    sent = COMPILE, transport(server.base_url, None, "cancelled")
    failure: dict[str, Any] = {"error": "timeout", "description": "Timeout waiting for permit"}
    more: dict[str, Any] = {"ai_lib.circuit_breaker.state": "closed", **WAIT}
    assert seen(instrumented)[1:] == [operation(server.base_url, *sent, **failure, **more)]
    assert measured(instrumented, "errors", "attempts") == {
        "ai_lib.errors": [point(1, CHAT, type="timeout", stage="http.transport")],
        "ai_lib.attempts": [point(1, GPT, kind="initial", type="cancelled")],
    }


async def test_a_timeout_of_the_applications_own_operator_is_one_where_it_happened(instrumented: Recorder) -> None:
    async with served(body(completion()), backpressure=BackpressureConfig()) as (_, ai):
        parse = ai._parse_response

        def slow(*args: Any, **kwargs: Any) -> Any:
            parse(*args, **kwargs)
            raise asyncio.TimeoutError

        ai._parse_response = slow
        with pytest.raises(BackpressureError):
            await ask(ai)

    assert measured(instrumented, "errors") == {
        "ai_lib.errors": [point(1, CHAT, type="timeout", stage="pipeline.process")]
    }


async def test_a_queue_of_the_applications_own_refuses_with_its_own_error(instrumented: Recorder) -> None:
    own = Backpressure(BackpressureConfig(max_concurrent=1, queue_timeout=0.01))
    await own.try_acquire()
    async with served(body(completion()), retry=fast()) as (_, ai):
        post = ai._transport.post
        ai._transport.post = lambda *args, **kwargs: own.execute(lambda: post(*args, **kwargs))
        with pytest.raises(BackpressureError):
            await ask(ai)

    # The executor has no queue: nothing could have taken a timeout for that of one.
    assert measured(instrumented, "errors") == {
        "ai_lib.errors": [point(1, CHAT, type="backpressure", stage="resilience")]
    }
