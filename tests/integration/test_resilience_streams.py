"""Streams bypass the executor: they run while the circuit is open and say so, and nothing tries them again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ai_lib_python.errors import RemoteError
from ai_lib_python.resilience import CircuitBreakerConfig

from provider import delta, events
from recorder import Recorder
from resilient import (  # noqa: F401 - a fixture
    GPT,
    Seconds,
    measured,
    operation,
    own_components,
    point,
    points,
    refusal,
    seen,
    served,
    stage,
    states,
    transport,
)

EXECUTOR = "openai/gpt-4o"
OPEN: dict[str, Any] = {"ai_lib.circuit_breaker.state": "open"}
ONCE = CircuitBreakerConfig(failure_threshold=1, cooldown_seconds=60)

FRAMES = [delta("Hel"), delta("lo"), delta(finish="stop")]
BYTES = sum(len(json.dumps(frame)) + len("data: \n\n") for frame in FRAMES) + len("data: [DONE]\n\n")
STREAMED: dict[str, Any] = {
    "gen_ai.request.stream": True,
    "gen_ai.response.time_to_first_chunk": Seconds(),
    "ai_lib.stream.outcome": "completed",
    "ai_lib.stream.bytes": BYTES,
    "ai_lib.stream.frames": 3,
    "ai_lib.stream.events": 3,
}


async def test_a_stream_runs_while_the_circuit_is_open_and_says_so(instrumented: Recorder) -> None:
    async with served(refusal(500), events(*FRAMES), circuit_breaker=ONCE) as (server, ai):
        with pytest.raises(RemoteError):
            await ai.chat().user("?").execute()
        instrumented.clear()
        assert [event.data.content async for event in ai.chat().user("?").stream() if event.is_content_delta]
        gauge = measured(instrumented, "circuit_breaker.state", "circuit_breaker.transitions")

    busy: dict[str, Any] = {"ai_lib.busy_time": Seconds()}
    frames: dict[str, Any] = {"ai_lib.stream.bytes": BYTES, "ai_lib.stream.frames": 3}
    made: dict[str, Any] = {"ai_lib.stream.events": 3}
    sent = transport(server.base_url, 200)
    sent.attributes.update(busy)
    children = [
        stage("request.compile", **busy),
        sent,
        stage("pipeline.process", **busy, **frames),
        stage("event.map", **busy, **made),
    ]
    stream = operation(server.base_url, *children, **OPEN, **STREAMED)
    for name in ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"):
        del stream.attributes[name]
    assert seen(instrumented) == [stream]
    assert gauge == {
        "ai_lib.circuit_breaker.state": states(EXECUTOR, "open"),
        "ai_lib.circuit_breaker.transitions": [point(1, executor=EXECUTOR, to="open")],
    }
    assert measured(instrumented, "attempts", "backpressure.wait") == {
        "ai_lib.attempts": points(
            point(1, GPT, kind="initial", type="server_error"), point(1, GPT, kind="initial", type="ok")
        ),
        "ai_lib.backpressure.wait": [],
    }


async def test_a_stream_that_fails_is_not_tried_again_and_opens_nothing(instrumented: Recorder) -> None:
    async with served(refusal(503), fallbacks=["anthropic/claude"], circuit_breaker=ONCE) as (server, ai):
        with pytest.raises(RemoteError):
            async for _ in ai.chat().user("?").stream():
                pass
        gauge = measured(instrumented, "circuit_breaker.state", "circuit_breaker.transitions")

    assert len(server.requests) == 1
    assert gauge == {
        "ai_lib.circuit_breaker.state": states(EXECUTOR, "closed"),
        "ai_lib.circuit_breaker.transitions": [],
    }
    assert measured(instrumented, "attempts", "retries", "fallbacks") == {
        "ai_lib.attempts": [point(1, GPT, kind="initial", type="overloaded")],
        "ai_lib.retries": [],
        "ai_lib.fallbacks": [],
    }
