"""Queues that are full or slow."""

from __future__ import annotations

from typing import Final

from dashboards.promql import INSTANCE, JOB, Queries

from opentelemetry_instrumentation_ailib import semconv

from .rules import CRITICAL, WARNING, Alert, Group

WAIT: Final = 1
"""Seconds that 19 of 20 calls may wait for a permit, at most."""

_PROCESS: Final = (JOB, INSTANCE, semconv.LABEL_EXECUTOR)
_BY: Final = (JOB, semconv.LABEL_EXECUTOR)
_TEN: Final = Queries("10m")


def _mean(instrument: str) -> str:
    return f"sum by ({', '.join(_PROCESS)}) (avg_over_time({_TEN.select(instrument, span='[5m]')}))"


QUEUES: Final = Group(
    "ai-lib-queues",
    [
        Alert(
            "AiLibQueueFull",
            f"{_mean(semconv.BACKPRESSURE_IN_FLIGHT)}\n/\n{_mean(semconv.BACKPRESSURE_LIMIT)} > 0.95",
            "5m",
            CRITICAL,
            "The queue of {{ $labels.executor }} is full",
            "{{ $value | humanizePercentage }} of the permits of {{ $labels.job }} ({{ $labels.instance }}) have been "
            "taken for five minutes. Calls wait, then fail with backpressure.",
        ),
        Alert(
            "AiLibQueueSlow",
            f"{_TEN.quantile(0.95, semconv.BACKPRESSURE_WAIT, *_BY)} > {WAIT}\nand\n"
            f"{_TEN.increase(semconv.BACKPRESSURE_WAIT, *_BY, suffix='_count')} > 10",
            "10m",
            WARNING,
            "Calls wait long in the queue of {{ $labels.executor }}",
            "One call in twenty of {{ $labels.job }} waits {{ $value | humanizeDuration }} or longer for a permit.",
        ),
    ],
)
