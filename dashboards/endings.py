"""The lower half of the dashboard about streams: where the time goes, how streams end, what was in them."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models.common import StackingMode

from opentelemetry_instrumentation_ailib import semconv

from .frame import CALL_VARIABLES, queries
from .panels import BLUE, GREEN, GREY, ORANGE, RED, YELLOW, Panel, Target, Text, series
from .promql import equal, none_of, one_of, share
from .traces import CALLS, has, url

_MODEL: Final = (semconv.LABEL_PROVIDER, semconv.LABEL_MODEL)
_OUTCOME, _RESULT, _STAGE = semconv.LABEL_OUTCOME, semconv.LABEL_RESULT, semconv.LABEL_STAGE

_Q: Final = queries(CALL_VARIABLES)

_BAD_OUTCOMES: Final = (semconv.ERROR, semconv.TRUNCATED, semconv.EMPTY)
BAD: Final = (one_of(_OUTCOME, *_BAD_OUTCOMES),)
UNMAPPED: Final = (equal(_RESULT, semconv.UNMAPPED),)
# A manifest is loaded before a call, not in its course.
_PARTS: Final = (none_of(_STAGE, semconv.PROTOCOL_LOAD),)

BADLY: Final = [CALLS, has(semconv.STREAM_OUTCOME, f'=~ "{"|".join(_BAD_OUTCOMES)}"')]
UNREADABLE: Final = [CALLS, has(semconv.STREAM_OUTCOME, f'= "{semconv.EMPTY}"')]
SLOW_READER: Final = [CALLS, has(semconv.REQUEST_STREAM, "= true"), "duration > 5s"]

HELD: Final = _Q.rate(semconv.STREAM_CONSUMER, suffix="_sum")
WORK: Final = _Q.rate(semconv.STAGE_DURATION, where=_PARTS, suffix="_sum")
"""Seconds that calls spent in a second: in the consumer, in stages."""

_CALLS_ENDED: Final = _Q.rate(semconv.REQUESTS)
_STAGES: Final = _Q.rate(semconv.STAGE_DURATION, _STAGE, where=_PARTS, suffix="_sum")
_CONSUMER: Final = "the consumer"
_PARTS_OF_A_CALL: Final = (
    Target(f"{_STAGES}\n/ on () group_left ()\n{_CALLS_ENDED}", (_STAGE,)),
    Target(f"{HELD}\n/\n{_CALLS_ENDED}", name=_CONSUMER),
)
_PART_COLORS: Final = {
    semconv.REQUEST_COMPILE: "purple",
    semconv.HTTP_TRANSPORT: BLUE,
    semconv.PIPELINE_PROCESS: YELLOW,
    semconv.EVENT_MAP: ORANGE,
    _CONSUMER: GREY,
}
_OUTCOME_COLORS: Final = {
    semconv.COMPLETED: GREEN,
    semconv.ABANDONED: GREY,
    semconv.CANCELLED: BLUE,
    semconv.ERROR: RED,
    semconv.TRUNCATED: ORANGE,
    semconv.EMPTY: YELLOW,
}

SPLIT: Final[list[Panel]] = [
    series(
        Text(
            "Where the time goes",
            "The seconds of a mean call by stage, and in the hands of the consumer. For a stream they add up to its "
            "duration. Calls that are not streamed are in it, too, without what they queued and what they waited for "
            "a retry.",
            "The area that grew says whose it is. `http.transport`: the provider. `pipeline.process` and `event.map`: "
            "the manifest or a short CPU. The consumer: the code that reads the stream.",
            "s",
            url(SLOW_READER),
        ),
        *_PARTS_OF_A_CALL,
        stacking=StackingMode.NORMAL,
        colors=_PART_COLORS,
    ),
    series(
        Text(
            "Where the time goes, in shares",
            "The same, as shares of the whole.",
            "A share that changes while the left panel keeps its height is work that moved; compare releases.",
            "s",
            url(SLOW_READER),
        ),
        *_PARTS_OF_A_CALL,
        stacking=StackingMode.PERCENT,
        colors=_PART_COLORS,
    ),
    series(
        Text(
            "Duration of stages",
            "The 95th percentile of each stage, loading of manifests included.",
            "`protocol.load` in seconds is a manifest fetched over the network: keep it local. `request.compile` in "
            "more than milliseconds is a very large prompt.",
            "s",
            url([has(semconv.STAGE, "!= nil"), "duration > 1s"], (_STAGE,), {_STAGE: semconv.STAGE}),
        ),
        Target(_Q.quantile(0.95, semconv.STAGE_DURATION, _STAGE), (_STAGE,)),
    ),
    series(
        Text(
            "Time in the hands of the consumer",
            "The 95th percentile for each stream.",
            "Whoever reads the stream blocks between two events: a slow client, a database write for each chunk, a "
            "lock.",
            "s",
            url(SLOW_READER, _MODEL),
        ),
        Target(_Q.quantile(0.95, semconv.STREAM_CONSUMER, *_MODEL), _MODEL),
    ),
]

ENDINGS: Final[list[Panel]] = [
    series(
        Text(
            "Endings",
            "Streams a second by how they ended. `abandoned` left before a finish reason, which is a reader's right.",
            "`empty`: the manifest maps nothing of what the provider sends. `truncated`: the provider or a proxy cut "
            "it. `error`: see *Errors by type* on *Overview*. `cancelled`: timeouts of your own.",
            "reqps",
            url([CALLS], (_OUTCOME,)),
        ),
        Target(_Q.rate(semconv.STREAMS, _OUTCOME), (_OUTCOME,)),
        stacking=StackingMode.NORMAL,
        colors=_OUTCOME_COLORS,
    ),
    series(
        Text(
            "Ended badly by model",
            "Streams a second that ended with an error, truncated or empty.",
            "Compare the manifest of that provider with what it sends: the logger `ai_lib.frame` at level TRACE shows "
            "each frame and the rule that matched.",
            "reqps",
            url([CALLS], (*_MODEL, _OUTCOME)),
        ),
        Target(_Q.rate(semconv.STREAMS, *_MODEL, _OUTCOME, where=BAD), (*_MODEL, _OUTCOME)),
    ),
    series(
        Text(
            "Frames",
            "Frames a second: those that became events, those that the manifest filters, those that it maps to "
            "nothing.",
            "`unmapped` rising with `mapped` falling is a provider's new format: update the manifest.",
            "cps",
            url([CALLS, has(semconv.STREAM_FRAMES, "> 0")]),
        ),
        Target(_Q.rate(semconv.STREAM_FRAMES, _RESULT), (_RESULT,)),
        stacking=StackingMode.NORMAL,
        colors={semconv.MAPPED: GREEN, semconv.UNMAPPED: RED, semconv.FILTERED: GREY},
    ),
    series(
        Text(
            "Not mapped by model",
            "The share of frames that the manifest makes no event of.",
            "1 is a stream from which nothing can be read. Anything else that is steady is how this provider talks.",
            "percentunit",
            url([CALLS, has(semconv.STREAM_FRAMES, "> 0")], _MODEL),
        ),
        Target(
            share(_Q.rate(semconv.STREAM_FRAMES, *_MODEL, where=UNMAPPED), _Q.rate(semconv.STREAM_FRAMES, *_MODEL)),
            _MODEL,
        ),
        maximum=1,
    ),
]
