"""Rerank over a socket: every span and point exactly. Before 1.2.0 the runtime's request cannot be seen."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from ai_lib_python.errors import RemoteError, TransportError
from ai_lib_python.rerank.client import RerankOptions
from opentelemetry.trace import SpanKind, StatusCode

from other_clients import (
    RANKED,
    SHARED,
    TEXTS,
    described,
    exchange,
    healthy,
    identity,
    measured,
    opened,
    reranker,
    stage,
    stages,
)
from provider import Step, body, provider
from recorder import Recorder

SPAN = "rerank rerank-3"
PATH = "/v1/rerank"
MODEL = {"provider": "explicit", "model": "rerank-3"}
LABELS = {**MODEL, "operation": "rerank"}
COUNT = {"ai_lib.document.count": 3}
COMPILED, PARSED = stage("request.compile"), stage("pipeline.process")


def seen(*spans: tuple[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Return the stages of a call, of which there are none where its request cannot be seen."""
    return list(spans) if SHARED else []


def at(stage_name: str) -> str:
    """Return the stage in which an error counts: where stages cannot be seen, the exchange."""
    return stage_name if SHARED else "http.transport"


async def test_a_call_to_the_mock_is_an_operation_span_with_its_stages(instrumented: Recorder, mock: str) -> None:
    base_url = mock.removesuffix("/v1")
    async with opened(await reranker(base_url, endpoint_path="/v2/rerank")) as client:
        results = await client.rerank("which?", TEXTS, RerankOptions(top_n=2))

    assert [result.index for result in results] == [0, 1]
    span = instrumented.span(SPAN)
    assert span.parent is None
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert span.events == ()
    assert dict(span.attributes or {}) == described(
        "rerank", "explicit", "rerank-3", base_url, **COUNT, **{"ai_lib.result.count": 2}
    )
    sent = exchange(base_url, "/v2/rerank", **{"http.response.status_code": 200})
    assert stages(instrumented, span) == seen(COMPILED, sent, PARSED)
    assert len(instrumented.spans()) == 1 + len(instrumented.children(span))


async def test_a_call_is_measured_once_in_every_instrument(instrumented: Recorder) -> None:
    async with provider(RANKED) as server, opened(await reranker(server.base_url)) as client:
        await client.rerank("which?", TEXTS)

    lasted = [({**LABELS, "stage": name}, 1) for name in ("request.compile", "http.transport", "pipeline.process")]
    assert measured(instrumented) == {
        "ai_lib.attempts": [({**MODEL, "kind": "initial", "type": "ok"}, 1)],
        "ai_lib.provider.health": healthy("explicit"),
        "ai_lib.request.duration": [(LABELS, 1)],
        "ai_lib.requests": [(LABELS, 1)],
        "ai_lib.requests.in_flight": [(LABELS, 0)],
        **({"ai_lib.stage.duration": lasted} if SHARED else {}),
        "gen_ai.client.operation.duration": [(identity("rerank", "explicit", "rerank-3", server.base_url), 1)],
    }


async def test_a_manifest_names_provider_and_path(instrumented: Recorder) -> None:
    named = "retrieval/rerank-3"
    async with provider(RANKED) as server, opened(await reranker(server.base_url, model=named)) as client:
        await client.rerank("which?", TEXTS)

    # Before 1.2.0 no client for reranking has a manifest.
    provider_id = "retrieval" if SHARED else "explicit"
    span = instrumented.span(SPAN)
    assert dict(span.attributes or {}) == described(
        "rerank", provider_id, "rerank-3", server.base_url, **COUNT, **{"ai_lib.result.count": 2}
    )
    sent = exchange(server.base_url, PATH, **{"http.response.status_code": 200})
    assert stages(instrumented, span) == seen(COMPILED, sent, PARSED)
    assert instrumented.points("ai_lib.requests") == [({**LABELS, "provider": provider_id}, 1)]


async def test_no_documents_and_no_results_are_counted_as_none(instrumented: Recorder) -> None:
    async with provider(body({"results": []})) as server, opened(await reranker(server.base_url)) as client:
        assert await client.rerank("which?", []) == []

    counts = {"ai_lib.document.count": 0, "ai_lib.result.count": 0}
    assert dict(instrumented.span(SPAN).attributes or {}) == described(
        "rerank", "explicit", "rerank-3", server.base_url, **counts
    )


