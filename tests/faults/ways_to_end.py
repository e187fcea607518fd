"""A program that ends in many ways while a stream is open, each without and with the instrumentation.

It starts once, and forks a process for each: what they say and how they end is printed as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import httpx
from ai_lib_python import AiClient
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from opentelemetry_instrumentation_ailib import AiLibInstrumentor
from provider import delta

FRAME = b"data: %s\n\n" % json.dumps(delta("Hel")).encode()
KEPT: list[Any] = []


class FailedError(Exception):
    """The application's."""


async def body() -> AsyncIterator[bytes]:
    """Yield two frames, and then nothing more for a long time."""
    yield FRAME
    yield FRAME
    await asyncio.sleep(60)


async def leave(events: Any) -> None:
    """Return, and have let go of the stream."""


async def keep(events: Any) -> None:
    """Return, and not have let go of it."""
    KEPT.append(events)


async def leave_a_task(events: Any) -> None:
    """Return while a task waits for an event that does not come."""
    KEPT.append(asyncio.ensure_future(read(events)))
    await asyncio.sleep(0.01)


async def read(events: Any) -> None:
    """Read on."""
    async for _ in events:
        pass


async def leave_the_program(events: Any) -> None:
    """Call ``sys.exit()``."""
    sys.exit(7)


async def fail(events: Any) -> None:
    """Raise."""
    raise FailedError("nobody catches it")


async def be_interrupted(events: Any) -> None:
    """Get what Ctrl-C sends."""
    os.kill(os.getpid(), signal.SIGINT)
    await read(events)


async def be_terminated(events: Any) -> None:
    """Get what an orchestrator sends, and have nothing to handle it."""
    os.kill(os.getpid(), signal.SIGTERM)
    await read(events)


ENDS: Sequence[Callable[[Any], Awaitable[None]]] = (
    leave,
    keep,
    leave_a_task,
    leave_the_program,
    fail,
    be_interrupted,
    be_terminated,
)


class Printing(SpanExporter):
    """Prints the name of every span."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Print."""
        os.write(1, "".join(f"{span.name}\n" for span in spans).encode())
        return SpanExportResult.SUCCESS


async def main(end: Callable[[Any], Awaitable[None]]) -> None:
    """Open a stream and end."""
    ai = await AiClient.create("openai/gpt-4o", base_url="http://provider.example/v1")
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=body()))
    ai._transport._client = httpx.AsyncClient(base_url=ai._transport._base_url, transport=transport)
    KEPT.append(ai)
    events = ai.chat().user("Hello?").stream()
    await events.__anext__()
    await end(events)


def fork() -> tuple[int, list[int]]:
    """Fork, and return the child's process id and its standard output and error to read from; in the child 0."""
    pipes = [os.pipe(), os.pipe()]
    child = os.fork()
    for number, (_, writing) in enumerate(pipes, 1):
        if not child:
            os.dup2(writing, number)
        os.close(writing)
    return child, [reading for reading, _ in pipes]


def run_all() -> tuple[Callable[[Any], Awaitable[None]], bool] | None:
    """Start a process for each end; in such a process, return which it is and whether it is instrumented."""
    children = []
    for end in ENDS:
        for instrumented in (False, True):
            child, pipes = fork()
            if not child:
                return end, instrumented
            children.append((end.__name__, child, pipes))
    found: dict[str, list[Any]] = {}
    for name, child, pipes in children:
        said = [open(pipe, errors="replace").read() for pipe in pipes]  # noqa: PTH123, SIM115 - a number, closed when read
        found.setdefault(name, []).append([os.waitpid(child, 0)[1], *said])
    print(json.dumps(found))  # noqa: T201 - a program
    return None


gc.freeze()
chosen = run_all()
if chosen is not None:
    # Whoever started this may ignore it, as shells have what runs in the background do.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if chosen[1]:
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(Printing()))
        AiLibInstrumentor().instrument(tracer_provider=provider)
    asyncio.run(main(chosen[0]))
