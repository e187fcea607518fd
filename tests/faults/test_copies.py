"""Classes of the application's own in place of the runtime's, and a runtime that is imported twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from ai_lib_python import AiClient, AiClientBuilder
from ai_lib_python.client.builder import ChatRequestBuilder
from ai_lib_python.client.response import ChatResponse
from ai_lib_python.protocol import ProtocolLoader
from ai_lib_python.resilience import ResilientConfig, ResilientExecutor
from ai_lib_python.transport import HttpTransport
from ai_lib_python.types.events import StreamingEvent
from unmoved import CALL, JSON, LABELS, SSE, STREAM, answer

from differential import MODEL, Both, Run, instrumentation, observe
from recorder import Recorder

URL = "http://provider.example/v1"
ONLY = CALL[-1:]


def answered(transport: HttpTransport) -> HttpTransport:
    """Let a transport be answered in process."""
    transport._client = httpx.AsyncClient(base_url=URL, transport=httpx.MockTransport(answer))
    return transport


# --- transports ---


class Polite(HttpTransport):
    """A transport that changes requests on their way, and hands them on."""

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        options["headers"] = {**(options.get("headers") or {}), "x-please": "yes"}
        return await super().request(method, path, **options)

    @contextlib.asynccontextmanager
    async def stream_request(self, method: str, path: str, **options: Any) -> AsyncIterator[httpx.Response]:
        async with super().stream_request(method, path, **options) as response:
            yield response


class Canned(HttpTransport):
    """A transport that sends nothing, and has never heard of its base class's methods."""

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return httpx.Response(200, content=JSON)

    @contextlib.asynccontextmanager
    async def stream_request(self, method: str, path: str, **options: Any) -> AsyncIterator[httpx.Response]:
        yield httpx.Response(200, content=SSE)


class Repeating(HttpTransport):
    """A transport that asks twice."""

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        await HttpTransport.request(self, method, path, **options)
        return await HttpTransport.request(self, method, path, **options)


class Duck:
    """A transport that is none, with what the runtime's client asks of one and nothing else."""

    async def post(self, path: str, json: Any = None, **_: Any) -> httpx.Response:
        return httpx.Response(200, content=JSON)

    @contextlib.asynccontextmanager
    async def stream_post(self, path: str, json: Any = None, **_: Any) -> AsyncIterator[httpx.Response]:
        yield httpx.Response(200, content=SSE)

    async def close(self) -> None:
        """Do nothing."""


# --- builders, clients, loaders, executors ---


class Terse(ChatRequestBuilder):
    """A builder that builds what the runtime builds, and less."""

    def build_payload(self, **options: Any) -> dict[str, Any]:
        return {**super().build_payload(**options), "max_tokens": 1}


class Own(ChatRequestBuilder):
    """A builder that builds its own."""

    def build_payload(self, **options: Any) -> dict[str, Any]:
        return {"stream": self._stream, "messages": []}


class Terselier(AiClient):
    """A client with a builder of its own."""

    def chat(self) -> ChatRequestBuilder:
        return Terse(self)


class Selfmade(AiClient):
    """A client that does everything itself."""

    def chat(self) -> ChatRequestBuilder:
        return Own(self)

    async def _execute_chat(self, builder: Any) -> ChatResponse:
        return ChatResponse(content="Hello", finish_reason="stop")

    async def _execute_stream(self, builder: Any) -> AsyncIterator[StreamingEvent]:
        yield StreamingEvent.content_delta("Hello")


class Picky(AiClient):
    """A client that reads answers in its own way, once with the runtime's and once without."""

    def _parse_response(self, data: Any, **options: Any) -> ChatResponse:
        super()._parse_response(data, **options)
        return ChatResponse(content="parsed")


class Nosy(ProtocolLoader):
    """A loader that looks at what it loads."""

    async def load_model(self, model: str) -> Any:
        self.loaded = [await super().load_model(model), await super().load_provider("anthropic")]
        return self.loaded[0]


