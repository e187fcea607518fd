"""Feedback and health: what users say of the answers, how providers are, and whether telemetry itself is."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models.common import StackingMode

from opentelemetry_instrumentation_ailib import semconv

from .frame import Dashboard, queries
from .panels import FEW, GREEN, GREY, NONE, ORANGE, RED, Panel, Target, Text, bars, number, series, states
from .promql import FAILED_CALLS, JOB, ratio, share
from .traces import CALLS, FAILED, url

_VARIABLES: Final = (JOB, semconv.LABEL_PROVIDER)
_PROVIDER, _TYPE = semconv.LABEL_PROVIDER, semconv.LABEL_TYPE
_EACH: Final = (JOB, _PROVIDER)

_Q: Final = queries(_VARIABLES)
_RANGE: Final = queries(_VARIABLES, "$__range")

# The worst last.
_STATUSES: Final = {semconv.UNKNOWN: GREY, semconv.HEALTHY: GREEN, semconv.DEGRADED: ORANGE, semconv.UNHEALTHY: RED}
_WORST: Final = len(_STATUSES) - 1

_HEALTH_OF: Final = _Q.worst(semconv.PROVIDER_HEALTH, semconv.LABEL_STATUS, tuple(_STATUSES), _PROVIDER)
_OF_PROVIDER: Final = url([CALLS, FAILED], (_PROVIDER,))
# Feedback is an event of the call's trace, which traces cannot be searched by.
_RATED: Final = url([CALLS])

_GLANCE: Final[list[Panel]] = [
    number(
        Text(
            "Providers unhealthy",
            "Providers of whose calls of the last five minutes at least half failed.",
            "See *Health of providers* for which. No number means that there were no calls.",
            "short",
            url([CALLS, FAILED]),
        ),
        Target(f"sum({_HEALTH_OF} == bool {_WORST})"),
        steps=NONE,
        none="not tracked",
    ),
    number(
        Text(
            "Failed calls",
            "The share of calls that failed for the caller, after retries and fallbacks. What the caller cancelled is "
            "left out.",
            "See *Failed calls by provider*, then *Errors by type* on *Overview*.",
            "percentunit",
            url([CALLS, FAILED]),
        ),
        Target(share(_Q.rate(semconv.ERRORS, where=FAILED_CALLS), _Q.rate(semconv.REQUESTS))),
        steps=FEW,
    ),
    number(
        Text(
            "Feedback",
            "What users say of answers, a second.",
            "None, though users do: the application does not report it.",
            "ops",
            _RATED,
        ),
        Target(_Q.rate(semconv.FEEDBACK)),
    ),
    number(
        Text(
            "Mean score",
            "The mean of all scores, from 0 (bad) to 1 (good).",
            "See *Mean score by type* for which feedback brings it down, and since when.",
            "percentunit",
            _RATED,
        ),
        Target(_Q.mean(semconv.FEEDBACK_SCORE)),
        none="no scores",
    ),
    number(
        Text(
            "Processes reporting",
            "Processes whose metrics arrive. One reports from its first call on.",
            "Fewer than run: see *Processes reporting by job*, then the scrape's targets in Prometheus.",
            "short",
            url([CALLS]),
        ),
        Target(f"sum({_Q.processes()})"),
        steps=((None, RED), (1, GREEN)),
        none="none",
    ),
    number(
        Text(
            "Series overflowed",
            "Series that hold what was beyond the SDK's limit of 2,000 sets of attributes.",
            "Their labels are lost. Look for a label without bound: model names that users type, most likely.",
            "short",
            url([CALLS]),
        ),
        Target(f"sum({_Q.overflowed()}) or vector(0)"),
        steps=NONE,
    ),
]

_HEALTH: Final[list[Panel]] = [
    states(
        Text(
            "Health of providers",
            "What each provider's calls of the last five minutes, 100 at the most, say of it; of several processes, "
            "the worst. Degraded: one in ten failed. Unhealthy: one in two. Unknown: no calls.",
            "See *Attempts by result* on *Resilience* for the reason and the provider's status page for news. "
            "Refusals of requests that were wrong, and what was never sent, do not count.",
            "short",
            _OF_PROVIDER,
        ),
        Target(_Q.worst(semconv.PROVIDER_HEALTH, semconv.LABEL_STATUS, tuple(_STATUSES), *_EACH), _EACH),
        _STATUSES,
        width=16,
    ),
    series(
        Text(
            "Failed calls by provider",
            "The share of calls that failed for the caller; what it cancelled is left out.",
            "Healthy above and failing here: the failures are not the provider's. See *Errors by stage* on *Overview*.",
            "percentunit",
            _OF_PROVIDER,
        ),
        Target(
            share(_Q.rate(semconv.ERRORS, _PROVIDER, where=FAILED_CALLS), _Q.rate(semconv.REQUESTS, _PROVIDER)),
            (_PROVIDER,),
        ),
        width=8,
        maximum=1,
    ),
]

_FEEDBACK: Final[list[Panel]] = [
    series(
        Text(
            "Feedback by type",
            "What users say of answers, a second.",
            "None at all: the application stopped reporting it. A wave of `regenerate` or `stop`: answers got worse.",
            "ops",
            _RATED,
        ),
        Target(_Q.rate(semconv.FEEDBACK, _TYPE), (_TYPE,)),
        width=8,
        stacking=StackingMode.NORMAL,
    ),
    series(
        Text(
            "Mean score by type",
            "The mean score by type, from 0 (bad) to 1 (good).",
            "A step down with a release is the release's; without one, a model changed behind its name: see *Calls by "
            "model* and *Fallbacks from and to*.",
            "percentunit",
            _RATED,
        ),
        Target(_Q.mean(semconv.FEEDBACK_SCORE, _TYPE), (_TYPE,)),
        width=8,
        maximum=1,
    ),
    bars(
        Text(
            "Feedback in this time range",
            "How often users said something, by type.",
            "Scores of a handful say little: widen the time range before you act on *Mean score by type*.",
            "short",
            _RATED,
        ),
        Target(_RANGE.increase(semconv.FEEDBACK, _TYPE), (_TYPE,)),
    ),
    series(
        Text(
            "Score, worst tenth and median",
            "One in ten scores is below the first line, one in two below the second.",
            "A falling first line under a steady median: some answers are bad. Follow *Traces* to the calls they "
            "judge.",
            "percentunit",
            _RATED,
        ),
        Target(_Q.quantile(0.1, semconv.FEEDBACK_SCORE, _TYPE), (_TYPE,), "p10"),
        Target(_Q.quantile(0.5, semconv.FEEDBACK_SCORE, _TYPE), (_TYPE,), "p50"),
        maximum=1,
    ),
    series(
        Text(
            "Calls with feedback",
            "How often users say something, for each call.",
            "A drop with steady calls: the way back from the user to the application broke.",
            "percentunit",
            _RATED,
        ),
        Target(ratio(_Q.rate(semconv.FEEDBACK), queries((JOB,)).rate(semconv.REQUESTS)), name="feedback"),
    ),
]

_TELEMETRY: Final[list[Panel]] = [
    series(
        Text(
            "Processes reporting by job",
            "Processes whose metrics arrive.",
            "A gap in all jobs is Prometheus or the Collector; in one job, its deployment or its page of metrics. "
            "`python -m opentelemetry_instrumentation_ailib` checks an application from within.",
            "short",
            url([CALLS]),
        ),
        Target(_Q.processes(), (JOB,)),
    ),
    series(
        Text(
            "Calls by job",
            "Calls a second, by what made them.",
            "A job that stops while its processes report has no work, or its instrumentation was switched off.",
            "reqps",
            url([CALLS]),
        ),
        Target(_Q.rate(semconv.REQUESTS, JOB), (JOB,)),
    ),
]

DASHBOARD: Final = Dashboard(
    "feedback_health",
    "AI-Lib: feedback and health",
    "What users say of answers, how providers are, and whether telemetry itself arrives.",
    _VARIABLES,
    [
        ("At a glance", _GLANCE),
        ("Providers", _HEALTH),
        ("Feedback", _FEEDBACK),
        ("Telemetry itself", _TELEMETRY),
    ],
)
