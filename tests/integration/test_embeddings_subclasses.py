"""Clients for embeddings that users derive: each call they make is one operation, whatever they do inside of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from ai_lib_python.embeddings.client import EmbeddingClient

from other_clients import CALLS, TEXTS, opened, vectors
from provider import Step, body, provider
from recorder import Recorder

STAGES = ["ai_lib.http.transport", "ai_lib.pipeline.process", "ai_lib.request.compile"]


def spans_of(recorder: Recorder) -> list[str]:
    """Return the names of all spans but those of manifests being loaded."""
    return [name for name in recorder.names() if not name.endswith(".load")]


class Overriding(EmbeddingClient):
    """A client that embeds one text as a batch of one."""

    async def embed(self, text: str, dimensions: int | None = None) -> Any:
        return await self.embed_batch([text], dimensions)


class OneByOne(EmbeddingClient):
    """A client that embeds a batch one text after the other."""

    async def embed_batch(self, texts: list[str], dimensions: int | None = None, batch_size: int = 100) -> Any:
        return [await self.embed(text, dimensions) for text in texts]


class Extending(EmbeddingClient):
    """A client that changes what its methods get."""

    async def embed(self, text: str, dimensions: int | None = None) -> Any:
        return await super().embed(text.lower(), dimensions)

    async def _execute(self, request: Any) -> Any:
        return await super()._execute(request)


class Cached(EmbeddingClient):
    """A client that asks nobody and answers with something of its own."""

    async def _execute(self, request: Any) -> Any:
        return {"cached": request.input}


class Concurrent(EmbeddingClient):
    """A client that sends the texts of a batch at the same time."""

    async def _execute(self, request: Any) -> Any:
        requests = [type(request)(input=text, model=request.model) for text in request.input]
        return (await asyncio.gather(*map(super()._execute, requests)))[0]


class Patient(EmbeddingClient):
    """A client that asks twice."""

    async def _execute(self, request: Any) -> Any:
        try:
            return await super()._execute(request)
        except Exception:
            return await super()._execute(request)


async def subclassed(kind: type[EmbeddingClient], method: str) -> Any:
    async with provider(vectors()) as server, opened(await CALLS["embed"].open(server.base_url)) as client:
        client.__class__ = kind
        return await getattr(client, method)("One" if method == "embed" else TEXTS)


@pytest.mark.parametrize(
    ("kind", "method", "operations"),
    [(Overriding, "embed", 1), (OneByOne, "embed_batch", 3), (Extending, "embed", 1), (Extending, "embed_batch", 1)],
)
async def test_a_subclass_is_counted_by_the_calls_it_makes(
    instrumented: Recorder, kind: type[EmbeddingClient], method: str, operations: int
) -> None:
    await subclassed(kind, method)

    assert spans_of(instrumented) == sorted([*STAGES * operations, *["embeddings embed-3"] * operations])
    assert [value for _, value in instrumented.points("ai_lib.requests")] == [operations]
    assert [value for _, value in instrumented.points("ai_lib.attempts")] == [operations]
    assert [value for _, value in instrumented.points("ai_lib.tokens")] == [8 * operations]


async def test_a_subclass_that_answers_with_something_of_its_own_is_recorded(instrumented: Recorder) -> None:
    assert await subclassed(Cached, "embed") == {"cached": "One"}

    assert spans_of(instrumented) == ["ai_lib.request.compile", "embeddings embed-3"]
    assert [value for _, value in instrumented.points("ai_lib.requests.in_flight")] == [0]


async def test_a_subclass_that_sends_at_the_same_time_is_one_operation(instrumented: Recorder) -> None:
    await subclassed(Concurrent, "embed_batch")

    assert spans_of(instrumented).count("embeddings embed-3") == 1
    assert spans_of(instrumented).count("ai_lib.http.transport") == 3
    assert [value for _, value in instrumented.points("ai_lib.attempts")] == [3]
    assert [value for _, value in instrumented.points("ai_lib.requests.in_flight")] == [0]


@pytest.mark.parametrize(
    ("first", "failed", "kind", "attempts"),
    [
        (body({}, 500), "ai_lib.http.transport", "server_error", [("initial", "server_error"), ("retry", "ok")]),
        (body(b"<html>"), "ai_lib.pipeline.process", "_OTHER", [("initial", "ok"), ("retry", "ok")]),
    ],
    ids=["refused", "no JSON"],
)
async def test_a_subclass_that_asks_again_is_one_operation_with_the_stage_that_failed(
    instrumented: Recorder, first: list[Step], failed: str, kind: str, attempts: list[tuple[str, str]]
) -> None:
    async with provider(first, vectors()) as server, opened(await CALLS["embed"].open(server.base_url)) as client:
        client.__class__ = Patient
        await client.embed("one")

    (span,) = [span for span in instrumented.spans() if span.name == "embeddings embed-3"]
    errors = [(child.name, dict(child.attributes or {}).get("error.type")) for child in instrumented.children(span)]
    assert [error for error in errors if error[1]] == [(failed, kind)]
    counted = [
        (labels["kind"], labels["type"]) for labels, n in instrumented.points("ai_lib.attempts") for _ in range(n)
    ]
    assert counted == attempts
