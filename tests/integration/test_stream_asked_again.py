"""A transport of the user's own that asks for a stream again: every exchange is told of, and their times add up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from ai_lib_python.errors import RemoteError
from ai_lib_python.transport import HttpTransport
from test_resilience_streams import BYTES, FRAMES, STREAMED

from provider import Step, events
from recorder import Open, Recorder
from resilient import (  # noqa: F401 - a fixture
    GPT,
    Seconds,
    Seen,
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
)

BUSY: dict[str, Any] = {"ai_lib.busy_time": Seconds()}


class Retrying(HttpTransport):
    """Asks three times."""

    @asynccontextmanager
    async def stream_post(self, path: str, json: Any = None, *, headers: Any = None) -> AsyncIterator[Any]:
        for left in (2, 1, 0):
            try:
                async with self.stream_request("POST", path, json=json, headers=headers) as response:
                    yield response
                    return
            except RemoteError:
                if not left:
                    raise


async def read(recorder: Recorder, *scripts: list[Step]) -> tuple[str, list[str]]:
    """Read a stream; return where its provider was, and the spans that are left open."""
    unended = Open()
    async with served(*scripts) as (server, ai):
        ai._transport.__class__ = Retrying
        recorder.clear()
        recorder.tracer_provider.add_span_processor(unended)
        assert len([event async for event in ai.chat().user("?").stream()]) == len(FRAMES)
    assert len(server.requests) == len(scripts)
    return server.base_url, unended.names


def exchange(base_url: str, status: int, error: str | None = None, *, resend: int = 0) -> Seen:
    """Return the span of an exchange of a stream."""
    span = transport(base_url, status, error, resend=resend)
    span.attributes.update(BUSY)
    return span


async def test_each_exchange_has_a_span_that_ends_and_counts(instrumented: Recorder) -> None:
    base_url, unended = await read(instrumented, refusal(500), refusal(503), events(*FRAMES))

    assert unended == []
    frames: dict[str, Any] = {"ai_lib.stream.bytes": BYTES, "ai_lib.stream.frames": 3}
    made: dict[str, Any] = {"ai_lib.stream.events": 3}
    stream = operation(
        base_url,
        stage("request.compile", **BUSY),
        exchange(base_url, 500, "server_error"),
        exchange(base_url, 503, "overloaded", resend=1),
        exchange(base_url, 200, resend=2),
        stage("pipeline.process", **BUSY, **frames),
        stage("event.map", **BUSY, **made),
        attempts=3,
        **STREAMED,
    )
    for name in ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"):
        del stream.attributes[name]
    assert seen(instrumented) == [stream]
    assert measured(instrumented, "attempts", "requests", "errors") == {
        "ai_lib.attempts": points(
            point(1, GPT, kind="initial", type="server_error"),
            point(1, GPT, kind="retry", type="overloaded"),
            point(1, GPT, kind="retry", type="ok"),
        ),
        "ai_lib.requests": [point(1, GPT, operation="chat")],
        "ai_lib.errors": [],
    }


async def test_their_times_and_those_of_all_else_add_up(instrumented: Recorder) -> None:
    await read(instrumented, [0.1, *refusal(500)], [0.2, *refusal(500)], [0.3, *events(*FRAMES)])

    busy: list[tuple[str, float]] = [
        (span.name, (span.attributes or {})["ai_lib.busy_time"])  # type: ignore[misc]
        for span in instrumented.children(instrumented.span("chat gpt-4o"))
    ]
    assert [seconds for name, seconds in busy if name == "ai_lib.http.transport"] == [
        Seconds(0.1),
        Seconds(0.2),
        Seconds(0.3),
    ]
    ((_, consumer),) = instrumented.sums("ai_lib.stream.consumer")
    ((_, duration),) = instrumented.sums("ai_lib.request.duration")
    assert sum(seconds for _, seconds in busy) + consumer == pytest.approx(duration, rel=1e-9)


async def test_one_that_gives_up_fails_like_its_last_exchange(instrumented: Recorder) -> None:
    with pytest.raises(RemoteError):
        await read(instrumented, refusal(500), refusal(500), refusal(503))

    (stream,) = (tree for tree in seen(instrumented) if tree.name == "chat gpt-4o")
    assert stream.attributes["error.type"] == "overloaded"
    assert [
        (child.name, child.attributes["http.response.status_code"], child.attributes["error.type"])
        for child in stream.children[1:]
    ] == [
        ("ai_lib.http.transport", status, error)
        for status, error in ((500, "server_error"), (500, "server_error"), (503, "overloaded"))
    ]
    assert measured(instrumented, "attempts", "errors") == {
        "ai_lib.attempts": points(
            point(1, GPT, kind="initial", type="server_error"),
            point(1, GPT, kind="retry", type="server_error"),
            point(1, GPT, kind="retry", type="overloaded"),
        ),
        "ai_lib.errors": [point(1, GPT, operation="chat", stage="http.transport", type="overloaded")],
    }
