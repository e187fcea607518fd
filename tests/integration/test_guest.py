"""The instrumentation is a guest: it gives no secret away, keeps nothing alive, leaves the caller's context alone."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import json
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from unittest.mock import Mock
from urllib.parse import quote

import httpx
import pytest
from ai_lib_python import AiClient
from ai_lib_python.batch import BatchExecutor
from ai_lib_python.pipeline import Pipeline
from ai_lib_python.protocol import ProtocolLoader
from ai_lib_python.protocol.manifest import ProtocolManifest
from ai_lib_python.telemetry import MetricsCollector
from ai_lib_python.transport import HttpTransport
from opentelemetry.context import attach, detach, get_current, set_value
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import get_current_span

from conftest import client
from differential import encoded
from opentelemetry_instrumentation_ailib import AiLibInstrumentor
from provider import Step, body, completion, delta, events, provider
from recorder import Recorder
from resilient import fast, refusal, served

# --- credentials ---

SECRET, QUOTED = "sk/secret+of=the&test", quote("sk/secret+of=the&test", safe="")


def leaks(recorder: Recorder, caplog: pytest.LogCaptureFixture, *secrets: str) -> list[str]:
    """Return what was exported, as text and as OTLP sends it, and logged, where one of the secrets is in it."""
    texts = [
        *(span.to_json() for span in recorder.spans()),
        encoded(recorder).decode(errors="replace"),
        *(record.getMessage() for record in caplog.records if record.name.startswith(("ai_lib", "opentelemetry"))),
    ]
    return [text for text in texts if any(secret in text for secret in secrets)]


@pytest.fixture
def httpx_too(recorder: Recorder) -> Iterator[None]:
    HTTPXClientInstrumentor().instrument(**recorder.providers)
    yield
    HTTPXClientInstrumentor().uninstrument()


async def execute(ai: Any) -> Any:
    return await ai.chat().user("Hello?").execute()


async def execute_with_stats(ai: Any) -> Any:
    return await ai.chat().user("Hello?").execute_with_stats()


async def stream(ai: Any) -> Any:
    async for _ in ai.chat().user("Hello?").stream():
        pass


ANSWERS = {
    "answer": body(completion()),
    "stream": events(delta("Hel"), {"error": {"message": f"Bad key {SECRET}"}}),
    "quoted": body({"error": {"message": f"Incorrect API key provided: {SECRET}. Try another."}}, 401),
    "quoted late": body({"error": {"message": f"{'No. ' * 127}{SECRET}"}}, 401),
    "quoted in the URL": body({"error": {"message": f"No route for /v1/x?key={QUOTED}&alt=sse"}}, 404),
    "hung up": [],
}


@pytest.mark.usefixtures("httpx_too")
@pytest.mark.parametrize("script", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("call", [execute, stream])
@pytest.mark.parametrize("provider_id", ["openai", "anthropic", "gemini"])
async def test_a_credential_is_exported_nowhere(
    instrumented: Recorder,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    provider_id: str,
    call: Callable[[Any], Awaitable[Any]],
    script: list[Step],
) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.setenv(f"{provider_id.upper()}_API_KEY", SECRET)
    async with provider(script) as server:
        ai = await client(f"{provider_id}/m", base_url=server.base_url)
        await asyncio.gather(call(ai), return_exceptions=True)
        await ai.close()

    assert any(form.encode() in server.requests[0] for form in (SECRET, QUOTED))
    assert leaks(instrumented, caplog, SECRET, QUOTED) == []
    sent = instrumented.span("ai_lib.http.transport")
    # The HTTP client's instrumentation would record the URL, in which this manifest puts the credential.
    assert [child.name for child in instrumented.children(sent)] == ([] if provider_id == "gemini" else ["POST"])


@pytest.mark.parametrize("call", [execute, stream])
@pytest.mark.parametrize("provider_id", ["openai", "anthropic"])
async def test_a_credential_that_is_no_header_is_exported_nowhere(
    instrumented: Recorder, caplog: pytest.LogCaptureFixture, provider_id: str, call: Callable[[Any], Awaitable[Any]]
) -> None:
    caplog.set_level("DEBUG")
    async with provider(body(completion())) as server:
        ai = await client(f"{provider_id}/m", base_url=server.base_url, api_key="sk-first\nsk-second")
        with pytest.raises(Exception, match="Illegal header value"):
            await call(ai)
        await ai.close()

    assert leaks(instrumented, caplog, "sk-first", "sk-second") == []


# --- memory ---


class Mark:
    """Something of the caller's, in the context of its calls."""


