"""What a scrape costs with thousands of series: those of the instrumentation, and the same made by hand.

The gauges of live executors are read when a scrape asks for them; by hand they are set before.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from ai_lib_python import AiClient
from loads import CLOCKS
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from variants import instrumented
from workload import MODEL, Workload

_EXECUTORS: Final = 20
_TIMES: Final = 20


def _by_hand(source: InMemoryMetricReader, provider: MeterProvider) -> None:
    """Make every point of a reader's, with instruments that are no callbacks."""
    meter = provider.get_meter("by hand")
    data: Any = source.get_metrics_data()
    for metric in (
        each for resource in data.resource_metrics for scope in resource.scope_metrics for each in scope.metrics
    ):
        points = metric.data.data_points
        if not isinstance(points[0], NumberDataPoint):
            bounds = points[0].explicit_bounds
            put: Callable[..., None] = meter.create_histogram(
                metric.name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=bounds
            ).record
        elif not hasattr(metric.data, "is_monotonic"):
            put = meter.create_gauge(metric.name, metric.unit, metric.description).set
        elif metric.data.is_monotonic:
            put = meter.create_counter(metric.name, metric.unit, metric.description).add
        else:
            put = meter.create_up_down_counter(metric.name, metric.unit, metric.description).add
        for point in points:
            put(getattr(point, "value", 1), point.attributes)


@contextmanager
def _scraped(*readers: Any) -> Iterator[tuple[MeterProvider, Callable[[], bytes]]]:
    """Provide metrics to a registry of their own, with what a scrape of it does."""
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    provider = MeterProvider([PrometheusMetricReader(registry=registry), *readers])
    try:
        yield provider, lambda: generate_latest(registry)
    finally:
        provider.shutdown()


def _series(page: bytes) -> int:
    return sum(bool(line) and not line.startswith(b"#") for line in page.splitlines())


async def _calls(workload: Workload, scrape: Callable[[], bytes], series: int) -> None:
    """Call one model after another until there are enough series."""
    client: Any = workload.client
    number = 0
    while _series(scrape()) < series:
        client._model_id = f"openai/model-{number}"
        await workload.call()
        await workload.stream(3)
        number += 1
    client._model_id = MODEL


async def _executors() -> list[Any]:
    builders = (AiClient.builder().model(f"{MODEL}-{number}").production_ready() for number in range(_EXECUTORS))
    return [await builder.build() for builder in builders]


async def scrape(workload: Workload, clock: str, series: int) -> dict[str, Any]:
    """Measure a scrape.

    Args:
        workload: What makes the calls whose series there are.
        clock: ``wall`` or ``cpu``.
        series: How many there are at least.

    Returns:
        How many ``series`` and live ``executors`` there were, and the milliseconds of a scrape, the instrumentation's
        (``ours``), of the same series ``by_hand``, and the ``difference``; medians.
    """
    now, source = CLOCKS[clock], InMemoryMetricReader()
    taken: list[tuple[float, float]] = []
    with (
        _scraped(source) as (provider, ours),
        _scraped() as (other, by_hand),
        instrumented(True, meter_provider=provider),
    ):
        clients = await _executors()
        await _calls(workload, ours, series)
        _by_hand(source, other)
        series = _series(ours())
        if _series(by_hand()) != series:
            raise AssertionError("what is compared are not the same series")
        for _ in range(_TIMES):
            gc.collect()
            started = now()
            ours()
            between = now()
            by_hand()
            taken.append((between - started, now() - between))
        for client in clients:
            await client.close()
    figures = {
        "ours": [one for one, _ in taken],
        "by_hand": [hand for _, hand in taken],
        "difference": [one - hand for one, hand in taken],
    }
    medians = {name: statistics.median(seconds) * 1e3 for name, seconds in figures.items()}
    return {"series": series, "executors": _EXECUTORS, **medians}


def lines(found: Mapping[str, Any]) -> list[str]:
    """Return the findings for people."""
    return [
        f"a scrape of {found['series']:,} series, with the gauges of {found['executors']} live executors (ms)",
        f"  the instrumentation's{found['ours']:33.2f}",
        f"  the same series by hand{found['by_hand']:31.2f}",
        f"  difference{found['difference']:44.2f}",
    ]
