"""The lower half of the dashboard about resilience: circuit breakers, rate limiters and queues, by executor."""

from __future__ import annotations

from typing import Final

from opentelemetry_instrumentation_ailib import live, semconv

from .frame import queries
from .panels import GREEN, ORANGE, RED, Panel, Target, Text, series, states
from .promql import INSTANCE, JOB, equal, ratio
from .traces import CALLS, has, url

_EXECUTOR, _TO = semconv.LABEL_EXECUTOR, semconv.LABEL_TO
_EACH: Final = (JOB, _EXECUTOR)

_Q: Final = queries((JOB, _EXECUTOR))

_STATES: Final = dict(zip(live.STATES, (GREEN, ORANGE, RED), strict=True))
WORST: Final = (equal(semconv.LABEL_STATE, live.STATES[-1]),)

_PROCESS: Final = (JOB, INSTANCE, _EXECUTOR)
USE: Final = ratio(_Q.gauge(semconv.BACKPRESSURE_IN_FLIGHT, *_PROCESS), _Q.gauge(semconv.BACKPRESSURE_LIMIT, *_PROCESS))
"""How full the queue of each executor is, in each process."""

_REFUSED: Final = [CALLS, has(semconv.ERROR_TYPE, f'= "{semconv.CIRCUIT_OPEN}"')]
_NOT_CLOSED: Final = [CALLS, has(semconv.CIRCUIT_BREAKER_STATE, f'!= "{live.STATES[0]}"')]
_WAITED: Final = [CALLS, has(semconv.RESILIENCE_WAIT, "> 1")]

BREAKERS: Final[list[Panel]] = [
    states(
        Text(
            "Circuit breakers",
            "The state of each executor's circuit breaker; of several processes, the worst.",
            "Open: find what failed before in *Attempts by result*. It closes by itself once trial calls succeed. One "
            "that opens again and again has a threshold below the provider's usual rate of errors, or counts errors "
            "of your own.",
            "short",
            url(_NOT_CLOSED),
        ),
        Target(_Q.worst(semconv.CIRCUIT_BREAKER_STATE, semconv.LABEL_STATE, live.STATES, *_EACH), _EACH),
        _STATES,
    ),
    series(
        Text(
            "Changes of state",
            "Changes of circuit breakers a second, by the state they changed to.",
            "Open and half open in turn: trial calls fail, so the provider is still down.",
            "ops",
            url(_NOT_CLOSED),
        ),
        Target(_Q.rate(semconv.CIRCUIT_BREAKER_TRANSITIONS, _EXECUTOR, _TO), (_EXECUTOR, _TO)),
    ),
    series(
        Text(
            "Refused by circuit breakers",
            "Calls a second that an open breaker refused.",
            "These are failed calls of users. Give the executor a shorter time open, or the application another "
            "client to turn to: a fallback of the same client is refused as well.",
            "reqps",
            url(_REFUSED),
        ),
        Target(_Q.rate(semconv.CIRCUIT_BREAKER_REJECTIONS, _EXECUTOR), (_EXECUTOR,)),
    ),
]

LIMITERS: Final[list[Panel]] = [
    series(
        Text(
            "Permits left",
            "Permits that rate limiters have left, the least of all processes.",
            "At 0, calls wait for a permit: see the panel beside. Raise the rate if the provider's quota allows it.",
            "short",
            url(_WAITED),
        ),
        Target(_Q.gauge(semconv.RATE_LIMITER_AVAILABLE, _EXECUTOR, function="min"), (_EXECUTOR,)),
    ),
    series(
        Text(
            "Wait for a permit",
            "Median and 95th percentile of the time that calls waited for a rate limiter.",
            "Waiting is part of the call's duration. More than a second: more quota, fewer calls, or another provider.",
            "s",
            url(_WAITED),
        ),
        Target(_Q.quantile(0.5, semconv.RATE_LIMITER_WAIT, _EXECUTOR), (_EXECUTOR,), "p50"),
        Target(_Q.quantile(0.95, semconv.RATE_LIMITER_WAIT, _EXECUTOR), (_EXECUTOR,), "p95"),
    ),
]

QUEUES: Final[list[Panel]] = [
    series(
        Text(
            "In flight and limit",
            "Requests that hold a permit and how many may, of all processes.",
            "Lines that touch are a full queue. Lines that touch and calls that do not end: look for a provider that "
            "hangs.",
            "short",
            url(_WAITED),
        ),
        Target(_Q.gauge(semconv.BACKPRESSURE_IN_FLIGHT, _EXECUTOR), (_EXECUTOR,), "in flight"),
        Target(_Q.gauge(semconv.BACKPRESSURE_LIMIT, _EXECUTOR), (_EXECUTOR,), "limit"),
        width=8,
    ),
    series(
        Text(
            "How full the queue is",
            "The share of permits that are taken, in the fullest process.",
            "Steadily above 80 %: the next burst waits. One process alone: calls are spread unevenly.",
            "percentunit",
            url(_WAITED),
        ),
        Target(f"max by ({_EXECUTOR}) ({USE})", (_EXECUTOR,)),
        width=8,
        maximum=1,
    ),
    series(
        Text(
            "Wait for the queue",
            "Median and 95th percentile of the time that calls queued for a permit, those that were refused included.",
            "It is part of the call's duration. If it nears the queue's timeout, calls fail with `backpressure`.",
            "s",
            url(_WAITED),
        ),
        Target(_Q.quantile(0.5, semconv.BACKPRESSURE_WAIT, _EXECUTOR), (_EXECUTOR,), "p50"),
        Target(_Q.quantile(0.95, semconv.BACKPRESSURE_WAIT, _EXECUTOR), (_EXECUTOR,), "p95"),
        width=8,
    ),
]
