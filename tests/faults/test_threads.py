"""Threads with an event loop each, and an instrumentation that is switched on and off under their feet."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from unmoved import CALL, LABELS, STREAM, asked, connected, settle

from differential import Both, operations
from opentelemetry_instrumentation_ailib import ROWS, AiLibInstrumentor, documented
from recorder import Open, Recorder

THREADS, ROUNDS, SWITCHES = 6, 10, 30
Loop = Callable[[], asyncio.AbstractEventLoop]


def loops() -> Iterator[Any]:
    """The event loops that there are: uvloop's comes with most servers."""
    yield pytest.param(asyncio.new_event_loop, id="asyncio")
    if importlib.util.find_spec("uvloop"):
        yield pytest.param(importlib.import_module("uvloop").new_event_loop, id="uvloop")


def in_a_loop_of_its_own(new_loop: Loop, main: Any) -> Any:
    loop = new_loop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def in_threads(new_loop: Loop, threads: int, ask: Callable[[], Any]) -> list[Any]:
    """Run a coroutine function in several threads, which begin at the same moment, and return the results."""
    together = threading.Barrier(threads)

    def work() -> Any:
        together.wait(10)
        return in_a_loop_of_its_own(new_loop, ask())

    with ThreadPoolExecutor(threads) as pool:
        return [future.result() for future in [pool.submit(work) for _ in range(threads)]]


async def ask_all(rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """Ask in every way, several times over and several at a time, with a client of the thread's own."""
    ai = await connected()
    seen: list[dict[str, Any]] = []
    for _ in range(rounds):
        seen += await asyncio.gather(asked(ai, "execute"), asked(ai, "stream"))
    await ai.close()
    await settle()
    return seen


@pytest.mark.parametrize("new_loop", list(loops()))
def test_threads_with_a_loop_and_a_client_each(new_loop: Loop, instrumented: Recorder) -> None:
    AiLibInstrumentor().uninstrument()
    without = in_a_loop_of_its_own(new_loop, ask_all())
    AiLibInstrumentor().instrument(**instrumented.providers)
    for seen in in_threads(new_loop, THREADS, ask_all):
        assert Both({"all": without}, {"all": seen}).differences() == []
    calls = THREADS * ROUNDS
    assert instrumented.names() == sorted(THREADS * ["ai_lib.protocol.load"] + calls * (CALL + STREAM))
    assert instrumented.points("ai_lib.requests") == [(LABELS, 2 * calls)]
    assert instrumented.points("ai_lib.requests.in_flight") == [(LABELS, 0)]
    assert sum(value for _, value in instrumented.points("ai_lib.streams")) == calls
    assert instrumented.counts("ai_lib.tokens", "type") == {"input": 2 * calls * 12, "output": 2 * calls * 5}
    for call in operations(instrumented):
        # Each has the stages of its own trace, and no other's.
        assert {child.context.trace_id for child in instrumented.children(call)} == {call.context.trace_id}
        assert len(instrumented.children(call)) in (len(CALL) - 1, len(STREAM) - 1)


# --- on and off under load ---


def patched() -> dict[str, Any]:
    """Return every patched attribute as its class or module holds it."""
    rows = [row for row in (*ROWS, *documented.ROWS) if type(row).__name__ != "Arrival"]
    return {f"{row.module}:{row.target}": vars(row.locate()[0]).get(row.locate()[1]) for row in rows}


async def switch(recorder: Recorder, over: threading.Event) -> list[dict[str, Any]]:
    """Switch the instrumentation on and off, time and again, and say when it is over. It asks nothing."""
    try:
        for _ in range(SWITCHES):
            AiLibInstrumentor().instrument(**recorder.providers)
            await asyncio.sleep(0)
            AiLibInstrumentor().uninstrument()
            await asyncio.sleep(0)
    finally:
        over.set()
    return []


async def ask_until(over: threading.Event) -> list[dict[str, Any]]:
    """Ask in both ways, until it is over, with a client of the thread's own."""
    ai = await connected()
    seen: list[dict[str, Any]] = []
    while not over.is_set():
        seen += await asyncio.gather(asked(ai, "execute"), asked(ai, "stream"))
    await ai.close()
    await settle()
    return seen


@pytest.fixture
def begun(recorder: Recorder) -> Open:
    """The spans of a test as they begin and end."""
    spans = Open()
    recorder.tracer_provider.add_span_processor(spans)
    return spans


def assert_nothing_left(recorder: Recorder, begun: Open, originals: dict[str, Any], calls: int) -> None:
    """Assert that all is as it was, and that every span that began has ended: those of some calls, not of all."""
    assert all(found is originals[name] for name, found in patched().items())
    assert begun.names == []
    assert sorted(begun.begun) == recorder.names()
    told = begun.begun.count(CALL[-1])
    assert 0 < told < calls
    assert recorder.points("ai_lib.requests") == [(LABELS, told)]
    assert recorder.points("ai_lib.requests.in_flight") == [(LABELS, 0)]


async def test_on_and_off_from_the_loop_of_the_calls(recorder: Recorder, begun: Open) -> None:
    originals, without, over = patched(), await ask_all(1), threading.Event()
    switching = asyncio.ensure_future(switch(recorder, over))
    seen = await ask_until(over)
    await switching
    assert Both({"all": without * (len(seen) // 2)}, {"all": seen}).differences() == []
    assert_nothing_left(recorder, begun, originals, len(seen))


def test_on_and_off_from_another_thread(recorder: Recorder, begun: Open) -> None:
    originals, without, over = patched(), asyncio.run(ask_all(1)), threading.Event()
    mains = iter([switch(recorder, over), *(ask_until(over) for _ in range(3))])
    all_seen = in_threads(asyncio.new_event_loop, 4, lambda: next(mains))
    for seen in all_seen:
        assert Both({"all": without * (len(seen) // 2)}, {"all": seen}).differences() == []
    assert_nothing_left(recorder, begun, originals, sum(map(len, all_seen)))
