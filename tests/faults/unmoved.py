"""What an application asks, in process, while something around it fails, and what must not move when it does."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import httpx
from opentelemetry.context import get_current

from conftest import client
from differential import MODEL, Both, Run, compare, described
from opentelemetry_instrumentation_ailib.operation import Operation
from provider import completion, delta
from recorder import Recorder

URL = "http://provider.example/v1"
LABELS = {"provider": "openai", "model": "gpt-4o", "operation": "chat"}
CALL = ["ai_lib.http.transport", "ai_lib.pipeline.process", "ai_lib.request.compile", "chat gpt-4o"]
STREAM = ["ai_lib.event.map", *CALL]
USAGE = {"prompt_tokens": 12, "completion_tokens": 5}
FRAMES = tuple(
    b"data: %s\n\n" % json.dumps(frame).encode()
    for frame in (delta("Hel"), delta("lo"), delta(finish="stop"), {"choices": [], "usage": USAGE})
)
SSE = b"".join(FRAMES) + b"data: [DONE]\n\n"
JSON = json.dumps(completion()).encode()

Handler = Callable[[httpx.Request], "httpx.Response | Awaitable[httpx.Response]"]


# --- calls that are compared without and with the instrumentation ---


async def execute(run: Run, request: Any) -> Any:
    return await request.execute_with_stats()


async def stream(run: Run, request: Any) -> None:
    seen = run.keep([])
    async for event in run.keep(await request.stream_with_stats())[0]:
        seen.append(event)


class Case(NamedTuple):
    """A call, and what is known of it.

    Attributes:
        call: Makes it, from a request builder.
        status: The status code of the provider's answer.
        content: Its body.
        names: The spans of it.
        error: Its error type.
    """

    call: Callable[[Run, Any], Awaitable[Any]]
    status: int
    content: bytes
    names: list[str]
    error: str | None = None


CASES = {
    "execute": Case(execute, 200, JSON, CALL),
    "execute, refused": Case(
        execute, 500, b"", ["ai_lib.http.transport", "ai_lib.request.compile", CALL[-1]], "server_error"
    ),
    "execute, no object": Case(execute, 200, b"[]", CALL, "AttributeError"),
    "stream": Case(stream, 200, SSE, STREAM),
    "stream, refused": Case(
        stream, 500, b"", ["ai_lib.http.transport", "ai_lib.request.compile", CALL[-1]], "server_error"
    ),
    "stream, cut": Case(stream, 200, FRAMES[0], STREAM),
    "stream, broken": Case(stream, 200, b"data: null\n\n", STREAM, "TypeError"),
}


def unmoved(recorder: Recorder, case: Case) -> Both:
    """Make a call without and with the instrumentation, and fail where an application could tell the difference."""
    seen = compare(recorder, lambda run: httpx.Response(case.status, content=case.content), case.call)
    assert (case.error is None) == ("error" not in seen.without)
    return seen


class Surrounded(Recorder):
    """A recorder that instruments with further arguments.

    Args:
        arguments: Arguments of ``instrument()`` besides the providers.
        tracer_provider: Arguments of the tracer provider.
    """

    def __init__(self, arguments: Mapping[str, Any] | None = None, **tracer_provider: Any) -> None:
        super().__init__(**tracer_provider)
        self._arguments = dict(arguments or {})

    @property
    def providers(self) -> dict[str, Any]:
        """The arguments for ``instrument()``."""
        return {**super().providers, **self._arguments}


def assert_recorded(recorder: Recorder, case: Case) -> None:
    """Assert that one call was recorded in full: its spans, its count, its error, and nothing left in flight."""
    assert [name for name in recorder.names() if name != "ai_lib.protocol.load"] == sorted(case.names)
    assert recorder.points("ai_lib.requests") == [(LABELS, 1)]
    assert recorder.points("ai_lib.requests.in_flight") == [(LABELS, 0)]
    assert [labels["type"] for labels, _ in recorder.points("ai_lib.errors")] == ([case.error] if case.error else [])


# --- calls that something happens to while they are under way ---


async def connected(handler: Handler | None = None, model: str = MODEL) -> Any:
    """Return a client of the runtime whose provider is a function: by default one that answers what is asked."""
    ai = await client(model, base_url=URL)
    transport = httpx.MockTransport(handler or answer)  # type: ignore[arg-type]
    ai._transport._client = httpx.AsyncClient(base_url=URL, transport=transport)
    return ai


def answer(request: httpx.Request) -> httpx.Response:
    """Answer a call with a completion and a stream with its frames."""
    return httpx.Response(200, content=SSE if json.loads(request.content).get("stream") else JSON)


class Gate:
    """A provider that sends the second half of an answer when it is told to."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a request: headers at once, the body's first half too."""
        return httpx.Response(200, content=self._halves(answer(request).content))

    async def _halves(self, content: bytes) -> AsyncIterator[bytes]:
        middle = len(FRAMES[0])
        yield content[:middle]
        self.asked.set()
        await self.opened.wait()
        yield content[middle:]


async def asked(ai: Any, way: str) -> dict[str, Any]:
    """Chat as the case of that name does, and describe what the application gets."""
    run, context = Run(URL), get_current()
    try:
        result = described(await CASES[way].call(run, ai.chat().user("Hello?")))
    except Exception as error:
        result = described(error)
    return {"result": result, "kept": described(run.kept), "context untouched": get_current() is context}


async def settle() -> None:
    """Let the tasks run that close the runtime's generators behind the done signal."""
    for _ in range(12):
        await asyncio.sleep(0)


async def ask_halfway(ai: Any, gate: Gate, way: str, meanwhile: Callable[[], None]) -> dict[str, Any]:
    """Ask, and do something when half of the answer has arrived."""
    asking = asyncio.ensure_future(asked(ai, way))
    await gate.asked.wait()
    meanwhile()
    gate.opened.set()
    return await asking


def operations_alive() -> list[Operation]:
    """Return the operations that something keeps alive."""
    gc.collect()
    return [thing for thing in gc.get_objects() if isinstance(thing, Operation)]