async def stream_with_stats(ai: Any) -> Any:
    iterator, stats = await ai.chat().user("Hello?").stream_with_stats()
    return [event async for event in iterator], stats


async def leave(ai: Any) -> Any:
    async for event in ai.chat().user("Hello?").stream():
        return event
    return None


async def close(ai: Any) -> Any:
    iterator = ai.chat().user("Hello?").stream()
    event = await iterator.__anext__()
    await iterator.aclose()
    return event


async def load(ai: Any) -> Any:
    await ProtocolLoader().load_model("openai/gpt-4o")


async def never_read(ai: Any) -> Any:
    ai.chat().user("Hello?").stream()
    await ai.chat().user("Hello?").stream_with_stats()


MANIFEST = ProtocolManifest.model_validate(
    {"id": "openai", "endpoint": {"base_url": "http://provider.example/v1"}, "streaming": {"decoder": {}}}
)
SSE = b"".join(b"data: %s\n\n" % json.dumps(frame).encode() for frame in (delta("Hel"), delta("lo", finish="stop")))
IN_PROCESS: dict[str, tuple[Callable[[Any], Awaitable[Any]], Callable[[Any], httpx.Response]]] = {
    "execute": (execute, lambda request: httpx.Response(200, json=completion())),
    "execute, refused": (execute, lambda request: httpx.Response(500, json={"error": "No."})),
    "execute, no JSON": (execute, lambda request: httpx.Response(200, content=b"<html>")),
    "stream": (stream, lambda request: httpx.Response(200, content=SSE)),
    "stream, refused": (stream, lambda request: httpx.Response(500, json={"error": "No."})),
    "stream, broken": (stream, lambda request: httpx.Response(200, content=b"data: null\n\n")),
    "stream_with_stats": (stream_with_stats, lambda request: httpx.Response(200, content=SSE)),
    "leave": (leave, lambda request: httpx.Response(200, content=SSE)),
    "close": (close, lambda request: httpx.Response(200, content=SSE)),
    "load": (load, lambda request: httpx.Response(200)),
    "never read": (never_read, lambda request: httpx.Response(200, content=SSE)),
}


async def call_in_process(name: str, mark: object = None) -> None:
    """Make one call with a client of its own, drop everything, and let the loop close what was left alone."""
    call, answer = IN_PROCESS[name]
    ai = AiClient(MANIFEST, HttpTransport(MANIFEST), Pipeline.from_manifest(MANIFEST), "openai/gpt-4o")
    ai._transport._client = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url=ai._transport._base_url)
    token = attach(set_value("mark", mark))
    with contextlib.suppress(Exception):
        await call(ai)
    del ai
    detach(token)
    for _ in range(12):
        await asyncio.sleep(0)