class Eager(ResilientExecutor):
    """An executor that runs what it gets as it is, and then by its base class."""

    async def execute(self, operation: Callable[[], Awaitable[Any]], *args: Any, **options: Any) -> Any:
        await operation()
        return await super().execute(operation, *args, **options)


class Fluent(AiClientBuilder):
    """A builder of clients that makes clients of another class."""

    async def build(self) -> AiClient:
        ai = await super().build()
        ai.__class__ = Terselier
        return ai


Install = Callable[[Run], Awaitable[Any]]


def transport(kind: Callable[[Any], Any]) -> Install:
    async def install(run: Run) -> Any:
        ai = await AiClient.create(MODEL, base_url=URL)
        ai._transport = kind(ai._manifest)
        return ai

    return install


def of(kind: type[AiClient]) -> Install:
    async def install(run: Run) -> Any:
        return await kind.create(MODEL, base_url=URL)

    return install


async def fluent(run: Run) -> Any:
    return await Fluent().model(MODEL).base_url(URL).build()


async def with_executor(run: Run) -> Any:
    ai = await AiClient.create(MODEL, base_url=URL)
    ai._executor = run.keep(Eager(ResilientConfig(), name="eager"))
    return ai


async def with_loader(run: Run) -> Any:
    manifest = await run.keep(Nosy()).load_model(MODEL)
    return AiClient(manifest, HttpTransport(manifest), (await of(AiClient)(run))._pipeline, MODEL)


REPEATED = ["ai_lib.http.transport", "ai_lib.pipeline.process"]
# What an application plugs in, and the spans of a call and of a stream then: those of what still runs of the runtime.
KINDS: dict[str, tuple[Install, list[str], list[str]]] = {
    "polite transport": (transport(Polite), CALL, STREAM),
    "canned transport": (transport(Canned), ["ai_lib.request.compile", *ONLY], [*STREAM[:1], *CALL[1:]]),
    "repeating transport": (transport(Repeating), [*CALL, *REPEATED], STREAM),
    "no transport": (transport(lambda _: Duck()), ["ai_lib.request.compile", *ONLY], [*STREAM[:1], *CALL[1:]]),
    "builder": (of(Terselier), CALL, STREAM),
    "client that does it itself": (of(Selfmade), ONLY, []),
    "client that parses": (of(Picky), CALL, STREAM),
    "builder of clients": (fluent, CALL, STREAM),
    "executor": (with_executor, [*CALL, *CALL[:-1]], STREAM),
    "loader": (with_loader, CALL, STREAM),
}


def compared(recorder: Recorder, scenario: Callable[[Run], Awaitable[Any]]) -> Both:
    """Run a scenario without and with the instrumentation, and fail where there is a difference."""
    without = asyncio.run(observe(scenario, Run(URL)))
    with instrumentation(recorder):
        seen = Both(without, asyncio.run(observe(scenario, Run(URL))))
    assert seen.differences() == []
    return seen


@pytest.mark.parametrize(("install", "call", "stream"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("streamed", [False, True])
def test_classes_of_the_applications_own(
    install: Install, call: list[str], stream: list[str], streamed: bool, recorder: Recorder
) -> None:
    async def scenario(run: Run) -> Any:
        ai = run.keep(await install(run))
        if isinstance(ai._transport, HttpTransport):
            answered(ai._transport)
        request = run.keep(ai.chat().user("Hello?"))
        if not streamed:
            return await request.execute_with_stats()
        return [event async for event in request.stream()]

    seen = compared(recorder, scenario)
    assert "error" not in seen.without
    expected = stream if streamed else call
    assert [name for name in recorder.names() if name != "ai_lib.protocol.load"] == sorted(expected)
    assert recorder.points("ai_lib.requests") == ([(LABELS, 1)] if expected else [])
    assert recorder.points("ai_lib.requests.in_flight") == ([(LABELS, 0)] if expected else [])
