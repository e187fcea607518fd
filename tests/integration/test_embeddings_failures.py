"""Embeddings that fail, over a socket, and arguments that are odd."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from ai_lib_python.errors import TransportError
from opentelemetry.trace import StatusCode

from differential import encoded
from other_clients import (
    TEXTS,
    described,
    embedder,
    exchange,
    opened,
    stage,
    stages,
    vectors,
)
from provider import Provider, Step, body, provider
from recorder import Recorder

SPAN = "embeddings embed-3"
PATH = "/v1/embeddings"
MODEL = {"provider": "retrieval", "model": "embed-3"}
LABELS = {**MODEL, "operation": "embeddings"}
FORMAT = {"gen_ai.request.encoding_formats": ("float",)}
COMPILED = stage("request.compile")
JSON_ERROR = "json.decoder.JSONDecodeError"


async def called(call: Callable[[Any], Awaitable[Any]], script: Sequence[Step]) -> tuple[Any, Provider]:
    """Make a call and return its result or its exception, and the provider that served it."""
    async with provider(script) as server, opened(await embedder(server.base_url)) as client:
        result: Any = (await asyncio.gather(call(client), return_exceptions=True))[0]
    return result, server


def failed(base_url: str, kind: str, **more: Any) -> dict[str, Any]:
    return described("embeddings", "retrieval", "embed-3", base_url, **FORMAT, **{"error.type": kind}, **more)


BROKEN = {
    "no JSON": (body(b"<html>"), JSON_ERROR),
    "a list": (body([]), "AttributeError"),
    "usage that is null": (vectors(tokens=None, usage=None), "AttributeError"),
    "data that is no list": (body({"data": 7}), "TypeError"),
}


@pytest.mark.parametrize(("script", "kind"), BROKEN.values(), ids=BROKEN)
async def test_a_body_that_the_runtime_cannot_read_counts_for_its_processing(
    instrumented: Recorder, script: list[Step], kind: str
) -> None:
    error, server = await called(lambda client: client.embed("one"), script)

    assert isinstance(error, Exception)
    span = instrumented.span(SPAN)
    assert span.status.status_code is StatusCode.ERROR
    assert dict(span.attributes or {}) == failed(server.base_url, kind)
    assert stages(instrumented, span) == [
        COMPILED,
        exchange(server.base_url, PATH, **{"http.response.status_code": 200}),
        stage("pipeline.process", **{"error.type": kind}),
    ]
    assert instrumented.points("ai_lib.attempts") == [({**MODEL, "kind": "initial", "type": "ok"}, 1)]
    assert instrumented.points("ai_lib.errors") == [({**LABELS, "type": kind, "stage": "pipeline.process"}, 1)]


async def test_a_cancelled_call_says_so(instrumented: Recorder) -> None:
    async with provider([60.0]) as server, opened(await embedder(server.base_url)) as client:
        task = asyncio.ensure_future(client.embed("one"))
        while not server.requests:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert_failed_exchange(instrumented, server.base_url, "cancelled")
    assert instrumented.span(SPAN).status.description is None


@pytest.mark.parametrize(
    ("script", "kind"),
    [([60.0], "timeout"), ([], "ai_lib_python.errors.base.TransportError")],
    ids=["late", "hung up"],
)
async def test_a_provider_that_does_not_answer_is_an_error_of_the_transport(
    instrumented: Recorder, script: list[Step], kind: str
) -> None:
    async with provider(script) as server, opened(await embedder(server.base_url, timeout=1.0)) as client:
        with pytest.raises(TransportError):
            await client.embed("one")

    assert_failed_exchange(instrumented, server.base_url, kind)


def assert_failed_exchange(recorder: Recorder, base_url: str, kind: str) -> None:
    """Assert an operation whose one exchange had no response."""
    span = recorder.span(SPAN)
    assert span.status.status_code is StatusCode.ERROR
    assert dict(span.attributes or {}) == failed(base_url, kind)
    assert stages(recorder, span) == [COMPILED, exchange(base_url, PATH, **{"error.type": kind})]
    assert recorder.points("ai_lib.attempts") == [({**MODEL, "kind": "initial", "type": kind}, 1)]
    assert recorder.points("ai_lib.errors") == [({**LABELS, "type": kind, "stage": "http.transport"}, 1)]
    assert recorder.points("ai_lib.requests.in_flight") == [(LABELS, 0)]


@pytest.mark.parametrize("dimensions", [None, "512", 1.5, True, -1, 2**70], ids=str)
async def test_dimensions_that_are_no_count_are_not_recorded(instrumented: Recorder, dimensions: Any) -> None:
    await called(lambda client: client.embed("one", dimensions), vectors())

    assert "gen_ai.embeddings.dimension.count" not in (instrumented.span(SPAN).attributes or {})
    assert encoded(instrumented)


async def test_texts_that_cannot_be_batched_fail_before_any_request(instrumented: Recorder) -> None:
    error, server = await called(lambda client: client.embed_batch(TEXTS, batch_size=0), vectors())

    assert isinstance(error, ValueError)
    assert server.requests == []
    span = instrumented.span(SPAN)
    assert dict(span.attributes or {}) == failed(server.base_url, "ValueError", **{"ai_lib.attempts": 0})
    assert stages(instrumented, span) == [stage("request.compile", **{"error.type": "ValueError"})]
    assert instrumented.points("ai_lib.errors") == [({**LABELS, "type": "ValueError", "stage": "request.compile"}, 1)]
    assert instrumented.points("ai_lib.attempts") == []
