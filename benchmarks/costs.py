"""What the samples say: the cost of a call, of a stream and of its chunks, by variant."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from loads import CALLS, STREAM, Load
from measure import Samples, Settings

CALL: Final = "call"
FEW: Final = "call, few at once"
MANY: Final = "call, many at once"
OPENING: Final = "stream"
EARLY: Final = "chunk, early"
CHUNK: Final = "chunk"
LATE: Final = "chunk, late"


@dataclass(frozen=True)
class Quantity:
    """Microseconds of one thing.

    Attributes:
        rounds: By round.
        minimum: What it takes when nothing interferes.
    """

    rounds: Mapping[int, float]
    minimum: float

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds.values())


Costs = Mapping[str, Mapping[str, Quantity]]
"""By variant, by quantity: those that were measured."""


@dataclass(frozen=True)
class _Reading:
    """How a quantity is had from the times of some loads."""

    title: str
    formula: Callable[..., float]
    loads: tuple[Load, ...]


def _itself(time: float) -> float:
    return time


def _readings(settings: Settings) -> dict[str, _Reading]:
    calls = {load.size: load for load in settings.loads if load.kind == CALLS}
    streams = {load.size: load for load in settings.loads if load.kind == STREAM}
    few, many = settings.at_once
    shortest, short, long, _ = settings.chunks

    def marginal(fewer: int, more: int) -> _Reading:
        def formula(less: float, greater: float) -> float:
            return (greater - less) / (more - fewer)

        return _Reading(f"a chunk, from {fewer:,} to {more:,}", formula, (streams[fewer], streams[more]))

    def opening(less: float, greater: float) -> float:
        return less - shortest * (greater - less) / (short - shortest)

    return {
        CALL: _Reading("a call", _itself, (calls[1],)),
        FEW: _Reading(f"a call, {few:,} at once", _itself, (calls[few],)),
        MANY: _Reading(f"a call, {many:,} at once", _itself, (calls[many],)),
        OPENING: _Reading("a stream without its chunks", opening, (streams[shortest], streams[short])),
        **dict(
            zip((EARLY, CHUNK, LATE), map(marginal, settings.chunks, (short, long, settings.chunks[-1])), strict=False)
        ),
    }


def titles(settings: Settings) -> dict[str, str]:
    """Return what the report calls the quantities."""
    return {quantity: reading.title for quantity, reading in _readings(settings).items()}


def costs(samples: Samples, settings: Settings) -> Costs:
    """Reduce samples to costs.

    Args:
        samples: From ``measure``.
        settings: What was measured.
    """
    found: dict[str, dict[str, Quantity]] = {}
    for variant, taken in samples.items():
        found[variant] = {}
        for quantity, reading in _readings(settings).items():
            if all(load in taken for load in reading.loads):
                times = [taken[load] for load in reading.loads]
                rounds = set(times[0]).intersection(*times[1:])
                found[variant][quantity] = Quantity(
                    {number: reading.formula(*(each[number] for each in times)) for number in sorted(rounds)},
                    reading.formula(*(min(each.values()) for each in times)),
                )
    return found
