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
from recorder import Recorder

THREADS, ROUNDS = 6, 10
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


async def switch(recorder: Recorder, stop: Callable[[], bool]) -> int:
    """Switch the instrumentation on and off until it is enough, and return how often."""
    rounds = 0
    while not stop():
        AiLibInstrumentor().instrument(**recorder.providers)
        await asyncio.sleep(0)
        AiLibInstrumentor().uninstrument()
        rounds += 1
        await asyncio.sleep(0)
    return rounds


def assert_nothing_left(recorder: Recorder, originals: dict[str, Any]) -> None:
    """Assert that all is as it was, and that every span that began has ended."""
    assert all(found is originals[name] for name, found in patched().items())
    assert [value for _, value in recorder.points("ai_lib.requests.in_flight")] in ([], [0])
    began = {span.parent.span_id for span in recorder.spans() if span.parent}
    assert began <= {span.context.span_id for span in recorder.spans()}


async def test_on_and_off_from_the_loop_of_the_calls(recorder: Recorder) -> None:
    originals, without = patched(), await ask_all()
    asking = asyncio.ensure_future(ask_all())
    rounds = await switch(recorder, asking.done)
    assert Both({"all": without}, {"all": await asking}).differences() == []
    assert rounds > 10
    assert_nothing_left(recorder, originals)


def test_on_and_off_from_another_thread(recorder: Recorder) -> None:
    originals, without = patched(), asyncio.run(ask_all())
    finished, rounds = threading.Event(), []
    switching = threading.Thread(target=lambda: rounds.append(asyncio.run(switch(recorder, finished.is_set))))
    switching.start()
    try:
        for seen in in_threads(asyncio.new_event_loop, 3, ask_all):
            assert Both({"all": without}, {"all": seen}).differences() == []
    finally:
        finished.set()
        switching.join()
    assert rounds[0] > 1
    assert_nothing_left(recorder, originals)
