"""Exceptions whose members are not what they are elsewhere: they pass, and what failed is told all the same."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from test_faults import execute, stream

from differential import BASE_URL, assert_books_balance, compare
from other_clients import embedder, opened
from recorder import Open, Recorder

swallowed = pytest.mark.swallowed
complains = pytest.mark.noisy("opentelemetry_instrumentation_ailib")


class RefusedError(Exception):
    """Has a method where others have the headers of a response."""

    def headers(self) -> dict[str, str]:
        return {}


class UnclassifiedError(Exception):
    """Cannot be asked what kind of error it is."""

    @property
    def error_class(self) -> str:
        raise RuntimeError("not yet")


@swallowed
@complains
@pytest.mark.parametrize("call", [execute, stream])
def test_an_exception_whose_headers_are_none_ends_its_exchange(recorder: Recorder, call: Any) -> None:
    """An HTTP plug-in raises it."""

    def refuse(_: Any) -> httpx.Response:
        raise RefusedError("policy")

    begun = Open()
    recorder.tracer_provider.add_span_processor(begun)
    seen = compare(recorder, refuse, call)
    assert seen.without["error"]["kind"] == "test_odd_exceptions.RefusedError"
    assert begun.names == []
    assert assert_books_balance(recorder)["error.type"] == "test_odd_exceptions.RefusedError"
    sent = recorder.span("ai_lib.http.transport").attributes or {}
    assert sent["error.type"] == "test_odd_exceptions.RefusedError"
    assert recorder.counts("ai_lib.attempts", "type") == {"test_odd_exceptions.RefusedError": 1}


async def test_an_exception_that_cannot_be_classified_is_an_error(instrumented: Recorder) -> None:
    error, begun = UnclassifiedError("no"), Open()
    instrumented.tracer_provider.add_span_processor(begun)

    def fail(_: Any) -> httpx.Response:
        raise error

    async with opened(await embedder(BASE_URL)) as client:
        transport = httpx.MockTransport(fail)
        client._transport._client = httpx.AsyncClient(transport=transport, base_url=BASE_URL)
        with pytest.raises(UnclassifiedError) as raised:
            await client.embed("Hello?")
    assert raised.value is error
    assert begun.names == []
    span = instrumented.span("embeddings embed-3")
    assert (span.status.is_ok, (span.attributes or {})["error.type"]) == (
        False,
        "test_odd_exceptions.UnclassifiedError",
    )
    labels = {"provider": "retrieval", "model": "embed-3", "operation": "embeddings"}
    assert instrumented.points("ai_lib.requests") == [(labels, 1)]
    failure = {**labels, "type": "test_odd_exceptions.UnclassifiedError", "stage": "http.transport"}
    assert instrumented.points("ai_lib.errors") == [(failure, 1)]
    assert instrumented.counts("ai_lib.attempts", "type") == {"test_odd_exceptions.UnclassifiedError": 1}
