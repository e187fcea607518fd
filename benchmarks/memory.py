"""What memory the instrumentation takes: of a stream while it is open, and of calls after they ended."""

from __future__ import annotations

import gc
import logging
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from every_ending import Endings
from floor import Floor
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from sdk import Sdk
from variants import API_TIMED, BARE, CONTENT, OUT_TIMED, SDK_TIMED, Variant, instrumented
from workload import Workload

NAMES: Final = 10_000
_MEASURED: Final = (API_TIMED, OUT_TIMED, SDK_TIMED, CONTENT)
SPANS: Final = "its spans alone, by hand"
OWN: Final = "every signal, without its spans"
_EVENTS: Final = 5


def _traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def _open(workload: Workload, count: int, flush: Callable[[], None]) -> float:
    """Return the bytes of each of some open streams. The span of their first stage has ended, and is exported."""
    flush()
    before = _traced()
    streams = [workload.events(1_000) for _ in range(count)]
    for stream in streams:
        for _ in range(_EVENTS):
            await anext(stream)
    flush()
    each = (_traced() - before) / count
    for stream in streams:
        await stream.aclose()
    return each


def _spans(count: int) -> float:
    """Return the bytes of the spans of each of some open streams, and of their contexts, made by hand."""
    sdk = Sdk()
    floor = Floor(sdk.tracer_provider, sdk.meter_provider, chunk_timing=False)
    floor.open()
    sdk.flush()
    before = _traced()
    held = [floor.open() for _ in range(count)]
    sdk.flush()
    each = (_traced() - before) / count
    held.clear()
    sdk.shutdown()
    return each


async def open_streams(workload: Workload, variants: Sequence[Variant], count: int) -> dict[str, float]:
    """Return the bytes that each open stream takes, by variant: more than without the instrumentation.

    Args:
        workload: What opens them.
        variants: All of them; some are measured.
        count: How many are open at once.
    """
    each = {}
    tracemalloc.start()
    try:
        for variant in variants:
            if variant.name in (BARE, *_MEASURED):
                with variant.active():
                    # The event loop's tables grow with the number of streams, by leaps, and keep what they have.
                    each[variant.name] = min([await _open(workload, count, variant.flush) for _ in range(4)])
        by_hand = min(_spans(count) for _ in range(4))
    finally:
        tracemalloc.stop()
    ours = {name: taken - each[BARE] for name, taken in each.items() if name != BARE}
    return {**ours, SPANS: by_hand, OWN: ours[SDK_TIMED] - by_hand}


@contextmanager
def _silent() -> Iterator[None]:
    # Of thousands of failed calls the logs would tell, and that there are many names of models.
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


async def growth(calls: int) -> dict[str, Any]:
    """Make calls that end in every way, of many models that no one knows.

    Args:
        calls: How many. In the first half every name of a model occurs, and by the third quarter tables have found
            their size.

    Returns:
        How many ``calls`` and ``names`` there were, the bytes taken after ``some`` of them, three quarters, and
        after ``all``, and the ``growth`` between.
    """
    names, some = min(NAMES, calls // 2), calls * 3 // 4
    endings = await Endings.create(names)
    # Exemplars, which are the SDK's, come and go for as long as durations fall into new buckets.
    sdk = Sdk(meter_provider=MeterProvider([InMemoryMetricReader()], exemplar_filter=AlwaysOffExemplarFilter()))
    taken = []
    with _silent(), instrumented(True, **vars(sdk)):
        tracemalloc.start()
        try:
            for part in (range(some), range(some, calls)):
                for number in part:
                    await endings.make(number)
                sdk.flush()
                taken.append(_traced())
        finally:
            tracemalloc.stop()
    sdk.shutdown()
    await endings.close()
    before, after = taken
    return {"calls": calls, "names": names, "some": before, "all": after, "growth": after - before}


def lines(found: Mapping[str, Any]) -> list[str]:
    """Return the findings for people."""
    calls, some = found["calls"], found["calls"] * 3 // 4
    return [
        "memory (bytes)",
        *(f"  an open stream, {name}{found[name]:{38 - len(name)},.0f}" for name in (*_MEASURED, SPANS, OWN)),
        f"  after {some:,} calls that ended in every way, of {found['names']:,} models: {found['some']:,}",
        f"  after {calls:,}: {found['all']:,}, which is {found['growth']:+,} for {calls - some:,} calls",
    ]
