"""Queues that are full or slow, and rate limiters that are."""

from __future__ import annotations

from typing import Final

from dashboards.promql import INSTANCE, JOB, Queries

from opentelemetry_instrumentation_ailib import semconv
from opentelemetry_instrumentation_ailib.metrics import STAGE_BOUNDARIES

from .rules import CRITICAL, WARNING, Alert, Group, boundary

WAIT: Final = boundary(1.0, STAGE_BOUNDARIES)
"""Seconds that 19 of 20 calls may wait for a permit, at most: a boundary of the histograms."""

_PROCESS: Final = (JOB, INSTANCE, semconv.LABEL_EXECUTOR)
_BY: Final = (JOB, semconv.LABEL_EXECUTOR)
_TEN: Final = Queries("10m")


def _mean(instrument: str) -> str:
    return f"sum by ({', '.join(_PROCESS)}) (avg_over_time({_TEN.select(instrument, span='[5m]')}))"


def _slow(name: str, instrument: str, where: str) -> Alert:
    return Alert(
        name,
        f"{_TEN.quantile(0.95, instrument, *_BY)} > {WAIT}\nand\n"
        f"{_TEN.increase(instrument, *_BY, suffix='_count')} > 10",
        "10m",
        WARNING,
        f"Calls wait long {where} of {{{{ $labels.executor }}}}",
        "One call in twenty of {{ $labels.job }} waits {{ $value | humanizeDuration }} or longer for a permit.",
    )


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
            "taken for ten minutes. Calls wait, or fail with backpressure where the queue has a timeout.",
        ),
        _slow("AiLibQueueSlow", semconv.BACKPRESSURE_WAIT, "in the queue"),
        _slow("AiLibRateLimiterSlow", semconv.RATE_LIMITER_WAIT, "for the rate limiter"),
    ],
)
