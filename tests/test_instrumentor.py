"""The instrumentor's life: on before or after the runtime is imported, off without a trace; and what users hook in."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import ai_lib_python
import httpx
import pytest
from opentelemetry.instrumentation import dependencies
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import Span, StatusCode
from opentelemetry.util.genai.handler import TelemetryHandler

from conftest import client
from opentelemetry_instrumentation_ailib import ROWS, AiLibInstrumentor, StreamSummary, __version__, guard
from opentelemetry_instrumentation_ailib.usage import Usage
from provider import completion, delta
from recorder import Recorder

URL = "https://api.openai.example/v1"
USAGE = {"prompt_tokens": 12, "completion_tokens": 5}
# The third makes no event.
FRAMES = (delta("Hel"), delta("lo"), delta(), delta(finish="stop"), {"choices": [], "usage": USAGE})
BODY = b"".join(b"data: %s\n\n" % json.dumps(frame).encode() for frame in FRAMES) + b"data: [DONE]\n\n"
LABELS = {"provider": "openai", "model": "gpt-4o", "operation": "chat"}
CALL = ["ai_lib.http.transport", "ai_lib.pipeline.process", "ai_lib.request.compile", "chat gpt-4o"]
STREAM = ["ai_lib.event.map", *CALL]
SCOPE = ("opentelemetry_instrumentation_ailib", __version__, "https://opentelemetry.io/schemas/1.37.0")
NOISY = pytest.mark.noisy("opentelemetry", "opentelemetry_instrumentation_ailib")

Handler = Callable[[httpx.Request], "httpx.Response | Awaitable[httpx.Response]"]


def answer(request: httpx.Request) -> httpx.Response:
    """Answer a call with a completion and a stream with its frames."""
    if json.loads(request.content).get("stream"):
        return httpx.Response(200, content=BODY)
    return httpx.Response(200, json=completion())


async def connected(handler: Handler = answer) -> Any:
    """Return a client of the runtime whose provider is a function."""
    ai = await client(base_url=URL)
    ai._transport._client = httpx.AsyncClient(base_url=URL, transport=httpx.MockTransport(handler))  # type: ignore[arg-type]
    return ai


async def read(events: AsyncIterator[Any]) -> str:
    """Return the text of a stream."""
    return "".join([event.data.content async for event in events if event.is_content_delta])


async def call_every_way(ai: Any) -> list[str]:
    """Chat in the four public ways and return the texts."""
    response, _ = await ai.chat().user("Hello?").execute_with_stats()
    events, _ = await ai.chat().user("Hello?").stream_with_stats()
    return [
        (await ai.chat().user("Hello?").execute()).content,
        response.content,
        await read(ai.chat().user("Hello?").stream()),
        await read(events),
    ]


def attributes() -> dict[str, Any]:
    """Return every patched attribute as its class holds it."""
    return {row.target: vars(row.resolve()[0])[row.resolve()[1]] for row in ROWS}


# --- before and after the import of the runtime ---

PRELUDE = """
import asyncio, json, sys
import httpx
from recorder import Recorder
from opentelemetry_instrumentation_ailib import AiLibInstrumentor

def loaded():
    return sorted(name for name in sys.modules if name.split(".")[0] == "ai_lib_python")

async def call():
    from ai_lib_python import AiClient
    ai = await AiClient.create("openai/gpt-4o", base_url="https://api.openai.example/v1")
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json={"choices": []}))
    ai._transport._client = httpx.AsyncClient(base_url=ai._transport._base_url, transport=transport)
    await ai.chat().user("Hello?").execute()
    await ai.close()
"""


def run(script: str) -> Any:
    """Run a script in a fresh interpreter and return the JSON that it prints, and nothing else."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script], capture_output=True, text=True, env=environment, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_instrumenting_before_the_runtime_is_imported_imports_none_of_it_and_works() -> None:
    before, names = run("""
recorder = Recorder()
AiLibInstrumentor().instrument(**recorder.providers)
before = loaded()
asyncio.run(call())
print(json.dumps([before, recorder.names()]))
""")
    assert before == []
    assert names == sorted(["ai_lib.protocol.load", *CALL])


