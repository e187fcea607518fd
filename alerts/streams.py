"""Streams that start late, end early or bring nothing."""

from __future__ import annotations

from typing import Final

from dashboards.catalogue import label_name
from dashboards.promql import JOB, Queries, equal, ratio

from opentelemetry_instrumentation_ailib import semconv
from opentelemetry_instrumentation_ailib.metrics import DURATION_BOUNDARIES

from .rules import CRITICAL, WARNING, Alert, Group, boundary

FIRST_CHUNK: Final = boundary(5.12, DURATION_BOUNDARIES)
"""Seconds within which 19 of 20 streams have to bring their first chunk: a boundary of the histogram."""

_BY: Final = (JOB, semconv.LABEL_PROVIDER, semconv.LABEL_MODEL)
_CONVENTIONS: Final = (JOB, label_name(semconv.PROVIDER_NAME), label_name(semconv.REQUEST_MODEL))
_WHO: Final = "{{ $labels.provider }}/{{ $labels.model }}"
_TEN, _FIFTEEN = Queries("10m"), Queries("15m")


def _ended(outcome: str) -> str:
    those = (equal(semconv.LABEL_OUTCOME, outcome),)
    share = ratio(_FIFTEEN.rate(semconv.STREAMS, *_BY, where=those), _FIFTEEN.rate(semconv.STREAMS, *_BY))
    return f"{share} > 0.05\nand\n{_FIFTEEN.increase(semconv.STREAMS, *_BY, where=those)} >= 2"


STREAMS: Final = Group(
    "ai-lib-streams",
    [
        Alert(
            "AiLibFirstChunkSlow",
            f"{_TEN.quantile(0.95, semconv.CLIENT_TIME_TO_FIRST_CHUNK, *_CONVENTIONS)} > {FIRST_CHUNK}\nand\n"
            f"{_TEN.increase(semconv.CLIENT_TIME_TO_FIRST_CHUNK, *_CONVENTIONS, suffix='_count')} > 10",
            "10m",
            WARNING,
            "Streams of {{ $labels.gen_ai_provider_name }}/{{ $labels.gen_ai_request_model }} start late",
            "One in twenty streams of {{ $labels.job }} waits {{ $value | humanizeDuration }} or longer for its first "
            f"chunk; {FIRST_CHUNK}s are allowed.",
        ),
        Alert(
            "AiLibStreamsEmpty",
            _ended(semconv.EMPTY),
            "5m",
            CRITICAL,
            f"Streams of {_WHO} bring nothing",
            "{{ $value | humanizePercentage }} of the streams of {{ $labels.job }} brought bytes of which the "
            "manifest maps nothing: users see empty answers, and nothing counts as an error.",
        ),
        Alert(
            "AiLibStreamsTruncated",
            _ended(semconv.TRUNCATED),
            "10m",
            WARNING,
            f"Streams of {_WHO} are cut short",
            "{{ $value | humanizePercentage }} of the streams of {{ $labels.job }} ended without a finish reason: "
            "users see answers without an end, and nothing counts as an error.",
        ),
    ],
)
