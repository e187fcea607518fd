"""What memory the instrumentation takes: of a stream while it is open, and of calls after they ended."""

from __future__ import annotations

import gc
import logging
import mmap
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from every_ending import Endings
from floor import Floor
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from peers import NAMES, Peers
from sdk import Sdk
from variants import API_TIMED, BARE, CONTENT, OUT_TIMED, SDK_TIMED, Variant, instrumented
from workload import Workload

MODELS: Final = 10_000
_MEASURED: Final = (API_TIMED, OUT_TIMED, SDK_TIMED, CONTENT)
SPANS: Final = "its spans alone, by hand"
OWN: Final = "every signal, without its spans"
_EVENTS: Final = 5
# The process has its memory in pages and arenas: a few bytes of each call do not show before.
_MANY: Final = 100_000
_PAGES: Final = Path("/proc/self/statm")


def _traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


class Streams(Protocol):
    """Something that opens streams."""

    def events(self, chunks: int) -> Any:
        """Return the events of a new stream."""


async def _open(application: Streams, count: int, flush: Callable[[], None]) -> float:
    """Return the bytes of each of some open streams. The span of their first stage has ended, and is exported."""
    flush()
    before = _traced()
    streams = [application.events(1_000) for _ in range(count)]
    for stream in streams:
        for _ in range(_EVENTS):
            await anext(stream)
    flush()
    each = (_traced() - before) / count
    for stream in streams:
        await stream.aclose()
    return each


async def _more(application: Streams, variants: Sequence[Variant], count: int) -> dict[str, float]:
    """Return the bytes that each open stream of every variant but the first takes more than one of the first."""
    each = {}
    for variant in variants:
        with variant.active():
            # The event loop's tables grow with the number of streams, by leaps, and keep what they have.
            each[variant.name] = min([await _open(application, count, variant.flush) for _ in range(4)])
    without = each.pop(variants[0].name)
    return {name: taken - without for name, taken in each.items()}


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


async def open_streams(
    workload: Workload, variants: Sequence[Variant], peers: Peers | None, count: int
) -> dict[str, float]:
    """Return the bytes that each open stream takes, by variant: more than without the instrumentation.

    Args:
        workload: What opens ours.
        variants: All of ours; some are measured.
        peers: The peers, if there are any.
        count: How many are open at once.
    """
    measured = [variant for variant in variants if variant.name in (BARE, *_MEASURED)]
    tracemalloc.start()
    try:
        ours = await _more(workload, measured, count)
        theirs = await _more(peers.openai, peers.variants, count) if peers else {}
        by_hand = min(_spans(count) for _ in range(4))
    finally:
        tracemalloc.stop()
    return {**ours, SPANS: by_hand, OWN: ours[SDK_TIMED] - by_hand, **theirs}


@contextmanager
def _silent() -> Iterator[None]:
    # Of thousands of failed calls the logs would tell, and that there are many names of models.
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _held() -> tuple[int, int]:
    """Return the blocks that Python's allocator has given out, and the bytes of the process, 0 where Linux is not."""
    gc.collect()
    pages = int(_PAGES.read_text().split()[1]) if _PAGES.exists() else 0
    return sys.getallocatedblocks(), pages * mmap.PAGESIZE


async def growth(calls: int) -> dict[str, Any]:
    """Make calls that end in every way, of many models that no one knows, each name as often as every other.

    Blocks are counted, and not traced: that would take ten times as long. Tables and texts of more than 512 bytes are
    no blocks; they show in the memory of the process when there were calls enough.

    Args:
        calls: How many at most. Each name occurs three times at least.

    Returns:
        How many ``calls`` and ``names`` there were, and how many calls (``some``) at the first mark, two thirds, when
        tables have found their size; the ``blocks`` at the second, and what a call between the two left:
        ``blocks_a_call``, and ``bytes_a_call`` where there were enough of them.
    """
    names = min(MODELS, calls // 3)
    rounds = calls // names
    some, calls = names * (rounds * 2 // 3), names * rounds
    endings = await Endings.create(names)
    # Exemplars, which are the SDK's, come and go for as long as durations fall into new buckets.
    sdk = Sdk(meter_provider=MeterProvider([InMemoryMetricReader()], exemplar_filter=AlwaysOffExemplarFilter()))
    held = []
    with _silent(), instrumented(True, **vars(sdk)):
        for part in (range(some), range(some, calls)):
            for number in part:
                await endings.make(number)
            sdk.flush()
            held.append(_held())
    sdk.shutdown()
    await endings.close()
    blocks, resident = ((after - before) / (calls - some) for before, after in zip(*held, strict=True))
    found = {"calls": calls, "names": names, "some": some, "blocks": held[1][0], "blocks_a_call": blocks}
    return {**found, "bytes_a_call": resident} if held[1][1] and calls - some >= _MANY else found


def lines(found: Mapping[str, Any]) -> list[str]:
    """Return the findings for people."""
    calls, some, each = found["calls"], found["some"], f"{found['blocks_a_call']:+.4f} blocks"
    if "bytes_a_call" in found:
        each += f" and {found['bytes_a_call']:+.2f} bytes"
    return [
        "memory (bytes)",
        *(
            f"  an open stream, {name:42}{found[name]:10,.0f}"
            for name in (*_MEASURED, SPANS, OWN, *NAMES)
            if name in found
        ),
        f"  after {calls:,} calls that ended in every way, of {found['names']:,} models: {found['blocks']:,} blocks",
        f"  the last {calls - some:,} of them left {each} a call",
    ]
