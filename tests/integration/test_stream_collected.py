"""A stream that a garbage collection finds in another thread than its event loop's."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import SpanProcessor

from conftest import client
from provider import delta, events
from recorder import Recorder


class Body(httpx.AsyncByteStream):
    """A body that is not ended, and takes its time to be closed."""

    def __init__(self) -> None:
        self.closing, self.closed = asyncio.Event(), asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield events(delta("Hel"), done=False)[1].split(b"\r\n")[1]  # type: ignore[union-attr]

    async def aclose(self) -> None:
        await self.closing.wait()
        self.closed.set()


class Late:
    """What a garbage collection comes to after the application's iterator, and before the runtime's."""

    def __init__(self, ended: threading.Event) -> None:
        self.ended = ended

    def __del__(self) -> None:
        self.ended.wait(10)


class Ended(SpanProcessor):
    """Says so when an operation's span has ended, and the step of the event loop in which it did."""

    def __init__(self) -> None:
        self.loop, self.event = asyncio.get_running_loop(), threading.Event()

    def on_end(self, span: Any) -> None:
        if span.name == "chat gpt-4o":
            self.loop.call_soon(self.event.set)


@pytest.mark.noisy("asyncio")  # Of its own generators, the runtime lets several be closed at a time.
async def test_its_event_loop_closes_it_and_nobody_else(
    instrumented: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda fault: faults.append(repr(fault.exc_value)))
    body, ended = Body(), Ended()
    instrumented.tracer_provider.add_span_processor(ended)
    ai = await client(base_url="http://provider.example/v1")
    handler = httpx.MockTransport(lambda request: httpx.Response(200, stream=body))
    ai._transport._client = httpx.AsyncClient(transport=handler, base_url="http://provider.example/v1")
    gc.collect()
    gc.disable()
    try:
        circle: list[Any] = [ai.chat().user("Hello?").stream(), Late(ended.event)]
        circle.append(circle)
        await circle[0].__anext__()
        del circle
        await asyncio.get_running_loop().run_in_executor(None, gc.collect)
    finally:
        gc.enable()
    body.closing.set()
    await asyncio.wait_for(body.closed.wait(), 10)
    await ai.close()

    assert ended.event.is_set()
    assert faults == []
    assert instrumented.counts("ai_lib.streams", "outcome") == {"abandoned": 1}
