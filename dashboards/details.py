"""The lower half of the overview: errors, tokens and cost."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models.common import StackingMode

from opentelemetry_instrumentation_ailib import semconv

from .catalogue import label_name
from .frame import CALL_VARIABLES, queries
from .panels import Panel, Target, Text, bars, rows, series
from .traces import CALLS, FAILED, has, url

_MODEL: Final = (semconv.LABEL_PROVIDER, semconv.LABEL_MODEL)
_TYPE, _STAGE = semconv.LABEL_TYPE, semconv.LABEL_STAGE
_ERROR: Final = {_TYPE: semconv.ERROR_TYPE}

_Q: Final = queries(CALL_VARIABLES)
_RANGE: Final = queries(CALL_VARIABLES, "$__range")

_EACH: Final = (*_MODEL, _TYPE, _STAGE)

ERRORS: Final[list[Panel]] = [
    series(
        Text(
            "Errors by type",
            "Failed calls a second. `cancelled` is the caller's doing; the rest is not.",
            "`rate_limited`, `overloaded`: quota or provider. `authentication`: the key. `invalid_request`: a change "
            "in the application or the manifest. `circuit_open`, `backpressure`: see *Resilience*.",
            "reqps",
            url([CALLS], (_TYPE,), _ERROR),
        ),
        Target(_Q.rate(semconv.ERRORS, _TYPE), (_TYPE,)),
        width=8,
        stacking=StackingMode.NORMAL,
    ),
    series(
        Text(
            "Errors by stage",
            "Where failed calls stood.",
            "`http.transport`: provider or network. `pipeline.process`, `event.map`: the answer does not fit the "
            "manifest. `request.compile`, `protocol.load`: the manifest itself. `resilience`: refused before it was "
            "sent, or cancelled while it waited. `client`: before the first stage.",
            "reqps",
            url([CALLS, FAILED]),
        ),
        Target(_Q.rate(semconv.ERRORS, _STAGE), (_STAGE,)),
        width=8,
        stacking=StackingMode.NORMAL,
    ),
    rows(
        Text(
            "Errors in this time range",
            "Failed calls, by model, type and stage.",
            "Begin with the first row: *Traces* on it shows calls that failed so.",
            "short",
            url([CALLS], _EACH, _ERROR),
        ),
        Target(_RANGE.increase(semconv.ERRORS, *_EACH), _EACH),
    ),
]

_TOKEN_TYPE: Final = label_name(semconv.TOKEN_TYPE)
_PER_CALL: Final = [
    Target(_Q.quantile(quantile, semconv.CLIENT_TOKEN_USAGE, _TOKEN_TYPE), (_TOKEN_TYPE,), name)
    for name, quantile in (("p50", 0.5), ("p95", 0.95))
]

USAGE: Final[list[Panel]] = [
    series(
        Text(
            "Tokens by model",
            "Tokens a second, cached input included.",
            "Input that grows alone is prompts or history growing; output alone, answers without a limit.",
            "si:tok/s",
            url([CALLS], _MODEL),
        ),
        Target(_Q.rate(semconv.TOKENS, *_MODEL, _TYPE), (*_MODEL, _TYPE)),
        width=8,
    ),
    series(
        Text(
            "Tokens of a call",
            "Median and 95th percentile of what a call uses, by the GenAI conventions' metric.",
            "A rising p95 of input is a conversation that nobody cuts: set a limit. Buckets are powers of four, so "
            "read the direction rather than the value.",
            "short",
            url([CALLS, has(semconv.USAGE_INPUT_TOKENS, "> 4096")]),
        ),
        *_PER_CALL,
        width=8,
    ),
    series(
        Text(
            "Cached and reasoning tokens",
            "Tokens a second that were read from or written to a cache, or spent on reasoning.",
            "Cache reads that drop while input does not: the start of the prompt changed, and the bill follows.",
            "si:tok/s",
            url([CALLS]),
        ),
        Target(_Q.rate(semconv.TOKEN_DETAILS, _TYPE), (_TYPE,)),
        width=8,
    ),
    series(
        Text(
            "Cost by model, an hour",
            "What an hour at the present rate costs.",
            "Compare with *Calls by model*: the same calls at a higher cost are longer calls or another model.",
            "currencyUSD",
            url([CALLS], _MODEL),
        ),
        Target(f"3600 * {_Q.rate(semconv.COST, *_MODEL)}", _MODEL),
        stacking=StackingMode.NORMAL,
    ),
    bars(
        Text(
            "Cost in this time range",
            "What calls cost, by model.",
            "A model that you did not expect is a fallback or a new caller: see *Calls by model*.",
            "currencyUSD",
            url([CALLS], _MODEL),
        ),
        Target(_RANGE.increase(semconv.COST, *_MODEL), _MODEL),
        width=12,
    ),
]
