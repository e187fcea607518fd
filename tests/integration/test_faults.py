"""Telemetry that fails: the application sees what it sees without us, and what can be told is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import DropAggregation, View
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from conftest import client
from differential import Run, assert_books_balance, compare, encoded, operations
from opentelemetry_instrumentation_ailib.attempts import Attempts
from provider import body, completion, delta, provider
from recorder import Open, Recorder

LABELS = {"provider": "openai", "model": "gpt-4o", "operation": "chat"}
STAGES = ["ai_lib.request.compile", "ai_lib.http.transport", "ai_lib.pipeline.process", "ai_lib.event.map"]
SSE = b"".join(b"data: %s\n\n" % json.dumps(frame).encode() for frame in (delta("Hel"), delta("lo", finish="stop")))


async def execute(run: Run, request: Any) -> Any:
    return await request.execute_with_stats()


async def stream(run: Run, request: Any) -> Any:
    seen = run.keep([])
    async for event in (run.keep(await request.stream_with_stats()))[0]:
        seen.append(event)


# A call, what the provider answers, and the error type and stage that come of it.
CALLS: dict[str, tuple[Any, httpx.Response, list[tuple[str, str]]]] = {
    "execute": (execute, httpx.Response(200, json=completion()), []),
    "execute, refused": (execute, httpx.Response(500), [("server_error", "http.transport")]),
    "execute, no object": (execute, httpx.Response(200, json=[]), [("AttributeError", "pipeline.process")]),
    "stream": (stream, httpx.Response(200, content=SSE), []),
    "stream, refused": (stream, httpx.Response(500), [("server_error", "http.transport")]),
    "stream, broken": (stream, httpx.Response(200, content=b"data: null\n\n"), [("TypeError", "event.map")]),
}


class Refusing(SpanProcessor):
    """A span processor with a fault, which shows at the start or the end of spans of one name."""

    def __init__(self, moment: str, name: str) -> None:
        self._moment = moment
        self._name = name

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        self._refuse("start", span)

    def on_end(self, span: ReadableSpan) -> None:
        self._refuse("end", span)

    def _refuse(self, moment: str, span: ReadableSpan) -> None:
        if moment == self._moment and span.name == self._name:
            raise RuntimeError("no such luck")


class Unreadable:
    """A message whose text is looked for when somebody asks for it, and is not there."""

    role = "user"

    @property
    def content(self) -> str:
        raise FileNotFoundError("prompt.txt")


class Failing(SpanExporter):
    """An exporter with a fault."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise RuntimeError("no such luck")


def again(answer: httpx.Response) -> httpx.Response:
    return httpx.Response(answer.status_code, content=answer.content)


def errors(recorder: Recorder) -> list[tuple[Any, Any]]:
    return [(labels["type"], labels["stage"]) for labels, _ in recorder.points("ai_lib.errors")]


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
@pytest.mark.parametrize(
    ("moment", "name"), [("end", "chat gpt-4o"), *((m, s) for s in STAGES for m in ("start", "end"))]
)
@pytest.mark.parametrize("case", CALLS)
def test_a_span_processor_that_raises(recorder: Recorder, case: str, moment: str, name: str) -> None:
    call, answer, failures = CALLS[case]
    recorder.tracer_provider.add_span_processor(Refusing(moment, name))
    compare(recorder, lambda run: again(answer), call)
    attributes = assert_books_balance(recorder)
    assert attributes.get("error.type") == (failures[0][0] if failures else None)
    assert ("ai_lib.stream.outcome" in attributes) == (call is stream)
    assert recorder.points("ai_lib.request.duration") == [(LABELS, 1)]
    assert errors(recorder) == failures


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
@pytest.mark.parametrize("case", CALLS)
def test_a_span_processor_that_raises_when_the_operation_starts(recorder: Recorder, case: str) -> None:
    call, answer, _ = CALLS[case]
    recorder.tracer_provider.add_span_processor(Refusing("start", "chat gpt-4o"))
    compare(recorder, lambda run: again(answer), call)
    assert operations(recorder) == []
    assert recorder.points("ai_lib.requests.in_flight") == []
    assert encoded(recorder)


