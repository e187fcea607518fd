"""Resilience: what retries, fallbacks, circuit breakers, rate limiters and queues do behind the calls."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models.common import StackingMode

from opentelemetry_instrumentation_ailib import live, semconv

from .components import BREAKERS, LIMITERS, QUEUES, USE, WORST
from .frame import Dashboard, queries
from .panels import FEW, GREEN, NONE, ORANGE, RED, Panel, Target, Text, number, series
from .promql import FAILED_ATTEMPTS, JOB, ratio, share
from .traces import CALLS, FAILED, has, url

_VARIABLES: Final = (JOB, semconv.LABEL_PROVIDER, semconv.LABEL_MODEL, semconv.LABEL_EXECUTOR)
_MODEL: Final = (semconv.LABEL_PROVIDER, semconv.LABEL_MODEL)
_KIND, _TYPE = semconv.LABEL_KIND, semconv.LABEL_TYPE
_TURN: Final = (semconv.LABEL_FROM, semconv.LABEL_TO, _TYPE)

_Q: Final = queries(_VARIABLES)

_SEVERAL: Final = [CALLS, has(semconv.ATTEMPTS, "> 1")]
_FELL_BACK: Final = [CALLS, has(semconv.FALLBACK_COUNT, "> 0")]
_EXCHANGES: Final = [has(semconv.STAGE, f'= "{semconv.HTTP_TRANSPORT}"'), FAILED]

_GLANCE: Final[list[Panel]] = [
    number(
        Text(
            "Attempts for a call",
            "HTTP exchanges for each call. 1 is one exchange each.",
            "Above 1.2, users wait for retries: see *Attempts by result* for what fails. Below 1, calls are refused "
            "before they are sent: see *Circuit breakers* and *How full the queue is*.",
            "short",
            url(_SEVERAL),
        ),
        Target(ratio(_Q.rate(semconv.ATTEMPTS), _Q.rate(semconv.REQUESTS))),
        steps=((None, GREEN), (1.2, ORANGE), (2, RED)),
        none="no calls",
    ),
    number(
        Text(
            "Failed attempts",
            "The share of HTTP exchanges that failed, whatever became of the call. Cancelled ones are left out.",
            "Far above *Failed calls* on *Overview*: retries and fallbacks hide a provider's trouble, for now.",
            "percentunit",
            url(_EXCHANGES),
        ),
        Target(share(_Q.rate(semconv.ATTEMPTS, where=FAILED_ATTEMPTS), _Q.rate(semconv.ATTEMPTS))),
        steps=FEW,
    ),
    number(
        Text(
            "Fallbacks",
            "Turns to another model, a second.",
            "Somebody gets answers of a model that was not asked for: see *Fallbacks from and to*.",
            "ops",
            url(_FELL_BACK),
        ),
        Target(_Q.rate(semconv.FALLBACKS)),
        steps=NONE,
    ),
    number(
        Text(
            "Breakers open",
            "Circuit breakers that are open, counted for each process.",
            "See *Circuit breakers* for which. All calls of that executor fail at once, those to its fallbacks, too.",
            "short",
            url([CALLS, has(semconv.CIRCUIT_BREAKER_STATE, f'= "{live.STATES[-1]}"')]),
        ),
        Target(_Q.gauge(semconv.CIRCUIT_BREAKER_STATE, where=WORST)),
        steps=NONE,
        none="no breaker",
    ),
    number(
        Text(
            "Refused",
            "Calls that an open circuit breaker refused, a second.",
            "They reached no provider: the cause is in *Attempts by result* before the breaker opened.",
            "reqps",
            url([CALLS, has(semconv.ERROR_TYPE, f'= "{semconv.CIRCUIT_OPEN}"')]),
        ),
        Target(_Q.rate(semconv.CIRCUIT_BREAKER_REJECTIONS)),
        steps=NONE,
    ),
    number(
        Text(
            "Queue, fullest",
            "Requests in flight as a share of what may be, for the executor and process that is nearest to its limit.",
            "At 100 % calls wait: see *Wait for the queue*. Raise the limit if the provider allows it, or add "
            "processes.",
            "percentunit",
            url([CALLS, has(semconv.RESILIENCE_WAIT, "> 1")]),
        ),
        Target(f"max({USE})"),
        steps=((None, GREEN), (0.8, ORANGE), (1, RED)),
        none="no limit",
    ),
]

_ATTEMPTS: Final[list[Panel]] = [
    series(
        Text(
            "Attempts by kind",
            "HTTP exchanges a second: the first of a call, retries, those to a fallback.",
            "A growing share of retries is load that you add to a provider in trouble: fewer attempts, longer delays.",
            "reqps",
            url(_SEVERAL),
        ),
        Target(_Q.rate(semconv.ATTEMPTS, _KIND), (_KIND,)),
        width=8,
        stacking=StackingMode.NORMAL,
    ),
    series(
        Text(
            "Attempts by result",
            "HTTP exchanges a second, by error type or `ok`.",
            "`rate_limited`: ask for less, or for more quota. `overloaded`, `server_error`: the provider's status "
            "page. `timeout`: a longer timeout or a shorter answer. `authentication`: the key.",
            "reqps",
            url(_EXCHANGES, (_TYPE,), {_TYPE: semconv.ERROR_TYPE}),
        ),
        Target(_Q.rate(semconv.ATTEMPTS, _TYPE), (_TYPE,)),
        width=8,
        stacking=StackingMode.NORMAL,
        colors={semconv.OK: GREEN},
    ),
    series(
        Text(
            "Failed attempts by model",
            "The share of HTTP exchanges that failed.",
            "Near 100 % is a provider that is down, even while fallbacks keep *Failed calls* low.",
            "percentunit",
            url(_SEVERAL, _MODEL),
        ),
        Target(
            share(_Q.rate(semconv.ATTEMPTS, *_MODEL, where=FAILED_ATTEMPTS), _Q.rate(semconv.ATTEMPTS, *_MODEL)), _MODEL
        ),
        width=8,
        maximum=1,
    ),
    series(
        Text(
            "Retries",
            "Retries a second, by model and by what failed before.",
            "Retries of `invalid_request` or `authentication` cannot help: look at the manifest's retry policy.",
            "ops",
            url(_SEVERAL, _MODEL),
        ),
        Target(_Q.rate(semconv.RETRIES, *_MODEL, _TYPE), (*_MODEL, _TYPE)),
        width=8,
    ),
    series(
        Text(
            "Delay before retries",
            "Median and 95th percentile of the time waited before a retry. It is part of the call's duration.",
            "Long delays are what the provider asks for (`Retry-After`) or your backoff: prefer a fallback to a long "
            "wait.",
            "s",
            url(_SEVERAL),
        ),
        Target(_Q.quantile(0.5, semconv.RETRY_DELAY), name="p50"),
        Target(_Q.quantile(0.95, semconv.RETRY_DELAY), name="p95"),
        width=8,
    ),
    series(
        Text(
            "Fallbacks from and to",
            "Turns to another model a second, and what the one before failed with.",
            "Fix the model that is left; check that the one that answers is good enough, and what it costs.",
            "ops",
            url(_FELL_BACK),
        ),
        Target(_Q.rate(semconv.FALLBACKS, *_TURN), name="{{from}} → {{to}} · {{type}}"),
        width=8,
    ),
]

DASHBOARD: Final = Dashboard(
    "resilience",
    "AI-Lib: resilience",
    "What happens behind the calls: attempts, retries, fallbacks, circuit breakers, rate limiters, queues. Streams "
    "bypass all of it but the counting of attempts.",
    _VARIABLES,
    [
        ("At a glance", _GLANCE),
        ("Attempts, retries, fallbacks", _ATTEMPTS),
        ("Circuit breakers", BREAKERS),
        ("Rate limiters", LIMITERS),
        ("Queue (back-pressure)", QUEUES),
    ],
)
