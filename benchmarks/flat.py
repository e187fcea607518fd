"""Whether a chunk costs the same however many came before it.

The costs of two lengths differ by less than they vary on a busy machine. So two streams are read in turns here, a few
chunks at a time, one from its beginning and one to its end: a slow moment hits both.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from loads import CLOCKS
from variants import BARE, SDK, SDK_TIMED, Variant
from workload import Workload

_MEASURED: Final = (BARE, SDK, SDK_TIMED)
_ROUNDS: Final = 8
_AT_A_TIME: Final = 20


@contextmanager
def _collected() -> Iterator[None]:
    """Keep what is there out of the collections to come: one would fall on either stream, and be all that is seen."""
    if gc.get_freeze_count():  # By somebody else, who is to end it.
        yield
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


async def _read(events: Any, count: int) -> None:
    for _ in range(count):
        await anext(events)


async def _sample(workload: Workload, chunks: int, now: Callable[[], float]) -> tuple[float, float]:
    """Return the microseconds of a chunk of the first tenth of a stream, and of the last tenth of another."""
    part = max(1, chunks // 10)
    each = min(part, _AT_A_TIME)
    early, late = workload.events(chunks), workload.events(chunks)
    # What a stream takes to be opened is no chunk's.
    await _read(early, 1)
    await _read(late, chunks - part)
    first = last = 0.0
    with _collected():
        for _ in range(part // each):
            started = now()
            await _read(early, each)
            between = now()
            await _read(late, each)
            first, last = first + between - started, last + now() - between
    await early.aclose()
    await late.aclose()
    count = part // each * each
    return first / count * 1e6, last / count * 1e6


async def flat(workload: Workload, variants: Sequence[Variant], chunks: int, clock: str) -> dict[str, float]:
    """Measure by how much the overhead of a chunk grows from the first tenth of a stream to the last.

    Args:
        workload: What reads the streams.
        variants: All of them; some are measured.
        chunks: The length of the streams.
        clock: ``wall`` or ``cpu``.

    Returns:
        How many ``chunks`` there were; by variant the growth, as a share of what a chunk takes the runtime: medians.
    """
    found: dict[str, list[float]] = {SDK: [], SDK_TIMED: []}
    for _ in range(_ROUNDS):
        taken = {}
        for variant in variants:
            if variant.name in _MEASURED:
                with variant.active():
                    taken[variant.name] = await _sample(workload, chunks, CLOCKS[clock])
        bare, bare_late = taken[BARE]
        for name, shares in found.items():
            early, late = taken[name]
            shares.append(((late - bare_late) - (early - bare)) / bare)
    return {"chunks": chunks, **{name: statistics.median(shares) for name, shares in found.items()}}


def lines(found: Mapping[str, float]) -> list[str]:
    """Return the findings for people."""
    return [
        f"a chunk's overhead, by how much it grows in {found['chunks']:,} chunks (share of the runtime's chunk)",
        *(f"  {name}{found[name]:{55 - len(name)}.3f}" for name in (SDK, SDK_TIMED)),
    ]
