"""Overview: how many calls, how many fail, how long they take, what they use and cost."""

from __future__ import annotations

from typing import Final

from opentelemetry_instrumentation_ailib import semconv

from .catalogue import label_name
from .details import ERRORS, USAGE
from .frame import CALL_VARIABLES, Dashboard, queries
from .panels import FEW, Panel, Target, Text, number, series
from .promql import FAILED_CALLS, share
from .traces import CALLS, FAILED, has, url

_CALL: Final = CALL_VARIABLES[1:]
_CONVENTIONS: Final = tuple(map(label_name, (semconv.PROVIDER_NAME, semconv.REQUEST_MODEL, semconv.OPERATION_NAME)))

_Q: Final = queries(CALL_VARIABLES)

_GLANCE: Final[list[Panel]] = [
    number(
        Text(
            "Calls",
            "Calls a second, counted when they end.",
            "A drop to nothing is an outage upstream of the provider, or telemetry that stopped: look at *Processes "
            "reporting* on the dashboard *Feedback and health*.",
            "reqps",
            url([CALLS]),
        ),
        Target(_Q.rate(semconv.REQUESTS)),
    ),
    number(
        Text(
            "Failed calls",
            "The share of calls that failed for the caller, after retries and fallbacks. What the caller cancelled is "
            "left out.",
            "Go to *Errors by type* and *Errors by stage* below, then follow *Traces* from the greatest of them.",
            "percentunit",
            url([CALLS, FAILED]),
        ),
        Target(share(_Q.rate(semconv.ERRORS, where=FAILED_CALLS), _Q.rate(semconv.REQUESTS))),
        steps=FEW,
    ),
    number(
        Text(
            "Duration, p95",
            "19 of 20 calls are shorter. Retries, fallbacks, queueing and the reading of streams are in it.",
            "See *Duration by model* for whose it is, and *Where the time goes* on *Streaming* for which stage it is.",
            "s",
            url([CALLS, "duration > 5s"]),
        ),
        Target(_Q.quantile(0.95, semconv.REQUEST_DURATION)),
        none="no calls",
    ),
    number(
        Text(
            "In flight",
            "Calls that have begun and not ended, streams being read among them.",
            "If it grows while *Calls* does not, calls hang: look for a slow provider in *Duration by model* and for "
            "streams that nobody closes in *Endings* on *Streaming*.",
            "short",
            url([CALLS]),
        ),
        Target(_Q.gauge(semconv.REQUESTS_IN_FLIGHT)),
    ),
    number(
        Text(
            "Tokens",
            "Tokens a second, input and output together.",
            "See *Tokens by model* for who uses them and *Tokens of a call* for whether calls grew or became more.",
            "si:tok/s",
            url([CALLS, has(semconv.USAGE_OUTPUT_TOKENS, "> 1000")]),
        ),
        Target(_Q.rate(semconv.TOKENS)),
    ),
    number(
        Text(
            "Cost, an hour",
            "What an hour at the present rate costs, for models whose price is known.",
            "See *Cost by model, an hour*. If there is nothing, prices are unknown: the cost counter is an extra of "
            "the package.",
            "currencyUSD",
            url([CALLS]),
        ),
        Target(f"3600 * {_Q.rate(semconv.COST)}"),
        none="no prices",
    ),
]

_QUANTILES: Final = [
    Target(_Q.quantile(quantile, semconv.REQUEST_DURATION), name=name)
    for name, quantile in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
]

_CALLS: Final[list[Panel]] = [
    series(
        Text(
            "Calls by model",
            "Calls a second. After a fallback, a call counts for the model that answered.",
            "A model that takes over another's calls is a fallback at work: see *Fallbacks* on *Resilience*.",
            "reqps",
            url([CALLS], _CALL),
        ),
        Target(_Q.rate(semconv.REQUESTS, *_CALL), _CALL),
    ),
    series(
        Text(
            "Failed calls by model",
            "The share of calls that failed for the caller; what it cancelled is left out.",
            "One model: its provider, its quota or its name. All models of a provider: the provider or the "
            "credential. All providers: the network, or the application.",
            "percentunit",
            url([CALLS, FAILED], _CALL),
        ),
        Target(share(_Q.rate(semconv.ERRORS, *_CALL, where=FAILED_CALLS), _Q.rate(semconv.REQUESTS, *_CALL)), _CALL),
        maximum=1,
    ),
    series(
        Text(
            "Duration",
            "Median, 95th and 99th percentile of all calls; exemplars lead to single traces.",
            "If only the p99 moves, follow an exemplar: it is a few calls. If the median moves, it is everything.",
            "s",
            url([CALLS, "duration > 5s"]),
        ),
        *_QUANTILES,
    ),
    series(
        Text(
            "Duration by model",
            "The 95th percentile.",
            "Compare with the model's usual level. A slower model with steady *Tokens of a call* is the provider's.",
            "s",
            url([CALLS, "duration > 5s"], _CALL),
        ),
        Target(_Q.quantile(0.95, semconv.REQUEST_DURATION, *_CALL), _CALL),
    ),
    series(
        Text(
            "In flight by model",
            "Calls that have begun and not ended, of all processes.",
            "A line that only rises is calls that never end: streams that nobody closes, or a provider that hangs on "
            "calls without a timeout. Close streams where you stop reading them.",
            "short",
            url([CALLS], _CALL),
        ),
        Target(_Q.gauge(semconv.REQUESTS_IN_FLIGHT, *_CALL), _CALL),
    ),
    series(
        Text(
            "Duration, as other instrumentations name it",
            "The 95th percentile of the GenAI conventions' metric, to compare with clients of other libraries.",
            "It has to agree with *Duration by model*. It shows the conventions' names of providers.",
            "s",
            url([CALLS, "duration > 5s"], _CONVENTIONS),
        ),
        Target(_Q.quantile(0.95, semconv.CLIENT_OPERATION_DURATION, *_CONVENTIONS), _CONVENTIONS),
    ),
]

DASHBOARD: Final = Dashboard(
    "overview",
    "AI-Lib: overview",
    "Calls to AI providers: rate, errors, duration, tokens and cost. Begin here.",
    CALL_VARIABLES,
    [
        ("At a glance", _GLANCE),
        ("Rate, errors, duration", _CALLS),
        ("Errors", ERRORS),
        ("Tokens and cost", USAGE),
    ],
)