async def garbage(name: str) -> Counter[str]:
    """Return what a call leaves to the garbage collector, by type."""

    def census() -> Counter[str]:
        return Counter(f"{type(thing).__module__}.{type(thing).__qualname__}" for thing in gc.get_objects())

    await call_in_process(name)
    gc.collect()
    gc.freeze()  # What is there already need not be counted.
    gc.disable()
    try:
        before = census()
        for _ in range(20):
            await call_in_process(name, Mark())
        return Counter({kind: count // 20 for kind, count in (census() - before).items()})
    finally:
        gc.enable()


@pytest.fixture
def instrumented_only(recorder: Recorder) -> Iterator[Callable[[], None]]:
    """Instruments the runtime when called. Spans are recorded and go nowhere, so that nothing is kept for the test."""
    # A reservoir keeps an object for each bucket that it meets, and a busy machine makes calls of many durations.
    meters = MeterProvider([InMemoryMetricReader()], exemplar_filter=AlwaysOffExemplarFilter())
    providers = {**recorder.providers, "tracer_provider": TracerProvider(), "meter_provider": meters}
    yield lambda: AiLibInstrumentor().instrument(**providers)
    AiLibInstrumentor().uninstrument()


@pytest.mark.parametrize("name", IN_PROCESS)
async def test_a_call_leaves_no_more_to_the_garbage_collector_than_before(
    instrumented_only: Callable[[], None], name: str
) -> None:
    without = await garbage(name)
    instrumented_only()
    assert +(await garbage(name) - without) == {}


@pytest.mark.parametrize("max_retries", [0, 1])
async def test_what_refused_calls_leave_to_it_is_nothing_of_ours_but_frames(
    instrumented_only: Callable[[], None], max_retries: int
) -> None:
    """The runtime's policy keeps the exception in its own frame, and the exception has all frames that it came by."""
    instrumented_only()
    async with served(refusal(500), retry=fast(max_retries)) as (_, ai):
        await asyncio.gather(execute(ai), return_exceptions=True)
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for _ in range(20):
                await asyncio.gather(execute(ai), return_exceptions=True)
            gc.collect()
            found = Counter(f"{type(thing).__module__}.{type(thing).__qualname__}" for thing in gc.garbage)
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
    assert found["builtins.frame"] > 20
    made_of = {"opentelemetry_instrumentation_ailib.coroutines.Call"}
    assert {kind for kind in found if kind.startswith("opentelemetry")} - made_of == set()


async def batch(ai: Any) -> None:
    await BatchExecutor(execute).execute(None)  # type: ignore[arg-type]


async def build(ai: Any) -> None:
    await AiClient.builder().model("absent/m").metrics(MetricsCollector()).build()  # type: ignore[attr-defined]


async def unwritten(ai: Any) -> None:
    await ai.chat().messages([object()]).execute()


async def send(ai: Any) -> None:
    await ai._transport.post("/x", {})


async def send_stream(ai: Any) -> None:
    async with ai._transport.stream_post("/x", {}):
        pass


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize(
    ("call", "answer"),
    [
        *(
            (call, {"status_code": 500})
            for call in (execute, execute_with_stats, stream, batch, build, send, send_stream)
        ),
        (execute, {"json": []}),
        (stream, {"content": b"data: null\n\n"}),
        (unwritten, {}),
    ],
)
async def test_an_exception_that_is_kept_keeps_nothing_of_the_context_that_it_was_raised_in(
    call: Callable[[Any], Awaitable[Any]], answer: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(**{"status_code": 200, **answer})

    def begin() -> weakref.ref[Mark]:
        mark = Mark()
        contextvars.ContextVar[Mark]("session").set(mark)
        attach(set_value("session", mark))
        return weakref.ref(mark)

    async def fail() -> tuple[Exception, weakref.ref[Mark]]:
        mark = begin()
        try:
            await call(ai)
        except Exception as error:
            return error, mark
        raise AssertionError

    monkeypatch.setattr(ProtocolLoader, "_load_from_github", Mock(side_effect=ValueError))
    # With its credential in the URL, so that what is sent outside of a call is kept from an HTTP client's spans.
    ai = await client("gemini/m")
    ai._transport._client = httpx.AsyncClient(transport=httpx.MockTransport(refuse), base_url="http://x.example")
    error, mark = await asyncio.create_task(fail())
    await asyncio.sleep(0)
    gc.collect()
    assert (mark(), error.__traceback__ is None) == (None, False)


@pytest.mark.parametrize("name", ["execute", "stream", "leave"])
async def test_a_thousand_calls_leave_nothing_behind(instrumented_only: Callable[[], None], name: str) -> None:
    instrumented_only()
    await call_in_process(name)
    gc.collect()
    gc.freeze()
    before = len(gc.get_objects())
    for _ in range(1000):
        await call_in_process(name)
    gc.collect()
    assert len(gc.get_objects()) - before < 100


# --- context ---


@pytest.mark.parametrize("name", IN_PROCESS)
async def test_the_callers_context_is_current_after_a_call(instrumented: Recorder, name: str) -> None:
    context = get_current()
    await call_in_process(name)
    assert get_current() is context


@pytest.mark.parametrize("with_stats", [False, True])
async def test_the_consumers_span_is_current_between_events(instrumented: Recorder, with_stats: bool) -> None:
    async with provider(events(delta("Hel"), delta("lo"), delta(finish="stop"))) as server:
        ai = await client(base_url=server.base_url)
        with instrumented.tracer_provider.get_tracer("app").start_as_current_span("consumer") as consumer:
            context, request = get_current(), ai.chat().user("Hello?")
            steps = 0
            async for _ in (await request.stream_with_stats())[0] if with_stats else request.stream():
                steps += 1
                assert get_current() is context
                assert get_current_span() is consumer
            assert get_current() is context
        await ai.close()
    assert steps == 3