def test_the_runtime_imports_the_same_modules_instrumented_or_not() -> None:
    plain = run("import ai_lib_python; print(json.dumps(loaded()))")
    instrumented = run("AiLibInstrumentor().instrument(); import ai_lib_python; print(json.dumps(loaded()))")
    assert instrumented == plain
    assert "ai_lib_python.client.core" in plain


async def test_instrumenting_after_the_runtime_is_imported_works_for_clients_that_exist(recorder: Recorder) -> None:
    ai = await connected()
    AiLibInstrumentor().instrument(**recorder.providers)
    texts = await call_every_way(ai)
    AiLibInstrumentor().uninstrument()
    await ai.close()
    assert texts == ["Hello"] * 4
    assert recorder.names() == sorted([*CALL, *CALL, *STREAM, *STREAM])


@pytest.mark.parametrize("first", ["instrument", "providers"])
def test_without_arguments_the_global_providers_are_used(first: str) -> None:
    steps = [
        "AiLibInstrumentor().instrument()",
        "trace.set_tracer_provider(recorder.tracer_provider); metrics.set_meter_provider(recorder.meter_provider)",
    ]
    script = "\n".join(steps if first == "instrument" else reversed(steps))
    names, metric_names = run(f"""
from opentelemetry import metrics, trace
recorder = Recorder()
{script}
asyncio.run(call())
print(json.dumps([recorder.names(), recorder.metric_names()]))
""")
    assert names == sorted(["ai_lib.protocol.load", *CALL])
    assert metric_names == [
        "ai_lib.attempts",
        "ai_lib.provider.health",
        "ai_lib.request.duration",
        "ai_lib.requests",
        "ai_lib.requests.in_flight",
        "ai_lib.stage.duration",
        "gen_ai.client.operation.duration",
    ]


def test_providers_that_are_set_after_a_call_get_the_next() -> None:
    """Of the one before nothing was begun that could end in them: none is in flight."""
    names, in_flight = run("""
from opentelemetry import metrics, trace
recorder = Recorder()
AiLibInstrumentor().instrument()
asyncio.run(call())
trace.set_tracer_provider(recorder.tracer_provider)
metrics.set_meter_provider(recorder.meter_provider)
asyncio.run(call())
print(json.dumps([recorder.names(), recorder.points("ai_lib.requests.in_flight")]))
""")
    assert names == sorted(["ai_lib.protocol.load", *CALL])
    assert in_flight == [[{"provider": "openai", "model": "gpt-4o", "operation": "chat"}, 0]]


# --- twice, and not at all ---


