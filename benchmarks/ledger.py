"""What a call emits, down to the last measurement: the proof that the floor and the instrumentation are comparable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from floor import Floor
from opentelemetry.sdk.metrics import MeterProvider, TraceBasedExemplarFilter
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import get_current_span
from variants import instrumented
from workload import Workload

_CHUNKS = 10


class _Measurements(TraceBasedExemplarFilter):
    """Sees every measurement, with its attributes and its context."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def should_sample(self, value: Any, time_unix_nano: int, attributes: Any, context: Any) -> bool:
        span = getattr(get_current_span(context), "name", None)
        self.seen[f"measurement {_text(attributes)} in {span}"] += 1
        return super().should_sample(value, time_unix_nano, attributes, context)


def _text(attributes: Any) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted((attributes or {}).items()))


class Ledger:
    """Providers that keep the books."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._measurements = _Measurements()
        self._reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meter_provider = MeterProvider([self._reader], exemplar_filter=self._measurements)

    def entries(self) -> Counter[str]:
        """Return a line for each span (kind, parent, attribute keys), measurement (attributes, span) and point."""
        finished = self._spans.get_finished_spans()
        names = {span.context.span_id: span.name for span in finished}
        books: Counter[str] = Counter(self._measurements.seen)
        for span in finished:
            parent = names.get(span.parent.span_id) if span.parent else None
            books[f"span {span.name} {span.kind.name} under {parent}: {' '.join(sorted(span.attributes or ()))}"] += 1
        data = self._reader.get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                for point in metric.data.data_points:
                    bounds = getattr(point, "explicit_bounds", ())
                    books[f"point {metric.name} ({metric.unit}, {bounds}): {_text(point.attributes)}"] += 1
        return books


async def _emitted(act: Callable[[Ledger], Awaitable[None]]) -> Counter[str]:
    ledger = Ledger()
    await act(ledger)
    return ledger.entries()


async def books(workload: Workload, *, stream: bool, chunk_timing: bool) -> tuple[Counter[str], Counter[str]]:
    """Return what the instrumentation and what the floor emits for one call or one stream."""

    async def ours(ledger: Ledger) -> None:
        with instrumented(chunk_timing, tracer_provider=ledger.tracer_provider, meter_provider=ledger.meter_provider):
            await (workload.stream(_CHUNKS) if stream else workload.call())

    async def by_hand(ledger: Ledger) -> None:
        floor = Floor(ledger.tracer_provider, ledger.meter_provider, chunk_timing=chunk_timing)
        await (floor.stream(workload, _CHUNKS) if stream else floor.call(workload))

    return await _emitted(ours), await _emitted(by_hand)


def differences(ours: Counter[str], by_hand: Counter[str]) -> list[str]:
    """Return what only one of the two emits, a line each."""
    return [
        *(f"{count} x only the instrumentation: {entry}" for entry, count in sorted((ours - by_hand).items())),
        *(f"{count} x only the floor: {entry}" for entry, count in sorted((by_hand - ours).items())),
    ]


async def same_signals(workload: Workload) -> dict[str, dict[str, int]]:
    """Make sure that floor and instrumentation emit the same for a call and for streams.

    Returns:
        How many spans, measurements and points a call, a stream and a stream with chunk timing emit.

    Raises:
        AssertionError: They differ, and the comparison would mean nothing.
    """
    emitted = {}
    for what, stream, chunk_timing in (
        ("call", False, False),
        ("stream", True, False),
        ("stream, chunk timing", True, True),
    ):
        ours, by_hand = await books(workload, stream=stream, chunk_timing=chunk_timing)
        found = differences(ours, by_hand)
        if found:
            raise AssertionError("floor.py has to emit what the instrumentation emits:\n" + "\n".join(found))
        kinds = Counter(dict.fromkeys(("span", "measurement", "point"), 0))
        for entry, count in ours.items():
            kinds[entry.partition(" ")[0]] += count
        emitted[what] = dict(kinds)
    return emitted
