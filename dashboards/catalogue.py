"""Every metric of the instrumentation, and what Prometheus calls it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from opentelemetry_instrumentation_ailib import semconv

COUNTER: Final = "counter"
UP_DOWN_COUNTER: Final = "up_down_counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"

# The suffixes of what is stored for a metric of a kind; an up-down counter is a gauge there.
_SUFFIXES: Final = {
    COUNTER: ("_total",),
    UP_DOWN_COUNTER: ("",),
    GAUGE: ("",),
    HISTOGRAM: ("_bucket", "_sum", "_count"),
}
_UNITS: Final = {"s": "_seconds"}


def label_name(attribute: str) -> str:
    """Return the label that an attribute becomes: ``gen_ai.request.model`` is ``gen_ai_request_model``."""
    return re.sub(r"[^a-zA-Z0-9]+", "_", attribute)


def prometheus_names(name: str, unit: str, kind: str) -> tuple[str, ...]:
    """Return what Prometheus stores a metric as, from the in-process reader and from a Collector alike.

    Args:
        name: The instrument's name.
        unit: Its unit: ``s``, which becomes a suffix, or an annotation in braces, which does not.
        kind: ``counter``, ``up_down_counter``, ``gauge`` or ``histogram``.
    """
    if unit not in _UNITS and not re.fullmatch(r"{\w+}", unit):
        raise ValueError(f"the exporters disagree on the name of {name} in {unit!r}")
    base = re.sub(r"[^a-zA-Z0-9:]+", "_", name) + _UNITS.get(unit, "")
    return tuple(base + suffix for suffix in _SUFFIXES[kind])


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        name: The instrument's name.
        kind: The instrument's kind.
        unit: Its unit.
        labels: The labels that it has in Prometheus, besides those of the scrape.
    """

    name: str
    kind: str
    unit: str
    labels: tuple[str, ...]

    @property
    def series(self) -> tuple[str, ...]:
        """What Prometheus stores it as; for a histogram, its buckets, sum and count."""
        return prometheus_names(self.name, self.unit, self.kind)


_PROVIDER, _MODEL, _TYPE = semconv.LABEL_PROVIDER, semconv.LABEL_MODEL, semconv.LABEL_TYPE
_ANSWERED = (_PROVIDER, _MODEL)
_CALL = (_PROVIDER, _MODEL, semconv.LABEL_OPERATION)
_EXECUTOR = (semconv.LABEL_EXECUTOR,)
_CONVENTIONS = tuple(
    map(
        label_name,
        (
            semconv.PROVIDER_NAME,
            semconv.REQUEST_MODEL,
            semconv.OPERATION_NAME,
            semconv.RESPONSE_MODEL,
            semconv.SERVER_ADDRESS,
            semconv.SERVER_PORT,
            semconv.ERROR_TYPE,
        ),
    )
)

_ROWS: Final = (
    (semconv.REQUESTS, COUNTER, "{request}", _CALL),
    (semconv.REQUEST_DURATION, HISTOGRAM, "s", _CALL),
    (semconv.TOKENS, COUNTER, "{token}", (*_CALL, _TYPE)),
    (semconv.ERRORS, COUNTER, "{error}", (*_CALL, _TYPE, semconv.LABEL_STAGE)),
    (semconv.TOKEN_DETAILS, COUNTER, "{token}", (*_ANSWERED, _TYPE)),
    (semconv.STAGE_DURATION, HISTOGRAM, "s", (*_CALL, semconv.LABEL_STAGE)),
    (semconv.REQUESTS_IN_FLIGHT, UP_DOWN_COUNTER, "{request}", _CALL),
    (semconv.ATTEMPTS, COUNTER, "{attempt}", (*_ANSWERED, semconv.LABEL_KIND, _TYPE)),
    (semconv.RETRIES, COUNTER, "{retry}", (*_ANSWERED, _TYPE)),
    (semconv.RETRY_DELAY, HISTOGRAM, "s", (*_ANSWERED, _TYPE)),
    (semconv.FALLBACKS, COUNTER, "{fallback}", (semconv.LABEL_FROM, semconv.LABEL_TO, _TYPE)),
    (semconv.CIRCUIT_BREAKER_STATE, GAUGE, "{state}", (*_EXECUTOR, semconv.LABEL_STATE)),
    (semconv.CIRCUIT_BREAKER_TRANSITIONS, COUNTER, "{transition}", (*_EXECUTOR, semconv.LABEL_TO)),
    (semconv.CIRCUIT_BREAKER_REJECTIONS, COUNTER, "{request}", _EXECUTOR),
    (semconv.RATE_LIMITER_AVAILABLE, GAUGE, "{permit}", _EXECUTOR),
    (semconv.RATE_LIMITER_WAIT, HISTOGRAM, "s", _EXECUTOR),
    (semconv.BACKPRESSURE_IN_FLIGHT, GAUGE, "{request}", _EXECUTOR),
    (semconv.BACKPRESSURE_LIMIT, GAUGE, "{request}", _EXECUTOR),
    (semconv.BACKPRESSURE_WAIT, HISTOGRAM, "s", _EXECUTOR),
    (semconv.STREAM_CONSUMER, HISTOGRAM, "s", _ANSWERED),
    (semconv.STREAM_FRAMES, COUNTER, "{frame}", (*_ANSWERED, semconv.LABEL_RESULT)),
    (semconv.STREAMS, COUNTER, "{stream}", (*_ANSWERED, semconv.LABEL_OUTCOME)),
    (semconv.PROVIDER_HEALTH, GAUGE, "{status}", (_PROVIDER, semconv.LABEL_STATUS)),
    (semconv.FEEDBACK, COUNTER, "{feedback}", (_TYPE,)),
    (semconv.FEEDBACK_SCORE, HISTOGRAM, "{score}", (_TYPE,)),
    (semconv.COST, COUNTER, "{USD}", _ANSWERED),
    (semconv.CLIENT_OPERATION_DURATION, HISTOGRAM, "s", _CONVENTIONS),
    (semconv.CLIENT_TOKEN_USAGE, HISTOGRAM, "{token}", (*_CONVENTIONS, label_name(semconv.TOKEN_TYPE))),
    (semconv.CLIENT_TIME_TO_FIRST_CHUNK, HISTOGRAM, "s", _CONVENTIONS),
    (semconv.CLIENT_TIME_PER_OUTPUT_CHUNK, HISTOGRAM, "s", _CONVENTIONS),
)

METRICS: Final = {row[0]: Metric(*row) for row in _ROWS}
"""Every metric, by the name of its instrument."""