@NOISY
async def test_instrumenting_twice_warns_and_changes_nothing(
    instrumented: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    patched, second = attributes(), Recorder()
    AiLibInstrumentor().instrument(**second.providers)
    assert [record.getMessage() for record in caplog.records] == ["Attempting to instrument while already instrumented"]
    assert all(attribute is patched[target] for target, attribute in attributes().items())
    ai = await connected()
    await ai.chat().user("Hello?").execute()
    await ai.close()
    assert instrumented.names() == sorted(["ai_lib.protocol.load", *CALL])
    assert (second.names(), second.metric_names()) == ([], [])


@NOISY
def test_uninstrumenting_twice_warns(caplog: pytest.LogCaptureFixture) -> None:
    AiLibInstrumentor().uninstrument()
    assert [record.getMessage() for record in caplog.records] == [
        "Attempting to uninstrument while already uninstrumented"
    ]


@NOISY
@pytest.mark.parametrize("version", [None, "0.9.0", "2.0.0"])
def test_a_runtime_that_is_missing_or_unsupported_is_reported_and_left_alone(
    version: str | None, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def installed(name: str) -> str:
        assert name == "ai-lib-python"
        if version is None:
            raise dependencies.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(dependencies, "version", installed)
    originals = attributes()
    AiLibInstrumentor().instrument(**recorder.providers)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("opentelemetry.instrumentation.instrumentor", logging.ERROR)
    assert "ai-lib-python >= 1.0, < 2" in record.getMessage()
    assert version is None or version in record.getMessage()
    assert not AiLibInstrumentor().is_instrumented_by_opentelemetry
    assert all(attribute is originals[target] for target, attribute in attributes().items())


@pytest.mark.parametrize("version", ["1.0.0", "1.2.0", "1.99.0"])
def test_every_version_of_the_supported_range_is_instrumented(
    version: str, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dependencies, "version", lambda _: version)
    AiLibInstrumentor().instrument(**recorder.providers)
    assert AiLibInstrumentor().is_instrumented_by_opentelemetry
    AiLibInstrumentor().uninstrument()


# --- off again ---


@pytest.mark.parametrize("rounds", [1, 3])
def test_uninstrument_leaves_every_attribute_the_original_object(rounds: int, recorder: Recorder) -> None:
    originals = attributes()
    for _ in range(rounds):
        AiLibInstrumentor().instrument(**recorder.providers)
        assert not any(attribute is originals[target] for target, attribute in attributes().items())
        AiLibInstrumentor().uninstrument()
        assert all(attribute is originals[target] for target, attribute in attributes().items())


async def test_after_uninstrument_nothing_is_recorded(recorder: Recorder) -> None:
    AiLibInstrumentor().instrument(**recorder.providers)
    AiLibInstrumentor().uninstrument()
    ai = await connected()
    assert await call_every_way(ai) == ["Hello"] * 4
    await ai.close()
    assert (recorder.names(), recorder.metric_names()) == ([], [])


async def test_each_round_records_to_its_own_providers() -> None:
    first, second = Recorder(), Recorder()
    ai = await connected()
    for recorder in (first, second):
        AiLibInstrumentor().instrument(**recorder.providers)
        await ai.chat().user("Hello?").execute()
        AiLibInstrumentor().uninstrument()
    await ai.close()
    assert first.names() == second.names() == CALL
    assert first.points("ai_lib.requests") == second.points("ai_lib.requests") == [(LABELS, 1)]


async def test_methods_that_somebody_kept_are_switched_off(recorder: Recorder) -> None:
    AiLibInstrumentor().instrument(**recorder.providers)
    ai = await connected()
    call, call_with_stats = ai._execute_chat, ai._execute_chat_with_stats
    stream, stream_with_stats = ai._execute_stream, ai._execute_stream_with_stats
    # As a client of an older day would: these serve every call.
    ai._transport.request, ai._parse_response = ai._transport.request, ai._parse_response
    ai._transport.stream_request, ai._pipeline.process = ai._transport.stream_request, ai._pipeline.process
    AiLibInstrumentor().uninstrument()
    recorder.clear()
    before = recorder.metric_names()
    response, _ = await call_with_stats(ai.chat().user("Hello?"))
    events, _ = await stream_with_stats(ai.chat().user("Hello?").param("stream", True))
    texts = [
        (await call(ai.chat().user("Hello?"))).content,
        response.content,
        await read(stream(ai.chat().user("Hello?").param("stream", True))),
        await read(events),
    ]
    await ai.close()
    assert texts == ["Hello"] * 4
    assert (recorder.names(), recorder.metric_names()) == ([], before)


class Gate:
    """A provider that answers when it is told to."""

    def __init__(self) -> None:
        """Make a closed gate."""
        self.asked = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a request: a call at once when the gate opens, a stream with its first half before."""
        self.asked.set()
        if json.loads(request.content).get("stream"):
            return httpx.Response(200, content=self.halves())
        await self.opened.wait()
        return answer(request)

    async def halves(self) -> AsyncIterator[bytes]:
        """Yield the frames of a stream."""
        first = BODY.index(b"\n\n") + 2
        yield BODY[:first]
        await self.opened.wait()
        yield BODY[first:]


@pytest.mark.parametrize("with_stats", [False, True])
async def test_a_call_under_way_at_uninstrument_finishes_and_ends_its_spans(
    with_stats: bool, recorder: Recorder
) -> None:
    gate = Gate()
    ai = await connected(gate)
    AiLibInstrumentor().instrument(**recorder.providers)
    request = ai.chat().user("Hello?")
    task = asyncio.ensure_future(request.execute_with_stats() if with_stats else request.execute())
    await gate.asked.wait()
    AiLibInstrumentor().uninstrument()
    gate.opened.set()
    result = await task
    await ai.close()
    assert (result[0] if with_stats else result).content == "Hello"
    assert recorder.names() == CALL
    assert len(recorder.children(recorder.span("chat gpt-4o"))) == 3
    assert recorder.span("chat gpt-4o").status.status_code is StatusCode.UNSET
    assert recorder.points("ai_lib.requests") == [(LABELS, 1)]
    assert recorder.points("ai_lib.requests.in_flight") == [(LABELS, 0)]


@pytest.mark.parametrize("with_stats", [False, True])
async def test_a_stream_under_way_at_uninstrument_finishes_and_ends_its_spans(
    with_stats: bool, recorder: Recorder
) -> None:
    gate = Gate()
    ai = await connected(gate)
    AiLibInstrumentor().instrument(**recorder.providers)
    request = ai.chat().user("Hello?")
    events = (await request.stream_with_stats())[0] if with_stats else request.stream()
    first = await events.__anext__()
    AiLibInstrumentor().uninstrument()
    gate.opened.set()
    assert first.data.content + await read(events) == "Hello"
    await ai.close()
    assert recorder.names() == STREAM
    assert len(recorder.children(recorder.span("chat gpt-4o"))) == 4
    assert (recorder.span("chat gpt-4o").attributes or {})["ai_lib.stream.outcome"] == "completed"
    assert recorder.points("ai_lib.streams") == [({"provider": "openai", "model": "gpt-4o", "outcome": "completed"}, 1)]
    assert recorder.points("ai_lib.requests.in_flight") == [(LABELS, 0)]


@pytest.mark.parametrize("with_stats", [False, True])
async def test_a_stream_first_read_after_uninstrument_is_read_and_not_recorded(
    with_stats: bool, recorder: Recorder
) -> None:
    ai = await connected()
    AiLibInstrumentor().instrument(**recorder.providers)
    request = ai.chat().user("Hello?")
    events = (await request.stream_with_stats())[0] if with_stats else request.stream()
    AiLibInstrumentor().uninstrument()
    assert await read(events) == "Hello"
    await ai.close()
    assert (recorder.names(), recorder.metric_names()) == ([], [])


# --- suppressed ---


async def test_nothing_is_recorded_where_instrumentation_is_suppressed(instrumented: Recorder) -> None:
    with suppress_instrumentation():
        ai = await connected()
        assert await call_every_way(ai) == ["Hello"] * 4
        await ai.close()
    assert (instrumented.names(), instrumented.metric_names()) == ([], [])


async def test_suppression_ends_with_its_block(instrumented: Recorder) -> None:
    with suppress_instrumentation():
        ai = await connected()
    await ai.chat().user("Hello?").execute()
    await ai.close()
    assert instrumented.names() == CALL


async def test_a_suppressed_call_within_a_call_is_no_part_of_it(instrumented: Recorder) -> None:
    inner = await connected()

    async def ask_another(request: httpx.Request) -> httpx.Response:
        with suppress_instrumentation():
            await call_every_way(inner)
        return answer(request)

    outer = await connected(ask_another)
    instrumented.clear()
    await outer.chat().user("Hello?").execute()
    await inner.close()
    await outer.close()
    assert instrumented.names() == CALL
    assert (instrumented.span("chat gpt-4o").attributes or {})["ai_lib.attempts"] == 1
    assert instrumented.points("ai_lib.requests") == [(LABELS, 1)]


# --- hooks ---

Seen = list[tuple[Span, Any]]


async def hooked(recorder: Recorder, ask: Callable[[Any], Awaitable[Any]], **hooks: Any) -> Any:
    """Chat with hooks in place and return what the application gets."""
    ai = await connected()
    AiLibInstrumentor().instrument(**recorder.providers, **hooks)
    try:
        return await ask(ai.chat().user("Hello?"))
    finally:
        AiLibInstrumentor().uninstrument()
        await ai.close()


async def stream_with_stats(request: Any) -> str:
    """Stream with statistics and return the text."""
    events, _ = await request.stream_with_stats()
    return await read(events)


ASK = {
    "execute": lambda request: request.execute(),
    "execute_with_stats": lambda request: request.execute_with_stats(),
    "stream": lambda request: read(request.stream()),
    "stream_with_stats": stream_with_stats,
}


@pytest.mark.parametrize("way", ASK)
async def test_the_request_hook_gets_the_span_and_the_requests_builder(way: str, recorder: Recorder) -> None:
    requests: list[Any] = []
    seen: Seen = []

    def ask(request: Any) -> Awaitable[Any]:
        requests.append(request)
        return ASK[way](request)  # type: ignore[no-any-return]

    def hook(span: Span, request: Any) -> None:
        seen.append((span, request))
        span.set_attribute("tenant", "blue")

    await hooked(recorder, ask, request_hook=hook)
    ((span, request),) = seen
    assert span.get_span_context() == recorder.span("chat gpt-4o").context
    assert isinstance(request, ai_lib_python.client.builder.ChatRequestBuilder)
    assert request is requests[0]
    assert (recorder.span("chat gpt-4o").attributes or {})["tenant"] == "blue"


@pytest.mark.parametrize("way", ["execute", "execute_with_stats"])
async def test_the_response_hook_gets_the_span_and_the_response_before_the_span_ends(
    way: str, recorder: Recorder
) -> None:
    seen: Seen = []

    def hook(span: Span, response: Any) -> None:
        seen.append((span, response))
        span.set_attribute("reviewed", True)

    result = await hooked(recorder, ASK[way], response_hook=hook)
    ((span, response),) = seen
    assert span.get_span_context() == recorder.span("chat gpt-4o").context
    assert type(response) is ai_lib_python.ChatResponse
    assert response is (result if way == "execute" else result[0])
    assert (recorder.span("chat gpt-4o").attributes or {})["reviewed"] is True


@pytest.mark.parametrize("way", ["stream", "stream_with_stats"])
async def test_the_response_hook_gets_a_summary_of_a_stream(way: str, recorder: Recorder) -> None:
    seen: Seen = []
    await hooked(recorder, ASK[way], response_hook=lambda span, response: seen.append((span, response)))
    ((span, response),) = seen
    assert span.get_span_context() == recorder.span("chat gpt-4o").context
    assert response == StreamSummary(
        outcome="completed",
        finish_reasons=("stop",),
        usage=Usage(input=12, output=5),
        bytes=len(BODY),
        frames=5,
        events=4,
    )


async def test_the_response_hook_is_not_called_for_a_call_that_failed(recorder: Recorder) -> None:
    seen: Seen = []
    ai = await connected(lambda _: httpx.Response(429, json={"error": {"message": "slow down"}}))
    AiLibInstrumentor().instrument(**recorder.providers, response_hook=lambda *args: seen.append(args))
    with pytest.raises(ai_lib_python.AiLibError):
        await ai.chat().user("Hello?").execute()
    AiLibInstrumentor().uninstrument()
    await ai.close()
    assert seen == []
    assert recorder.points("ai_lib.errors") == [({**LABELS, "type": "rate_limited", "stage": "http.transport"}, 1)]


@pytest.mark.swallowed
@pytest.mark.parametrize("way", ASK)
async def test_hooks_that_raise_are_reported_and_change_nothing(
    way: str, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites: list[str] = []
    monkeypatch.setattr(guard, "report_fault", lambda site, *_, first: sites.append(site))

    def hook(_span: Span, _subject: Any) -> None:
        raise ValueError("a fault in a hook")

    plain = Recorder()
    expected = await hooked(plain, ASK[way])
    result = await hooked(recorder, ASK[way], request_hook=hook, response_hook=hook)
    if way == "execute_with_stats":
        expected, result = expected[0], result[0]
    assert result == expected
    assert sites == 2 * ["opentelemetry_instrumentation_ailib.operation_end.call_hook"]
    assert recorder.names() == plain.names()
    span = recorder.span("chat gpt-4o")
    assert span.status.status_code is StatusCode.UNSET
    assert set(span.attributes or {}) == set(plain.span("chat gpt-4o").attributes or {})
    assert recorder.points("ai_lib.requests") == [(LABELS, 1)]
    assert recorder.points("ai_lib.errors") == []


# --- whose telemetry it is ---


async def test_spans_and_metrics_have_our_scope_with_version_and_schema(instrumented: Recorder) -> None:
    ai = await connected()
    await call_every_way(ai)
    await ai.close()
    scopes = {
        (scope.name, scope.version, scope.schema_url)
        for span in instrumented.spans()
        if (scope := span.instrumentation_scope)
    }
    data = instrumented.reader.get_metrics_data()
    assert data is not None
    (resource,) = data.resource_metrics
    (metrics,) = resource.scope_metrics
    assert scopes == {SCOPE}
    assert (metrics.scope.name, metrics.scope.version, metrics.scope.schema_url) == SCOPE
    assert len(instrumented.spans()) == 1 + 2 * len(CALL) + 2 * len(STREAM)


# --- what the arguments switch ---


async def stream_once(recorder: Recorder, **arguments: Any) -> None:
    """Stream once, instrumented with these arguments."""
    await hooked(recorder, ASK["stream"], **arguments)


async def test_stages_switches_the_stage_spans_and_not_their_metrics(recorder: Recorder) -> None:
    await stream_once(recorder, stages="http.transport")
    assert recorder.names() == ["ai_lib.http.transport", "chat gpt-4o"]
    assert recorder.counts("ai_lib.stage.duration", "stage") == {
        "request.compile": 1,
        "http.transport": 1,
        "pipeline.process": 1,
        "event.map": 1,
    }


@pytest.mark.parametrize(("chunk_timing", "counts"), [(True, [3]), (False, [])])
async def test_chunk_timing_switches_the_time_per_output_chunk(
    chunk_timing: bool, counts: list[int], recorder: Recorder
) -> None:
    await stream_once(recorder, chunk_timing=chunk_timing)
    per_chunk = recorder.points("gen_ai.client.operation.time_per_output_chunk")
    assert [count for _, count in per_chunk] == counts
    assert [count for _, count in recorder.points("gen_ai.client.operation.time_to_first_chunk")] == [1]


async def test_events_of_the_conventions_go_to_the_logger_provider(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT", "true")
    await stream_once(recorder)
    (event,) = recorder.events()
    assert event.event_name == "gen_ai.client.inference.operation.details"
    assert event.span_id == recorder.span("chat gpt-4o").context.span_id


async def test_the_completion_hook_is_called_once_for_each_call(recorder: Recorder) -> None:
    class Completions:
        """A completion hook."""

        def __init__(self) -> None:
            """Note nothing yet."""
            self.spans: list[Span] = []

        def on_completion(self, *, span: Span, **_: Any) -> None:
            """Note the span."""
            self.spans.append(span)

    completions = Completions()
    await stream_once(recorder, completion_hook=completions)
    assert [span.get_span_context() for span in completions.spans] == [recorder.span("chat gpt-4o").context]


# --- inside another instrumentation's inference ---


async def test_inside_another_inference_a_call_has_a_span_and_metrics_of_its_own(instrumented: Recorder) -> None:
    ai = await connected()
    instrumented.clear()
    handler = TelemetryHandler(tracer_provider=instrumented.tracer_provider)
    with handler.inference("framework", request_model="router"):
        await ai.chat().user("Hello?").execute()
    await ai.close()
    outer = instrumented.span("chat router")
    assert [child.name for child in instrumented.children(outer)] == ["chat gpt-4o"]
    assert instrumented.names() == sorted([*CALL, "chat router"])
    assert instrumented.points("ai_lib.requests") == [(LABELS, 1)]
