"""The budgets, and what became of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from costs import CALL, CHUNK, OPENING, Costs
from memory import OWN
from peers import NAMES, OPENAI
from variants import (
    ABSENT,
    API,
    API_TIMED,
    BARE,
    GONE,
    HANGING,
    OUT,
    OUT_FLOOR,
    OUT_TIMED,
    OUT_TIMED_FLOOR,
    SDK,
    SDK_FLOOR,
    SDK_TIMED,
    SDK_TIMED_FLOOR,
)

BROKEN: Final = "BROKEN"

ALWAYS: Final = "always"
ON_REQUEST: Final = "on request"
NEVER: Final = "never"


@dataclass(frozen=True)
class Row:
    """A figure with its budget.

    Attributes:
        name: What it is.
        median: For timings the median of the figures of each round, in which all that is compared was measured one
            after the other.
        minimum: The figure made of the minima.
        limit: What it may be at most, if that is settled.
        enforced: Whether it decides the exit code: always, on request, for figures of one machine, or never.
    """

    name: str
    median: float
    minimum: float
    limit: float | None = None
    enforced: str = NEVER

    def verdict(self, allowance: float) -> str:
        """Return what became of the budget, or nothing where there is none.

        The median decides. The minimum informs: a difference of two minima may be far off on a busy machine.

        Args:
            allowance: A share of the budget, for noise. Only what exceeds the budget by more is ``BROKEN``.
        """
        if self.limit is None:
            return ""
        if self.median > self.limit * (1 + allowance):
            return BROKEN
        return "kept" if self.median <= self.limit else "at its limit"


def _difference(one: float, other: float) -> float:
    return one - other


def _ratio(one: float, other: float) -> float:
    # In a short run noise can make anything look free.
    return one / other if other > 0 else float("inf")


def _share(one: float, other: float) -> float:
    return _ratio(one - other, other)


def _overheads(ours: float, bare: float, theirs: float, their_bare: float) -> float:
    return _ratio(ours - bare, theirs - their_bare)


@dataclass(frozen=True)
class Comparison:
    """A figure made of costs, and its budget: a row of the table below.

    Attributes:
        name: What the report calls it.
        formula: Makes it of the costs.
        costs: The variants and quantities of the formula.
        limit: What it may be at most, if that is settled.
        enforced: Whether it decides the exit code.
    """

    name: str
    formula: Callable[..., float]
    costs: Sequence[tuple[str, str]]
    limit: float | None = None
    enforced: str = NEVER

    def row(self, measured: Costs) -> Row | None:
        """Return the figure, or nothing where one of the costs was not measured."""
        if any(quantity not in measured.get(variant, ()) for variant, quantity in self.costs):
            return None
        quantities = [measured[variant][quantity] for variant, quantity in self.costs]
        common = set(quantities[0].rounds).intersection(*(each.rounds for each in quantities[1:]))
        by_round = [self.formula(*(each.rounds[number] for each in quantities)) for number in common]
        least = self.formula(*(each.minimum for each in quantities))
        return Row(self.name, statistics.median(by_round), least, self.limit, self.enforced)


def _of(quantity: str, *variants: str) -> list[tuple[str, str]]:
    return [(variant, quantity) for variant in variants]


CHEAPEST: Final = "the cheapest peer"
"""Stands for it in the table: which one it is, the run shows."""

# What is enforced "always" decides the exit code of --check, "on request" that of --check --absolute as well: there the
# machine matters. What has a limit and is not enforced is not kept yet, and says so in every run.
COMPARISONS: Final = (
    Comparison("call: total / floor", _ratio, _of(CALL, SDK, SDK_FLOOR), 1.2, ALWAYS),
    Comparison("call: overhead / floor's", _overheads, _of(CALL, SDK, BARE, SDK_FLOOR, BARE)),
    Comparison("call: overhead / cheapest peer's", _overheads, _of(CALL, SDK, BARE, CHEAPEST, OPENAI), 1.0),
    Comparison("call, exporter hangs: total / not", _ratio, _of(CALL, HANGING, SDK), 1.1, ALWAYS),
    Comparison("call, sampled out: total / floor", _ratio, _of(CALL, OUT, OUT_FLOOR), 1.2),
    Comparison("call, sampled out: overhead / floor's", _overheads, _of(CALL, OUT, BARE, OUT_FLOOR, BARE)),
    Comparison("call, no SDK: overhead (µs)", _difference, _of(CALL, API, BARE), 15.0),
    Comparison("call, uninstrumented: total / not installed", _ratio, _of(CALL, GONE, ABSENT), 1.0, ALWAYS),
    Comparison("stream: overhead / floor's", _overheads, _of(OPENING, SDK, BARE, SDK_FLOOR, BARE)),
    Comparison("chunk: overhead / runtime's", _share, _of(CHUNK, SDK, BARE), 0.10, ON_REQUEST),
    Comparison("chunk: overhead (µs)", _difference, _of(CHUNK, SDK, BARE), 1.5, ON_REQUEST),
    Comparison("chunk, timed: total / floor", _ratio, _of(CHUNK, SDK_TIMED, SDK_TIMED_FLOOR), 1.1, ALWAYS),
    Comparison("chunk, timed: overhead / floor's", _overheads, _of(CHUNK, SDK_TIMED, BARE, SDK_TIMED_FLOOR, BARE)),
    Comparison("chunk, timed: overhead / cheapest peer's", _overheads, _of(CHUNK, SDK_TIMED, BARE, CHEAPEST, OPENAI)),
    Comparison("chunk, timed, sampled out: total / floor", _ratio, _of(CHUNK, OUT_TIMED, OUT_TIMED_FLOOR)),
    Comparison("chunk, no SDK: overhead (µs)", _difference, _of(CHUNK, API, BARE), 0.7, ON_REQUEST),
    Comparison("chunk, timed, no SDK: overhead (µs)", _difference, _of(CHUNK, API_TIMED, BARE), 0.7, ON_REQUEST),
    Comparison("chunk, uninstrumented: total / not installed", _ratio, _of(CHUNK, GONE, ABSENT), 1.0, ALWAYS),
)


@dataclass(frozen=True)
class Fact:
    """A figure that is no difference of timings, and its budget.

    Attributes:
        name: What the report calls it.
        section: The part of the run that found it.
        key: Its name there.
        limit: What it may be at most.
        enforced: Whether it decides the exit code.
    """

    name: str
    section: str
    key: str
    limit: float
    enforced: str = ALWAYS


FACTS: Final = (
    Fact("chunk: growth of overhead / runtime's", "flat", SDK, 0.1),
    Fact("chunk, timed: growth of overhead / runtime's", "flat", SDK_TIMED, 0.1),
    Fact("instrument() (ms)", "startup", "instrument", 50.0),
    Fact("modules of the runtime that we import", "startup", "runtime_modules", 0.0),
    Fact("memory of an open stream, no SDK (bytes)", "memory", API_TIMED, 3 * 1024.0),
    Fact("memory of an open stream (bytes)", "memory", SDK_TIMED, 3 * 1024.0, NEVER),
    Fact("memory of an open stream, its spans apart", "memory", OWN, 3 * 1024.0, NEVER),
    # An object that calls of one ending leave is 0.09.
    Fact("memory that a call leaves (blocks)", "memory", "blocks_a_call", 0.05),
    Fact("memory that a call leaves (bytes)", "memory", "bytes_a_call", 8.0),
)


@dataclass(frozen=True)
class Results:
    """Everything that was found.

    Attributes:
        costs: From ``costs``.
        sections: What else was measured, by the part of the run that did.
    """

    costs: Costs
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def cheapest_peer(measured: Costs, quantity: str) -> str | None:
    """Return the peer that adds least to the OpenAI SDK, if any was measured."""
    overheads = {
        name: statistics.median(
            their - measured[OPENAI][quantity].rounds[number]
            for number, their in measured[name][quantity].rounds.items()
        )
        for name in NAMES
        if quantity in measured.get(name, ())
    }
    return min(overheads, key=overheads.__getitem__) if overheads else None


def rows(results: Results) -> list[Row]:
    """Return every figure that has or may have a budget, but for those that were not measured."""
    found = []
    for comparison in COMPARISONS:
        measured = dict(results.costs)
        quantity = comparison.costs[0][1]
        cheapest = cheapest_peer(results.costs, quantity)
        if cheapest is not None:
            measured[CHEAPEST] = results.costs[cheapest]
        row = comparison.row(measured)
        if row is not None:
            found.append(row)
    for fact in FACTS:
        value = results.sections.get(fact.section, {}).get(fact.key)
        if value is not None:
            found.append(Row(fact.name, value, value, fact.limit, fact.enforced))
    return found
