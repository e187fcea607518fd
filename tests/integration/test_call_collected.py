"""What a garbage collection ends while its thread holds a lock of the SDK, which the end would ask for again."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from ai_lib_python.batch import BatchExecutor
from ai_lib_python.protocol import ProtocolLoader
from ai_lib_python.resilience import Backpressure, BackpressureConfig
from ai_lib_python.telemetry import MetricsCollector, Tracer
from opentelemetry.sdk.metrics import AlignedHistogramBucketExemplarReservoir, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from test_chat import LABELS, OPERATION

from components import ALONE, limiter
from conftest import ROOT
from differential import instrumentation
from in_process import FRAMES, await_ends, completed, connected
from opentelemetry_instrumentation_ailib import observe
from recorder import RESOURCE, Recorder

CALL, STAGE = "ai_lib.request.duration", "ai_lib.stage.duration"
WAIT, QUEUED = "ai_lib.rate_limiter.wait", "ai_lib.backpressure.wait"
LOAD, SENT = "protocol.load", "http.transport"

# What is dropped as it waits is told of by asyncio, with us or without.
pytestmark = pytest.mark.noisy("asyncio")


class Collecting(AlignedHistogramBucketExemplarReservoir):
    """Has garbage collected where its aggregation's lock is held, as anything does, now and then, that allocates.

    Args:
        stage: Of which of a metric's stages; ``None`` for one without.
    """

    def __init__(self, stage: str | None, **options: Any) -> None:
        super().__init__(**options)
        self._stage = stage

    def collect(self, point_attributes: Any) -> Any:
        """Return the exemplars."""
        if point_attributes.get("stage") == self._stage:
            gc.collect()
        return super().collect(point_attributes)


@pytest.fixture
def collecting(recorder: Recorder, request: pytest.FixtureRequest) -> Iterator[Recorder]:
    """The runtime, instrumented, and no garbage collection but under the locks that the test names."""
    name, stage = request.param
    view = View(instrument_name=name, exemplar_reservoir_factory=lambda _: partial(Collecting, stage))
    recorder.reader = InMemoryMetricReader()
    recorder.meter_provider = MeterProvider([recorder.reader], resource=RESOURCE, views=[view])
    gc.collect()
    gc.disable()
    with instrumentation(recorder):
        yield recorder
    gc.enable()


def under(*locks: tuple[str, str | None]) -> pytest.MarkDecorator:
    """Name the metrics, and their stages, that have garbage collected."""
    return pytest.mark.parametrize("collecting", locks, indirect=True, ids=[stage or name for name, stage in locks])


class Never:
    """Waits for good, and nobody knows that it does."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()

    async def wait(self, *_: Any) -> Any:
        """Wait."""
        self.waiting.set()
        await asyncio.get_running_loop().create_future()

    __aenter__ = wait

    async def __aexit__(self, *_: Any) -> None:
        """Never get here."""


async def dropped(what: Callable[[], Awaitable[Any]], never: Never) -> None:
    """Begin something that waits for good, and let go of it."""
    task = asyncio.ensure_future(what())
    await never.waiting.wait()
    del task


def collect(recorder: Recorder) -> None:
    """Collect the metrics, and with them the garbage."""
    collecting_by(recorder.reader.get_metrics_data)