@pytest.mark.noisy("opentelemetry")
@pytest.mark.parametrize("case", CALLS)
def test_an_exporter_that_raises(recorder: Recorder, case: str) -> None:
    call, answer, failures = CALLS[case]
    recorder.tracer_provider.add_span_processor(SimpleSpanProcessor(Failing()))
    compare(recorder, lambda run: again(answer), call)
    assert_books_balance(recorder)
    assert errors(recorder) == failures


@pytest.mark.parametrize("case", CALLS)
def test_views_that_drop_every_instrument(recorder: Recorder, case: str) -> None:
    call, answer, failures = CALLS[case]
    recorder.reader = InMemoryMetricReader()
    drop = View(instrument_name="*", aggregation=DropAggregation())
    recorder.meter_provider = MeterProvider(metric_readers=[recorder.reader], views=[drop])
    compare(recorder, lambda run: again(answer), call)
    (span,) = operations(recorder)
    assert (span.attributes or {}).get("error.type") == (failures[0][0] if failures else None)
    assert recorder.metric_names() == []


INSTRUMENTS = ("requests.in_flight", "requests", "request.duration", "stage.duration", "attempts", "errors", "tokens")


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
@pytest.mark.parametrize("name", INSTRUMENTS)
@pytest.mark.parametrize("case", CALLS)
def test_a_view_that_raises_leaves_no_span_open(recorder: Recorder, case: str, name: str) -> None:
    """Its reservoir does, at every measurement of one instrument."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no such luck")

    call, answer, failures = CALLS[case]
    begun = Open()
    recorder.tracer_provider.add_span_processor(begun)
    recorder.reader = InMemoryMetricReader()
    view = View(instrument_name=f"ai_lib.{name}", exemplar_reservoir_factory=lambda _: refuse)
    recorder.meter_provider = MeterProvider(metric_readers=[recorder.reader], views=[view])
    compare(recorder, lambda run: again(answer), call)
    assert begun.names == []
    (span,) = operations(recorder)
    assert (span.attributes or {}).get("error.type") == (failures[0][0] if failures else None)
    assert [child.name for child in recorder.children(span)][:2] == STAGES[:2]
    assert recorder.points(f"ai_lib.{name}") == []
    if name not in ("requests", "requests.in_flight"):
        assert recorder.points("ai_lib.requests.in_flight") == [(LABELS, 0)]
    if name in ("requests.in_flight", "stage.duration"):
        assert recorder.points("ai_lib.requests") == [(LABELS, 1)]
        assert [value for _, value in recorder.points("ai_lib.attempts")] == [1]
        assert errors(recorder) == failures


@pytest.mark.priced
@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
def test_a_message_that_cannot_be_read(recorder: Recorder) -> None:
    """Whether it is text is asked for its price."""

    async def ask(run: Run, request: Any) -> Any:
        return await request.messages([Unreadable()]).execute()

    compare(recorder, lambda run: httpx.Response(200, json=completion()), ask)
    assert assert_books_balance(recorder)["error.type"] == "FileNotFoundError"
    assert errors(recorder) == [("FileNotFoundError", "request.compile")]
    assert recorder.points("ai_lib.cost") == []


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
@pytest.mark.parametrize("fault", ["span", "exchange"])
@pytest.mark.parametrize("case", ["execute", "stream"])
async def test_a_fault_gives_no_credential_away(
    instrumented: Recorder, case: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the URL holds the credential, a fault of ours does not let the HTTP client's instrumentation see it."""
    if fault == "span":
        instrumented.tracer_provider.add_span_processor(Refusing("start", "ai_lib.http.transport"))
    else:
        monkeypatch.delattr(Attempts, "begin")
    HTTPXClientInstrumentor().instrument(**instrumented.providers)
    try:
        async with provider(body(completion())) as server:
            ai = await client("gemini/m", base_url=server.base_url, api_key="secret-of-the-test")
            await CALLS[case][0](Run(server.base_url), ai.chat().user("Hello?"))
            await ai.close()
    finally:
        HTTPXClientInstrumentor().uninstrument()
    assert b"secret-of-the-test" in server.requests[0]
    assert b"secret-of-the-test" not in encoded(instrumented)
