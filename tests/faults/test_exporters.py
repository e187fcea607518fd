"""Exporters that refuse, hang, fail, fill up and come back: the application's calls neither wait nor change."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from exporting import SIGNALS, Exporting, Held, collector
from unmoved import CALL, CASES, LABELS, STREAM, Gate, ask_halfway, asked, connected, operations_alive, unmoved

from differential import Both, assert_books_balance, instrumentation
from opentelemetry_instrumentation_ailib import AiLibInstrumentor
from recorder import Recorder

pytestmark = pytest.mark.noisy("opentelemetry")  # The SDK says what it cannot deliver.

WAYS = ("execute", "stream")
each_way = pytest.mark.parametrize("way", WAYS)
each_case = pytest.mark.parametrize("case", CASES)


@pytest.fixture(autouse=True)
def all_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT", "true")


# --- that hang ---


@contextlib.contextmanager
def hanging(signals: Sequence[str] = SIGNALS, **options: Any) -> Iterator[tuple[Exporting, Held]]:
    """Exporters that hang already, those of these signals at least, and go on when the block is over."""
    held = Held()
    recorder = Exporting.by(held, **options)
    try:
        with instrumentation(recorder):
            asyncio.run(ask_once())
        assert held.all_entered(signals)
        recorder.clear()
        yield recorder, held
    finally:
        held.released.set()
        recorder.shutdown()


async def ask_once() -> None:
    ai = await connected()
    await asked(ai, "execute")
    await ai.close()


def test_calls_end_while_every_exporter_hangs() -> None:
    with hanging() as (recorder, held):
        for case in CASES.values():
            unmoved(recorder, case)
        # The calls are over, and the exporters have not moved.
        assert not held.released.is_set()
        assert held.exported == {signal: [] for signal in SIGNALS}
        assert sum(value for _, value in recorder.points("ai_lib.requests")) == 1 + len(CASES)
        assert [value for _, value in recorder.points("ai_lib.requests.in_flight")] == [0]


@pytest.mark.parametrize("signals", [SIGNALS, SIGNALS[:2]])
def test_a_full_queue_drops_what_it_cannot_hold(signals: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    records = 5 if "logs" in signals else 0
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT", str(bool(records)))
    with hanging(signals, queue=4) as (recorder, held):
        for _ in range(8):
            unmoved(recorder, CASES["execute"])
        assert [value for _, value in recorder.points("ai_lib.requests")] == [9]
        recorder.clear()
        # A record that waits in the queue refers to its context, and that to its operation. Nothing else does.
        assert len(operations_alive()) <= records
    # One was in the exporter's hands and four in the queue, of forty spans and nine events.
    assert len(held.exported["traces"]) == 5
    assert len(held.exported["logs"]) == records


def test_otlp_to_a_receiver_that_never_answers_holds_no_call_up() -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.settimeout(10)
        recorder = Exporting.to(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=30)
        with instrumentation(recorder):
            asyncio.run(ask_once())
        waiting = [stack.enter_context(listener.accept()[0]) for _ in SIGNALS]
        for connection in waiting:
            assert connection.recv(1) == b"P"  # It has sent its request, and waits.
        recorder.clear()
        unmoved(recorder, CASES["execute"])
        unmoved(recorder, CASES["stream"])
        assert recorder.names() == sorted([*CALL, *STREAM, *["ai_lib.protocol.load"] * 2])
        # Exporters that have been shut down do not try again when the connections break.
        recorder.give_up()
    recorder.shutdown()


# --- that refuse and fail ---


@each_case
def test_exporters_that_raise(case: str) -> None:
    called: Counter[str] = Counter()

    def export(signal: str, batch: Any) -> Any:
        called[signal] += 1
        raise MemoryError(signal)

    recorder = Exporting.by(export)
    unmoved(recorder, CASES[case])
    recorder.flush()
    recorder.shutdown()
    assert_books_balance(recorder)
    assert set(called) == set(SIGNALS)


def test_otlp_to_a_port_that_refuses() -> None:
    with collector() as absent:
        recorder = Exporting.to(absent.endpoint, timeout=0.2)
        for way in WAYS:
            unmoved(recorder, CASES[way])
        recorder.give_up()
        recorder.shutdown()
    assert recorder.names() == sorted([*CALL, *STREAM, *["ai_lib.protocol.load"] * 2])


def test_a_collector_that_comes_back_gets_what_happens_then() -> None:
    with collector() as ours:
        recorder, arrived = Exporting.to(ours.endpoint, timeout=0.2), ours.received

        def finished() -> int:
            return sum(span.name == CALL[-1] for span in arrived.spans)

        with ours.up():
            unmoved(recorder, CASES["execute"])
            arrived.wait_for(lambda: finished() == 1)
        for case in ("execute", "stream"):
            unmoved(recorder, CASES[case])
        recorder.tracer_provider.force_flush()
        assert finished() == 1
        with ours.up():
            unmoved(recorder, CASES["stream"])
            arrived.wait_for(lambda: finished() == 2)
            # Sums are cumulative: what was counted in between is not lost.
            arrived.wait_for(lambda: arrived.last("ai_lib.requests") == [(LABELS, 4)])
            recorder.shutdown()
    assert len(arrived.logs) >= 2


# --- the SDK at other times ---


@each_way
@pytest.mark.parametrize("moment", ["before", "halfway"])
async def test_an_sdk_that_is_shut_down(way: str, moment: str) -> None:
    plain, ours = Gate(), Gate()
    recorder, ai = Exporting.by(lambda signal, batch: None), await connected(plain)
    without = await ask_halfway(ai, plain, way, lambda: None)
    await ai.close()
    with instrumentation(recorder):
        ai = await connected(ours)
        if moment == "before":
            recorder.shutdown()
        seen = await ask_halfway(ai, ours, way, recorder.shutdown if moment == "halfway" else lambda: None)
        await ai.close()
    assert Both(without, seen).differences() == []


@each_way
async def test_a_flush_halfway_exports_each_span_once(way: str) -> None:
    exported: list[Any] = []
    recorder = Exporting.by(lambda signal, batch: exported.extend(batch) if signal == "traces" else None)
    gate = Gate()
    with instrumentation(recorder):
        ai = await connected(gate)

        def flush() -> None:
            elsewhere = threading.Thread(target=recorder.flush)
            elsewhere.start()
            recorder.flush()
            elsewhere.join()

        await ask_halfway(ai, gate, way, flush)
        recorder.flush()
        await ai.close()
    recorder.shutdown()
    assert sorted(span.name for span in exported) == sorted(["ai_lib.protocol.load", *CASES[way].names])
    assert len({span.context.span_id for span in exported}) == len(exported)


@each_way
async def test_providers_that_are_replaced_halfway(way: str) -> None:
    """What began with the first providers ends there, and what comes later goes to the second."""
    first, second, gate = Recorder(), Recorder(), Gate()
    AiLibInstrumentor().instrument(**first.providers)
    ai = await connected(gate)
    first.clear()

    def replace() -> None:
        AiLibInstrumentor().uninstrument()
        AiLibInstrumentor().instrument(**second.providers)

    await ask_halfway(ai, gate, way, replace)
    assert first.names() == sorted(CASES[way].names)
    assert second.names() == []
    await asked(ai, way)
    AiLibInstrumentor().uninstrument()
    await ai.close()
    assert first.names() == second.names() == sorted(CASES[way].names)
    for recorder in (first, second):
        assert recorder.points("ai_lib.requests") == [(LABELS, 1)]
        assert recorder.points("ai_lib.requests.in_flight") == [(LABELS, 0)]