def collecting_by(function: Callable[[], object]) -> None:
    """Do what has garbage collected; what ends by that has ended afterwards."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "it waits for a lock that it holds"
    await_ends()


@under((CALL, None), (STAGE, SENT))
async def test_a_call_is_cancelled_and_counted_once(collecting: Recorder) -> None:
    never = Never()

    async def answer(request: httpx.Request) -> httpx.Response:
        return await never.wait() if b"never" in request.content else completed()

    ai = await connected(answer)
    await ai.chat().user("Hello?").execute()
    await dropped(lambda: ai.chat().user("never").execute(), never)
    collect(collecting)

    spans = [span for span in collecting.spans() if span.name == OPERATION]
    assert [(span.attributes or {}).get("error.type") for span in spans] == [None, "cancelled"]
    assert collecting.points("ai_lib.requests") == [(LABELS, 2)]
    assert collecting.points("ai_lib.requests.in_flight") == [(LABELS, 0)]
    assert collecting.points("ai_lib.errors") == [({**LABELS, "type": "cancelled", "stage": SENT}, 1)]


@under((CALL, None), (STAGE, SENT))
async def test_a_stream_that_waits_for_its_next_event_is_told_of_once(collecting: Recorder) -> None:
    never = Never()

    class Body(httpx.AsyncByteStream):
        """A body of which nothing more comes."""

        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield FRAMES[0]
            await never.wait()

    async def read() -> None:
        async for _ in ai.chat().user("never").stream():
            pass

    ai = await connected(
        lambda request: httpx.Response(200, stream=Body()) if b"never" in request.content else completed()
    )
    await ai.chat().user("Hello?").execute()
    await dropped(read, never)
    collect(collecting)

    assert collecting.names().count(OPERATION) == 2
    assert collecting.counts("ai_lib.streams", "outcome") == {"abandoned": 1}
    assert collecting.points("ai_lib.requests") == [(LABELS, 2)]
    assert collecting.points("ai_lib.requests.in_flight") == [(LABELS, 0)]


@under((WAIT, None))
async def test_who_waits_at_a_rate_limiter_has_waited(collecting: Recorder) -> None:
    subject, never = limiter(), Never()
    await subject.acquire()
    subject._lock = never  # type: ignore[assignment]
    await dropped(subject.acquire, never)
    collect(collecting)

    assert collecting.points(WAIT) == [({"executor": ALONE}, 2)]


@under((QUEUED, None))
async def test_who_waits_for_a_permit_has_waited(collecting: Recorder) -> None:
    subject, never = Backpressure(BackpressureConfig(max_concurrent=1)), Never()
    async with subject.acquire():
        pass
    subject._semaphore = Mock(acquire=never.wait)

    async def ask() -> None:
        async with subject.acquire():
            raise AssertionError

    await dropped(ask, never)
    collect(collecting)

    assert collecting.points(QUEUED) == [({"executor": ALONE}, 2)]


@under((STAGE, LOAD))
async def test_a_manifest_load_is_counted_once(collecting: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    loader, never = ProtocolLoader(), Never()
    await loader.load_model("openai/gpt-4o")
    monkeypatch.setattr(loader, "_load_from_github", never.wait)
    await dropped(lambda: loader.load_model("absent/m"), never)
    collect(collecting)

    assert [dict(span.attributes or {}) for span in collecting.spans()] == [
        {"ai_lib.stage": LOAD, "ai_lib.protocol.source": "local", "ai_lib.protocol.version": "1.5"},
        {"ai_lib.stage": LOAD, "error.type": "cancelled"},
    ]
    assert collecting.points(STAGE) == [
        ({"provider": "openai", "model": "gpt-4o", "stage": LOAD}, 1),
        ({"provider": "absent", "model": "m", "stage": LOAD}, 1),
    ]


class Exporting(SpanProcessor):
    """Has garbage collected where its lock is held, as that of an exporter may be."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.ended: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        """Keep a span."""
        with self.lock:
            gc.collect()
            self.ended.append(span)


@under((CALL, None))
async def test_a_batch_is_ended(collecting: Recorder) -> None:
    exporting, never = Exporting(), Never()
    collecting.tracer_provider.add_span_processor(exporting)
    executor: Any = BatchExecutor(never.wait, max_concurrent=2)
    await dropped(lambda: executor.execute([1]), never)
    span = collecting.tracer_provider.get_tracer(__name__).start_span("another")
    collecting_by(span.end)

    assert [(span.name, (span.attributes or {}).get("error.type")) for span in exporting.ended] == [
        ("another", None),
        ("ai_lib.batch", "cancelled"),
    ]


@under((CALL, None))
async def test_a_lock_of_the_applications_own_is_waited_for_by_nobody_who_holds_it(collecting: Recorder) -> None:
    """Of a processor that is asked what it has, say, and nothing of the SDK's is on the stack."""
    exporting, never = Exporting(), Never()
    ai = await connected(never.wait)
    await dropped(lambda: ai.chat().user("never").execute(), never)
    collecting.tracer_provider.add_span_processor(exporting)

    def snapshot() -> None:
        with exporting.lock:
            gc.collect()

    collecting_by(snapshot)
    assert [span.name for span in exporting.ended] == ["ai_lib.http.transport", OPERATION]


