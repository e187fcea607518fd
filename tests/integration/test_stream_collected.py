"""A stream that nobody closes: found by a garbage collection, left in the locals of a thread, or at the very end."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import SpanProcessor
from test_chat import LABELS, OPERATION

from conftest import ROOT
from in_process import FRAMES, connected
from recorder import Recorder


class Body(httpx.AsyncByteStream):
    """A body that is not ended, and takes its time to be closed."""

    def __init__(self) -> None:
        self.closing, self.closed = asyncio.Event(), asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield FRAMES[0]

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
        if span.name == OPERATION:
            self.loop.call_soon(self.event.set)


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is raised where nobody can catch it."""
    found: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda fault: found.append(repr(fault.exc_value)))
    return found


@pytest.mark.noisy("asyncio")  # Of its own generators, the runtime lets several be closed at a time.
async def test_its_event_loop_closes_it_and_nobody_else(instrumented: Recorder, faults: list[str]) -> None:
    body, ended = Body(), Ended()
    instrumented.tracer_provider.add_span_processor(ended)
    ai = await connected(lambda request: httpx.Response(200, stream=body))
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


def test_one_in_the_locals_of_a_thread_ends_with_the_thread(instrumented: Recorder, faults: list[str]) -> None:
    """When nothing is on the thread's stack any more."""
    kept = threading.local()

    async def leave() -> None:
        ai = await connected(lambda request: httpx.Response(200, content=b"".join(FRAMES)))
        kept.stream = ai.chat().user("Hello?").stream()
        await kept.stream.__anext__()

    def work() -> None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(leave())
        loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    gc.collect()

    assert faults == []
    assert instrumented.names().count(OPERATION) == 1
    assert instrumented.counts("ai_lib.streams", "outcome") == {"abandoned": 1}
    assert instrumented.points("ai_lib.requests.in_flight") == [(LABELS, 0)]


PROGRAM = """
import asyncio
import sys

import httpx

from in_process import FRAMES, connected
from opentelemetry_instrumentation_ailib import AiLibInstrumentor
from recorder import Recorder

AiLibInstrumentor().instrument(**(Recorder().providers if "sdk" in sys.argv else {}))


async def main():
    global stream
    ai = await connected(lambda request: httpx.Response(200, content=b"".join(FRAMES)))
    stream = ai.chat().user("Hello?").stream()
    await stream.__anext__()


loop = asyncio.new_event_loop()
loop.run_until_complete(main())
if "close" in sys.argv:
    loop.close()
"""


@pytest.mark.parametrize("sdk", ["sdk", "no sdk"])
@pytest.mark.parametrize("close", ["close", "leave the loop open"])
def test_one_that_is_global_is_left_alone_at_the_end_of_the_interpreter(sdk: str, close: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, sdk, close], cwd=ROOT / "tests", capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
