"""Embeddings over a socket: one operation per call, an exchange per batch of texts, every span and point exactly."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from typing import Any

import pytest
from ai_lib_python.errors import RemoteError
from opentelemetry.trace import SpanKind, StatusCode

from other_clients import (
    TEXTS,
    described,
    embedder,
    exchange,
    healthy,
    identity,
    measured,
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
# In 1.0.0 the builder of this client loads the provider, and not the model.
LOADED = {"provider": "retrieval"} if version("ai-lib-python") == "1.0.0" else MODEL
FORMAT = {"gen_ai.request.encoding_formats": ("float",)}
COMPILED, PARSED = stage("request.compile"), stage("pipeline.process")
REFUSED = body({"error": {"message": "Slow down."}}, 429, {"x-request-id": "req-2"})


async def embed(client: Any) -> Any:
    return await client.embed("one")


async def embed_in_batches(client: Any) -> Any:
    return await client.embed_batch([*TEXTS, "four", "five"], batch_size=2)


async def called(
    call: Callable[[Any], Awaitable[Any]], *scripts: Sequence[Step], error: type[BaseException] | None = None
) -> tuple[Any, Provider]:
    """Make a call and return its result, if it is not to fail, and the provider that served it."""
    result = None
    async with provider(*scripts) as server, opened(await embedder(server.base_url)) as client:
        with contextlib.nullcontext() if error is None else pytest.raises(error):
            result = await call(client)
    return result, server


def failed(base_url: str, kind: str, **more: Any) -> dict[str, Any]:
    return described("embeddings", "retrieval", "embed-3", base_url, **FORMAT, **{"error.type": kind}, **more)


async def test_a_text_embedded_is_an_operation_span_with_its_stages(instrumented: Recorder) -> None:
    answer = vectors(headers={"x-request-id": "req-1"})
    response, server = await called(lambda client: client.embed("one", dimensions=2), answer)

    assert response.first.vector == [0.5, 0.25]
    span = instrumented.span(SPAN)
    assert span.parent is None
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert span.events == ()
    assert dict(span.attributes or {}) == described(
        "embeddings",
        "retrieval",
        "embed-3",
        server.base_url,
        **FORMAT,
        **{
            "gen_ai.embeddings.dimension.count": 2,
            "gen_ai.response.model": "embed-3-2025",
            "gen_ai.usage.input_tokens": 8,
        },
    )
    sent = {"http.response.status_code": 200, "ai_lib.provider.request_id": "req-1"}
    assert stages(instrumented, span) == [COMPILED, exchange(server.base_url, PATH, **sent), PARSED]
    assert instrumented.names() == [
        "ai_lib.http.transport",
        "ai_lib.pipeline.process",
        "ai_lib.protocol.load",
        "ai_lib.request.compile",
        SPAN,
    ]


async def test_a_text_embedded_is_measured_once_in_every_instrument(instrumented: Recorder) -> None:
    _, server = await called(embed, vectors())

    gen_ai = {
        **identity("embeddings", "retrieval", "embed-3", server.base_url),
        "gen_ai.response.model": "embed-3-2025",
    }
    assert measured(instrumented) == {
        "ai_lib.attempts": [({**MODEL, "kind": "initial", "type": "ok"}, 1)],
        "ai_lib.provider.health": healthy("retrieval"),
        "ai_lib.request.duration": [(LABELS, 1)],
        "ai_lib.requests": [(LABELS, 1)],
        "ai_lib.requests.in_flight": [(LABELS, 0)],
        "ai_lib.stage.duration": [
            ({**LOADED, "stage": "protocol.load"}, 1),
            ({**LABELS, "stage": "request.compile"}, 1),
            ({**LABELS, "stage": "http.transport"}, 1),
            ({**LABELS, "stage": "pipeline.process"}, 1),
        ],
        "ai_lib.tokens": [({**LABELS, "type": "input"}, 8)],
        "gen_ai.client.operation.duration": [(gen_ai, 1)],
        "gen_ai.client.token.usage": [({**gen_ai, "gen_ai.token.type": "input"}, 1)],
    }
    assert instrumented.sums("gen_ai.client.token.usage") == [({**gen_ai, "gen_ai.token.type": "input"}, 8)]


async def test_texts_in_several_batches_are_one_operation_with_an_exchange_for_each(instrumented: Recorder) -> None:
    response, server = await called(embed_in_batches, vectors(2, 6), vectors(2, 5), vectors(1, 4))

    assert [embedding.index for embedding in response.embeddings] == [0, 1, 2, 3, 4]
    span = instrumented.span(SPAN)
    attributes = dict(span.attributes or {})
    # The runtime's own answer to several: it names the model that was asked.
    assert attributes == described(
        "embeddings",
        "retrieval",
        "embed-3",
        server.base_url,
        **FORMAT,
        **{"gen_ai.response.model": "embed-3", "gen_ai.usage.input_tokens": 15, "ai_lib.attempts": 3},
    )
    sent = exchange(server.base_url, PATH, **{"http.response.status_code": 200})
    assert stages(instrumented, span) == [COMPILED, sent, PARSED] * 3
    assert instrumented.points("ai_lib.requests") == [(LABELS, 1)]
    assert instrumented.points("ai_lib.attempts") == [({**MODEL, "kind": "initial", "type": "ok"}, 3)]
    assert instrumented.points("ai_lib.tokens") == [({**LABELS, "type": "input"}, 15)]
    assert instrumented.counts("ai_lib.stage.duration", "stage") == {
        "protocol.load": 1,
        "request.compile": 3,
        "http.transport": 3,
        "pipeline.process": 3,
    }


async def test_a_batch_that_fails_ends_the_operation(instrumented: Recorder) -> None:
    _, server = await called(embed_in_batches, vectors(2), REFUSED, error=RemoteError)

    assert len(server.requests) == 2
    span = instrumented.span(SPAN)
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "Slow down. [remote]")
    assert dict(span.attributes or {}) == failed(server.base_url, "rate_limited", **{"ai_lib.attempts": 2})
    sent = {"http.response.status_code": 429, "ai_lib.provider.request_id": "req-2", "error.type": "rate_limited"}
    assert stages(instrumented, span) == [
        COMPILED,
        exchange(server.base_url, PATH, **{"http.response.status_code": 200}),
        PARSED,
        COMPILED,
        exchange(server.base_url, PATH, **sent),
    ]
    assert instrumented.points("ai_lib.attempts") == [
        ({**MODEL, "kind": "initial", "type": "ok"}, 1),
        ({**MODEL, "kind": "initial", "type": "rate_limited"}, 1),
    ]
    assert instrumented.points("ai_lib.requests") == [(LABELS, 1)]
    assert instrumented.points("ai_lib.errors") == [({**LABELS, "type": "rate_limited", "stage": "http.transport"}, 1)]
    assert instrumented.points("ai_lib.tokens") == []


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"prompt_tokens": 0},
        {"prompt_tokens": None},
        {"prompt_tokens": "8"},
        {"prompt_tokens": -8},
        {"prompt_tokens": 2**62},
        {"total_tokens": 8},
    ],
    ids=str,
)
async def test_usage_that_the_provider_does_not_tell_or_garbles_is_not_recorded(
    instrumented: Recorder, usage: dict[str, Any]
) -> None:
    await called(embed, vectors(tokens=None, usage=usage))

    span = instrumented.span(SPAN)
    assert not any(name.startswith("gen_ai.usage") for name in span.attributes or {})
    assert instrumented.points("ai_lib.tokens") == []
    assert instrumented.points("gen_ai.client.token.usage") == []
