"""What a call emits, down to the last measurement: the proof that the floor and the instrumentation are comparable."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from floor import by_hand
from loads import Application
from opentelemetry.sdk.metrics import MeterProvider, TraceBasedExemplarFilter
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
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
    """Providers that keep the books.

    Args:
        sampled: Whether spans are recorded.
    """

    def __init__(self, *, sampled: bool) -> None:
        self._spans = InMemorySpanExporter()
        self._measurements = _Measurements()
        self._reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider(ALWAYS_ON if sampled else ALWAYS_OFF)
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


@dataclass(frozen=True)
class Case:
    """What to compare.

    Attributes:
        stream: A stream, not a call.
        chunk_timing: With each of its chunks recorded.
        sampled: With spans.
    """

    stream: bool = False
    chunk_timing: bool = False
    sampled: bool = True


CASES = {
    "call": Case(),
    "stream": Case(stream=True),
    "stream, chunk timing": Case(stream=True, chunk_timing=True),
    "call, sampled out": Case(sampled=False),
    "stream, sampled out": Case(stream=True, sampled=False),
    "stream, sampled out, chunk timing": Case(stream=True, chunk_timing=True, sampled=False),
}


async def books(workload: Workload, case: Case) -> tuple[Counter[str], Counter[str]]:
    """Return what the instrumentation and what the floor emits for one call or one stream."""

    async def emit(application: Application) -> None:
        await (application.stream(_CHUNKS) if case.stream else application.call())

    ours, theirs = Ledger(sampled=case.sampled), Ledger(sampled=case.sampled)
    with instrumented(case.chunk_timing, tracer_provider=ours.tracer_provider, meter_provider=ours.meter_provider):
        await emit(workload)
    await emit(by_hand(workload, theirs, sampled=case.sampled, chunk_timing=case.chunk_timing))
    return ours.entries(), theirs.entries()


def differences(ours: Counter[str], by_hand: Counter[str]) -> list[str]:
    """Return what only one of the two emits, a line each."""
    return [
        *(f"{count} x only the instrumentation: {entry}" for entry, count in sorted((ours - by_hand).items())),
        *(f"{count} x only the floor: {entry}" for entry, count in sorted((by_hand - ours).items())),
    ]


def counts(entries: Counter[str]) -> dict[str, int]:
    """Return how many spans, measurements and points there are."""
    kinds = dict.fromkeys(("span", "measurement", "point"), 0)
    for entry, count in entries.items():
        kinds[entry.partition(" ")[0]] += count
    return kinds


async def same_signals(workload: Workload) -> dict[str, dict[str, int]]:
    """Make sure that floors and instrumentation emit the same for a call and for streams.

    Returns:
        How many spans, measurements and points each case emits.

    Raises:
        AssertionError: They differ, and the comparison would mean nothing.
    """
    emitted = {}
    for name, case in CASES.items():
        ours, floor = await books(workload, case)
        found = differences(ours, floor)
        if found:
            raise AssertionError(f"{name}: floor and instrumentation have to emit the same:\n" + "\n".join(found))
        emitted[name] = counts(ours)
    return emitted
