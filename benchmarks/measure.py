"""How time is taken: every variant in turn, round after round in one process, so that a slow minute hits them all.

The clock is the wall's. Where other processes compete for the cores it measures them as well, and differences of a
microsecond drown; the CPU time of this process is then the better clock. Nothing here waits, so that on an idle machine
both say the same.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from loads import CALLS, STREAM, Load

# What is long is measured in each n-th round: its samples are the better for their length.
_LONG = 6


@dataclass(frozen=True)
class Settings:
    """How long to measure and how much at a time.

    Attributes:
        seconds: Rounds are begun until this much time has passed; there is at least one.
        calls: Calls in one sample.
        at_once: How many calls at once are measured besides single ones.
        chunks: The lengths of the streams, in ascending order, three at least.
        clock: ``wall`` or ``cpu``.
    """

    seconds: float = 180.0
    calls: int = 25
    at_once: tuple[int, ...] = (100, 1_000)
    chunks: tuple[int, ...] = (1, 100, 1_000, 10_000)
    clock: str = "wall"

    @property
    def loads(self) -> tuple[Load, ...]:
        """What to time: every load but the largest has samples of about the same length."""
        short = self.chunks[-2]
        return (
            Load(CALLS, 1, self.calls),
            *(Load(CALLS, size, 1, _LONG if size > 4 * self.calls else 1) for size in self.at_once),
            *(Load(STREAM, size, max(1, min(self.calls, short // size))) for size in self.chunks[:-1]),
            Load(STREAM, self.chunks[-1], 1, _LONG),
        )


QUICK: Final = Settings(seconds=40.0, calls=10, at_once=(20, 200), chunks=(1, 50, 500, 5_000))
"""Little at a time: it is the number of rounds that makes a median worth something."""


class Measured(Protocol):
    """Something that can be timed."""

    @property
    def name(self) -> str:
        """What the report calls it."""

    def takes(self, load: Load) -> bool:
        """Return whether a load is worth measuring."""

    async def sample(self, load: Load, clock: str) -> float:
        """Return the microseconds of a call, or of a stream, of a load."""


Samples = dict[str, dict[Load, dict[int, float]]]
"""Microseconds by name, by load, by round."""


async def _round(number: int, variants: Sequence[Measured], settings: Settings, samples: Samples) -> None:
    # What is compared is measured as closely together as can be.
    for load in settings.loads:
        if number % load.every == 0:
            for variant in variants:
                if variant.takes(load):
                    taken = await variant.sample(load, settings.clock)
                    samples[variant.name].setdefault(load, {})[number] = taken


async def measure(variants: Sequence[Measured], settings: Settings) -> tuple[Samples, float]:
    """Measure every variant once a round until the time is up.

    Args:
        variants: What to measure.
        settings: How much of it.

    Returns:
        The samples, and the share of the time for which this process had a core.
    """
    samples: Samples = {variant.name: {} for variant in variants}
    # Whatever is imported or cached on the way is there from the first round on, and each variant had its turn.
    for variant in variants:
        for load in (Load(CALLS, 1, 1), Load(STREAM, 1, 1)):
            await variant.sample(load, settings.clock)
    # What is there for good makes a collection slow, and the difference between variants small.
    gc.collect()
    gc.freeze()
    wall, cpu, number = time.perf_counter(), time.process_time(), 0
    while True:
        await _round(number, variants, settings, samples)
        number += 1
        elapsed = time.perf_counter() - wall
        if elapsed >= settings.seconds:
            gc.unfreeze()
            return samples, (time.process_time() - cpu) / elapsed
