"""Telemetry itself: scrapes that fail, metrics that stopped, labels that were lost."""

from __future__ import annotations

from typing import Final

from dashboards.promql import INSTANCE, JOB, Queries

from opentelemetry_instrumentation_ailib import semconv

from .rules import CRITICAL, WARNING, Alert, Group

_QUERIES: Final = Queries("5m")
# A process has this from its first call on, whether it is idle or not.
_PRESENT: Final = _QUERIES.select(semconv.REQUESTS_IN_FLIGHT)
_REMEMBERED: Final = f"last_over_time({_QUERIES.select(semconv.REQUESTS_IN_FLIGHT, span='[6h]')})"

TELEMETRY: Final = Group(
    "ai-lib-telemetry",
    [
        Alert(
            "AiLibScrapeDown",
            f"up == 0\nand on ({JOB}, {INSTANCE})\ngroup by ({JOB}, {INSTANCE}) ({_REMEMBERED})",
            "5m",
            CRITICAL,
            "{{ $labels.instance }} cannot be scraped",
            "Prometheus gets no metrics from {{ $labels.job }} ({{ $labels.instance }}), which made AI calls within "
            "six hours. Other alerts cannot see it.",
        ),
        Alert(
            "AiLibTelemetryLost",
            f"group by ({JOB}) ({_REMEMBERED})\nunless\ngroup by ({JOB}) ({_PRESENT})",
            "15m",
            WARNING,
            "{{ $labels.job }} reports no AI calls any more",
            "It did within six hours. Its processes are gone, have made no call since they started, or lost their "
            "instrumentation.",
        ),
        Alert(
            "AiLibTelemetryAbsent",
            f"absent({_PRESENT})",
            "1h",
            WARNING,
            "Nobody reports AI calls",
            "There is not one process whose metrics arrive.",
        ),
        Alert(
            "AiLibTelemetryOverflow",
            f"{_QUERIES.overflowed()} > 0",
            "5m",
            WARNING,
            "Metrics of {{ $labels.job }} lose their labels",
            "{{ $value }} series hold what is beyond the sets of labels that the SDK keeps apart: it is counted "
            "without provider and model.",
        ),
    ],
)