@under((CALL, None))
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_span_of_the_runtimes_tracer_is_ended(collecting: Recorder) -> None:
    """Where it is collected the runtime fails to leave the context that it entered, with us or without."""
    exporting, never = Exporting(), Never()
    collecting.tracer_provider.add_span_processor(exporting)

    async def work() -> None:
        with Tracer("app").span("work"):
            await never.wait()

    await dropped(work, never)
    span = collecting.tracer_provider.get_tracer(__name__).start_span("another")
    collecting_by(span.end)

    assert [span.name for span in exporting.ended] == ["another", "work"]


@under((CALL, None))
async def test_it_has_ended_when_it_was_collected(collecting: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not when the lock was released."""
    exporting, never, later = Exporting(), Never(), Never()
    ai = await connected(never.wait)
    await dropped(lambda: ai.chat().user("Hello?").execute(), never)
    executor: Any = BatchExecutor(later.wait)
    await dropped(lambda: executor.execute([1]), later)
    really, released = gc.collect, list[int]()

    def collected() -> None:
        really()
        released.append(time.time_ns())
        time.sleep(0.1)

    monkeypatch.setattr(gc, "collect", collected)
    collecting.tracer_provider.add_span_processor(exporting)
    collecting_by(collecting.tracer_provider.get_tracer(__name__).start_span("another").end)

    ends = {span.name: span.end_time or 0 for span in exporting.ended}
    assert set(ends) == {"another", "ai_lib.http.transport", OPERATION, "ai_lib.batch"}
    assert [name for name, ended in ends.items() if ended > released[0]] == []


class Counts(defaultdict[str, int]):
    """Has garbage collected where the lock of the collector that it is in is held."""

    def values(self) -> Any:
        """Return the counts."""
        gc.collect()
        return super().values()


@under((CALL, None))
async def test_the_collector_of_a_client_is_told(collecting: Recorder) -> None:
    collector, never = MetricsCollector(), Never()
    collector._request_count = Counts(int)
    ai = await connected(never.wait)
    observe(ai, metrics=collector)
    await dropped(lambda: ai.chat().user("Hello?").execute(), never)
    collecting_by(collector.get_snapshot)

    snapshot = collector.get_snapshot()
    assert (snapshot.total_requests, snapshot.failed_requests) == (1, 1)


INTERRUPTED = """
import asyncio
import gc
import logging

from in_process import connected
from interrupted import VARIABLES, change
from opentelemetry_instrumentation_ailib import AiLibInstrumentor
from recorder import Recorder


class Handler(logging.Handler):
    def emit(self, record):
        for variable in VARIABLES[:5]:
            variable.set([record])


logging.getLogger("ai_lib").addHandler(Handler())
logging.getLogger("ai_lib").setLevel(logging.DEBUG)
logging.getLogger("asyncio").addHandler(logging.NullHandler())
AiLibInstrumentor().instrument(**Recorder().providers)


async def never(request):
    sent.set()
    await asyncio.get_running_loop().create_future()


def step(call):
    kept = [call]
    kept.append(kept)
    call.send(None)


async def main():
    global sent
    ai = await connected(never)
    for variable in VARIABLES:
        variable.set(None)
    for number in range(400):
        sent = asyncio.Event()
        {begin}(ai.chat().user("Hello?").execute())
        await sent.wait()
        change(number)


gc.disable()
asyncio.run(main())
"""


@pytest.mark.parametrize("begin", ["asyncio.ensure_future", "step"])
def test_what_is_collected_in_the_middle_of_a_change_of_context_does_no_harm(begin: str) -> None:
    """Before Python 3.12 it would take no exception from that but the process, be the context its own or another."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED.replace("{begin}", begin)],
        cwd=ROOT / "tests",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
