"""What holds for the operations of all clients besides ``AiClient``: hooks, imports, subclasses, memory."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import TracerProvider

from opentelemetry_instrumentation_ailib import AiLibInstrumentor
from other_clients import CALLS, Call, opened, vectors
from provider import provider
from recorder import Recorder

EVERY = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
STAGES = ["ai_lib.http.transport", "ai_lib.pipeline.process", "ai_lib.request.compile"]
MODULES = (
    "ai_lib_python.embeddings.client",
    "ai_lib_python.rerank.client",
    "ai_lib_python.stt.client",
    "ai_lib_python.tts.client",
)


def recorded(call: Call) -> list[str]:
    """Return the names of the spans of a call, sorted."""
    return sorted([*(STAGES if call.visible else []), call.span])


def spans_of(recorder: Recorder) -> list[str]:
    """Return the names of all spans but those of manifests being loaded."""
    return [name for name in recorder.names() if not name.endswith(".load")]


async def made(call: Call) -> Any:
    """Make a call with a client of its own."""
    async with provider(call.answer) as server, opened(await call.open(server.base_url)) as client:
        return await call.make(client)


@EVERY
async def test_hooks_get_the_arguments_by_name_and_the_result(recorder: Recorder, call: Call) -> None:
    seen: list[tuple[str, Any]] = []
    AiLibInstrumentor().instrument(
        **recorder.providers,
        request_hook=lambda span, request: seen.append((span.name, request)),
        response_hook=lambda span, response: seen.append((span.name, response)),
    )
    result = await made(call)
    AiLibInstrumentor().uninstrument()

    assert [name for name, _ in seen] == [call.span] * 2
    assert seen[0][1] == call.parameters
    assert seen[1][1] is result


@EVERY
async def test_suppressed_calls_are_not_recorded(instrumented: Recorder, call: Call) -> None:
    with suppress_instrumentation():
        result = await made(call)

    assert result is not None
    assert instrumented.spans() == []
    assert instrumented.metric_names() == []


class Wire:
    """A transport of the user's own, which has no manifest and no address.

    Args:
        transport: The runtime's, which does the work.
    """

    def __init__(self, transport: Any) -> None:
        self.post, self.close = transport.post, transport.close


SEEN = {name: call for name, call in CALLS.items() if call.visible}


@pytest.mark.parametrize("call", SEEN.values(), ids=SEEN)
async def test_a_call_by_a_transport_of_the_users_own_is_recorded(instrumented: Recorder, call: Call) -> None:
    async with provider(call.answer) as server, opened(await call.open(server.base_url)) as client:
        client._transport = Wire(client._transport)
        await call.make(client)

    assert spans_of(instrumented) == recorded(call)
    attributes = dict(instrumented.span(call.span).attributes or {})
    assert attributes["ai_lib.provider.id"] == call.provider
    assert "server.address" not in attributes


@EVERY
async def test_a_call_is_a_child_of_the_users_span(instrumented: Recorder, call: Call) -> None:
    with instrumented.tracer_provider.get_tracer("app").start_as_current_span("consumer") as consumer:
        await made(call)

    span = instrumented.span(call.span)
    assert span.parent is not None
    assert span.parent.span_id == consumer.get_span_context().span_id
    assert spans_of(instrumented) == sorted(["consumer", *recorded(call)])


@EVERY
async def test_clients_that_exist_are_instrumented_and_left_alone_again(recorder: Recorder, call: Call) -> None:
    async with provider(call.answer) as server, opened(await call.open(server.base_url)) as client:
        method = getattr(client, call.method)
        AiLibInstrumentor().instrument(**recorder.providers)
        bound = getattr(client, call.method)
        await call.make(client)
        AiLibInstrumentor().uninstrument()
        # Neither what was bound before nor what was bound in between records anything now.
        await method(**call.parameters)
        await bound(**call.parameters)

    assert spans_of(recorder) == recorded(call)


SCRIPT = """
import asyncio, importlib, json, sys
from recorder import Recorder
from opentelemetry_instrumentation_ailib import AiLibInstrumentor

def loaded():
    return sorted(name for name in sys.modules if name.split(".")[0] == "ai_lib_python")

async def make(call):
    async with provider(call.answer) as server, opened(await call.open(server.base_url)) as client:
        await call.make(client)

recorder = Recorder()
if sys.argv[1] == "instrumented":
    AiLibInstrumentor().instrument(**recorder.providers)
seen = [loaded()]
for module in sys.argv[2:]:
    importlib.import_module(module)
    seen.append(loaded())
from other_clients import CALLS, opened
from provider import provider
for call in CALLS.values():
    asyncio.run(make(call))
print(json.dumps([seen, [name for name in recorder.names() if not name.endswith(".load")]]))
"""


def run(mode: str) -> Any:
    """Run the script in a fresh interpreter and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", SCRIPT, mode, *MODULES]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_modules_are_patched_when_the_application_imports_them_and_never_before() -> None:
    (before, *later), names = run("instrumented")
    assert before == []
    assert names == sorted(name for call in CALLS.values() for name in recorded(call))
    # Each alone, and nothing else of the runtime than without us.
    assert [[module for module in MODULES if module in loaded] for loaded in later] == [
        list(MODULES[:count]) for count in range(1, len(MODULES) + 1)
    ]
    assert run("plain") == [[before, *later], []]


# --- memory ---


class Payload(str):
    """What a caller embeds, which can be watched."""

    __slots__ = ("__weakref__",)


@pytest.mark.parametrize("fails", [False, True])
async def test_nothing_of_a_call_is_kept(recorder: Recorder, fails: bool) -> None:
    AiLibInstrumentor().instrument(**{**recorder.providers, "tracer_provider": TracerProvider()})
    text = Payload("one")
    watched = weakref.ref(text)
    async with provider([] if fails else vectors()) as server, opened(await CALLS["embed"].open(server.base_url)) as it:
        gc.collect()
        gc.disable()
        try:
            await asyncio.gather(it.embed(text), return_exceptions=True)
            del text
            alive = watched() is not None
        finally:
            gc.enable()
            AiLibInstrumentor().uninstrument()
    # The traceback of an exception refers to what it passed through, and is referred to.
    assert fails or not alive
    gc.collect()
    assert watched() is None
