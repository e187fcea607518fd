"""How time is taken: every variant in turn, round after round in one process, so that a slow minute hits them all.

The clock is the wall's. Where other processes compete for the cores it measures them as well, and differences of a
microsecond drown; the CPU time of this process is then the better clock. Nothing here waits, so that on an idle machine
both say the same.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from variants import Variant


@dataclass(frozen=True)
class Settings:
    """How long to measure and how much at a time.

    Attributes:
        seconds: Rounds are begun until this much time has passed; there is at least one.
        calls: Calls in one sample.
        streams: Longer streams in one sample, and as many of the shorter ones as have the same number of chunks.
        short: Chunks of the shorter streams.
        long: Chunks of the longer streams.
        clock: ``wall`` or ``cpu``.
    """

    seconds: float = 60.0
    calls: int = 50
    streams: int = 2
    short: int = 100
    long: int = 1000
    clock: str = "wall"


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass
class Samples:
    """Microseconds by round: of a call, of a short and of a long stream."""

    call: list[float] = field(default_factory=list)
    short: list[float] = field(default_factory=list)
    long: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Quantity:
    """Microseconds of one thing.

    Attributes:
        rounds: By round.
        median: The median of the rounds.
        minimum: What it takes when nothing interferes.
    """

    rounds: Sequence[float]
    median: float
    minimum: float


@dataclass(frozen=True)
class Cost:
    """What a variant costs in microseconds.

    Attributes:
        call: One call, where it was measured.
        chunk: One more chunk of a stream: the difference between a long and a short stream, divided.
        stream: A stream of no chunks at all, by extrapolation.
    """

    call: Quantity | None
    chunk: Quantity
    stream: Quantity


async def _time(clock: Callable[[], float], action: Callable[[], Awaitable[None]], times: int) -> float:
    # Garbage of the sample before is none of this one's business; what it makes itself may be collected on its time.
    gc.collect()
    started = clock()
    for _ in range(times):
        await action()
    return (clock() - started) / times * 1e6


async def _sample(variant: Variant, settings: Settings, samples: Samples) -> None:
    clock = CLOCKS[settings.clock]
    with variant.active():
        await variant.call()
        await variant.stream(1)
        if variant.measures_calls:
            samples.call.append(await _time(clock, variant.call, settings.calls))
        # As many chunks of either length, so that both are measured equally well.
        shorts = settings.streams * settings.long // settings.short
        samples.short.append(await _time(clock, lambda: variant.stream(settings.short), shorts))
        samples.long.append(await _time(clock, lambda: variant.stream(settings.long), settings.streams))


async def measure(variants: Sequence[Variant], settings: Settings) -> tuple[dict[str, Samples], float]:
    """Measure every variant once a round until the time is up.

    Args:
        variants: What to measure.
        settings: How much of it.

    Returns:
        The samples by the variant's name, and the share of the time for which this process had a core.
    """
    measured = {variant.name: Samples() for variant in variants}
    # What is there for good makes a collection slow, and the difference between variants small.
    gc.collect()
    gc.freeze()
    wall, cpu = time.perf_counter(), time.process_time()
    while True:
        for variant in variants:
            await _sample(variant, settings, measured[variant.name])
        elapsed = time.perf_counter() - wall
        if elapsed >= settings.seconds:
            gc.unfreeze()
            return measured, (time.process_time() - cpu) / elapsed


def cost(samples: Samples, settings: Settings) -> Cost:
    """Reduce samples to the cost of a call, a chunk and a stream."""
    chunks = settings.long - settings.short

    def chunk(short: float, long: float) -> float:
        return (long - short) / chunks

    by_round = [chunk(short, long) for short, long in zip(samples.short, samples.long, strict=True)]
    least = chunk(min(samples.short), min(samples.long))
    opening = [short - settings.short * each for short, each in zip(samples.short, by_round, strict=True)]
    return Cost(
        call=Quantity(samples.call, statistics.median(samples.call), min(samples.call)) if samples.call else None,
        chunk=Quantity(by_round, statistics.median(by_round), least),
        stream=Quantity(opening, statistics.median(opening), min(samples.short) - settings.short * least),
    )
