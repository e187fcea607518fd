"""Streaming: how soon and how fast chunks come, where the time goes, how streams end."""

from __future__ import annotations

from typing import Final

from opentelemetry_instrumentation_ailib import semconv

from .catalogue import label_name
from .endings import BAD, BADLY, ENDINGS, HELD, SLOW_READER, SPLIT, UNMAPPED, UNREADABLE, WORK
from .frame import CALL_VARIABLES, Dashboard, queries
from .panels import FEW, Panel, Target, Text, number, series
from .promql import share
from .traces import CALLS, has, url

_MODEL: Final = tuple(map(label_name, (semconv.PROVIDER_NAME, semconv.REQUEST_MODEL)))
_QUANTILES: Final = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))

_Q: Final = queries(CALL_VARIABLES)

_STREAMED: Final = [CALLS, has(semconv.REQUEST_STREAM, "= true")]
_SLOW_START: Final = [CALLS, has(semconv.RESPONSE_TIME_TO_FIRST_CHUNK, "> 2")]

_GLANCE: Final[list[Panel]] = [
    number(
        Text(
            "Streams",
            "Streams a second, counted when they end.",
            "None, though there are calls on *Overview*: nobody streams, or nobody closes streams (*In flight* there).",
            "reqps",
            url(_STREAMED),
        ),
        Target(_Q.rate(semconv.STREAMS)),
    ),
    number(
        Text(
            "Ended badly",
            "The share of streams that ended with an error, truncated or empty.",
            "See *Endings* for how they ended and *Ended badly by model* for whose they are.",
            "percentunit",
            url(BADLY),
        ),
        Target(share(_Q.rate(semconv.STREAMS, where=BAD), _Q.rate(semconv.STREAMS))),
        steps=FEW,
    ),
    number(
        Text(
            "First chunk, p95",
            "19 of 20 streams bring their first chunk sooner. It is what a user waits before anything appears.",
            "See *Time to first chunk by model*; then whether prompts grew (*Tokens of a call* on *Overview*).",
            "s",
            url(_SLOW_START),
        ),
        Target(_Q.quantile(0.95, semconv.CLIENT_TIME_TO_FIRST_CHUNK)),
        none="no streams",
    ),
    number(
        Text(
            "Chunk to chunk, p95",
            "19 of 20 chunks follow the one before sooner, the consumer's time in between included.",
            "See *Held by the consumer*: if that is low, the provider is slow.",
            "s",
            url(_STREAMED),
        ),
        Target(_Q.quantile(0.95, semconv.CLIENT_TIME_PER_OUTPUT_CHUNK)),
        none="not timed",
    ),
    number(
        Text(
            "Not mapped",
            "The share of frames that the manifest makes no event of.",
            "A few are normal: roles, pings. A step up is a provider's new format or a changed manifest: see *Frames*.",
            "percentunit",
            url(UNREADABLE),
        ),
        Target(share(_Q.rate(semconv.STREAM_FRAMES, where=UNMAPPED), _Q.rate(semconv.STREAM_FRAMES))),
    ),
    number(
        Text(
            "Held by the consumer",
            "The share of the time of calls in which the code that reads the stream had it.",
            "High: the application is slow between two events, or waits for its own user. It is not the provider.",
            "percentunit",
            url(SLOW_READER),
        ),
        Target(f"{HELD}\n/\n({HELD} + {WORK})"),
    ),
]

_SPEED: Final[list[Panel]] = [
    series(
        Text(
            "Time to first chunk",
            "Median, 95th and 99th percentile; exemplars lead to single streams.",
            "If the median moves, the provider or the prompts changed. If only the p99 moves, follow an exemplar.",
            "s",
            url(_SLOW_START),
        ),
        *(Target(_Q.quantile(q, semconv.CLIENT_TIME_TO_FIRST_CHUNK), name=name) for name, q in _QUANTILES),
    ),
    series(
        Text(
            "Time to first chunk by model",
            "The 95th percentile, by the conventions' names of providers.",
            "One model: its provider is loaded, or its prompts miss the cache. All of a provider: its region or "
            "network.",
            "s",
            url(_SLOW_START, _MODEL),
        ),
        Target(_Q.quantile(0.95, semconv.CLIENT_TIME_TO_FIRST_CHUNK, *_MODEL), _MODEL),
    ),
    series(
        Text(
            "Time from chunk to chunk",
            "Median, 95th and 99th percentile. Nothing, if chunk timing is switched off.",
            "Compare with *Where the time goes*: transport is the provider, the consumer is your own code.",
            "s",
            url(_STREAMED),
        ),
        *(Target(_Q.quantile(q, semconv.CLIENT_TIME_PER_OUTPUT_CHUNK), name=name) for name, q in _QUANTILES),
    ),
    series(
        Text(
            "Time from chunk to chunk by model",
            "The 95th percentile, by the conventions' names of providers.",
            "One model: its provider. All models at once: the process is short of CPU or its event loop is blocked.",
            "s",
            url(_STREAMED, _MODEL),
        ),
        Target(_Q.quantile(0.95, semconv.CLIENT_TIME_PER_OUTPUT_CHUNK, *_MODEL), _MODEL),
    ),
]

DASHBOARD: Final = Dashboard(
    "streaming",
    "AI-Lib: streaming",
    "Streams: time to the first chunk and between chunks, where the time goes, how streams end and what was in them.",
    CALL_VARIABLES,
    [
        ("At a glance", _GLANCE),
        ("How fast", _SPEED),
        ("Where the time goes", SPLIT),
        ("How streams end, and what was in them", ENDINGS),
    ],
)