JSON_ERROR = "json.decoder.JSONDecodeError"
# What the provider answers, what the runtime raises since 1.2.0 and before, with the error type and the stage of each.
FAILURES: dict[str, tuple[list[Step], type[Exception], type[Exception], str, str, str]] = {
    "refused": (
        body({"message": "No."}, 429),
        RemoteError,
        httpx.HTTPStatusError,
        "rate_limited",
        "httpx.HTTPStatusError",
        "http.transport",
    ),
    "hung up": (
        [],
        TransportError,
        httpx.RemoteProtocolError,
        "ai_lib_python.errors.base.TransportError",
        "httpx.RemoteProtocolError",
        "http.transport",
    ),
    "late": ([60.0], TransportError, httpx.ReadTimeout, "timeout", "timeout", "http.transport"),
    "no JSON": (body(b"<html>"), ValueError, ValueError, JSON_ERROR, JSON_ERROR, "pipeline.process"),
    "a list": (body([]), AttributeError, AttributeError, "AttributeError", "AttributeError", "pipeline.process"),
    "no score": (
        body({"results": [{"relevance_score": "high"}]}),
        ValueError,
        ValueError,
        "ValueError",
        "ValueError",
        "pipeline.process",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_a_failure_has_its_type_and_its_stage(instrumented: Recorder, name: str) -> None:
    script, now, before, kind, kind_before, stage_name = FAILURES[name]
    kind, stage_name = (kind, stage_name) if SHARED else (kind_before, "http.transport")
    async with provider(script) as server, opened(await reranker(server.base_url, timeout=1.0)) as client:
        with pytest.raises(now if SHARED else before):
            await client.rerank("which?", TEXTS)

    span = instrumented.span(SPAN)
    assert span.status.status_code is StatusCode.ERROR
    assert dict(span.attributes or {}) == described(
        "rerank", "explicit", "rerank-3", server.base_url, **COUNT, **{"error.type": kind}
    )
    assert [attributes.get("error.type") for _, attributes in stages(instrumented, span)] == seen_errors(
        kind, stage_name
    )
    assert instrumented.points("ai_lib.errors") == [({**LABELS, "type": kind, "stage": at(stage_name)}, 1)]
    assert [value for _, value in instrumented.points("ai_lib.attempts")] == [1]
    assert instrumented.points("ai_lib.requests.in_flight") == [(LABELS, 0)]


def seen_errors(kind: str, stage_name: str) -> list[str | None]:
    """Return the error types of the stages' spans."""
    types = {"http.transport": [None, kind], "pipeline.process": [None, None, kind]}
    return types[stage_name] if SHARED else []


async def test_a_provider_that_refuses_is_unhealthy(instrumented: Recorder) -> None:
    async with provider(body({"message": "No."}, 500)) as server, opened(await reranker(server.base_url)) as client:
        with pytest.raises(RemoteError if SHARED else httpx.HTTPStatusError):
            await client.rerank("which?", TEXTS)

    health = instrumented.points("ai_lib.provider.health")
    assert [labels for labels, shown in health if shown] == [{"provider": "explicit", "status": "unhealthy"}]


async def test_a_cancelled_call_says_so(instrumented: Recorder) -> None:
    async with provider([60.0]) as server, opened(await reranker(server.base_url)) as client:
        task = asyncio.ensure_future(client.rerank("which?", TEXTS))
        while not server.requests:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    span = instrumented.span(SPAN)
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert stages(instrumented, span) == seen(COMPILED, exchange(server.base_url, PATH, **{"error.type": "cancelled"}))
    assert instrumented.points("ai_lib.attempts") == [({**MODEL, "kind": "initial", "type": "cancelled"}, 1)]
    assert instrumented.points("ai_lib.errors") == [({**LABELS, "type": "cancelled", "stage": at("http.transport")}, 1)]


class Uncountable(list[str]):
    """Documents that are counted in vain."""

    def __len__(self) -> int:
        raise ValueError("no such number")


@pytest.mark.parametrize(
    "documents",
    [None, 7, iter(TEXTS), Uncountable(TEXTS)],
    ids=["none", "a number", "an iterator", "a list that fails"],
)
async def test_documents_that_have_no_number_are_not_counted(instrumented: Recorder, documents: Any) -> None:
    async with provider(RANKED) as server, opened(await reranker(server.base_url)) as client:
        await asyncio.gather(client.rerank("which?", documents), return_exceptions=True)

    assert "ai_lib.document.count" not in (instrumented.span(SPAN).attributes or {})
