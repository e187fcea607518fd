"""What the samples say: costs, ratios, budgets; as a table and as JSON."""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from measure import Cost, Quantity
from variants import API, BARE, FLOOR_OFF, FLOOR_ON, OFF, ON

BROKEN = "BROKEN"
_FIGURES = ("median", "minimum")
PACKAGES = (
    "opentelemetry-instrumentation-ailib",
    "ai-lib-python",
    "opentelemetry-api",
    "opentelemetry-sdk",
    "opentelemetry-util-genai",
    "wrapt",
    "httpx",
)


@dataclass(frozen=True)
class Ratio:
    """Two costs compared.

    Attributes:
        name: What is compared.
        median: The median of the ratios of each round, in which both were measured one after the other.
        minimum: The ratio of the minima.
        budget: What it may be at most, if that is settled.
    """

    name: str
    median: float
    minimum: float
    budget: float | None = None

    def verdict(self, allowance: float) -> str:
        """Return what became of the budget, or nothing where there is none.

        The median decides. The minimum informs: a difference of two minima may be far off on a busy machine.

        Args:
            allowance: A share of the budget, for noise. Only what exceeds the budget by more is ``BROKEN``.
        """
        if self.budget is None:
            return ""
        if self.median > self.budget * (1 + allowance):
            return BROKEN
        return "kept" if self.median <= self.budget else "at its limit"


def _overheads(ours: float, floor: float, bare: float) -> float:
    # In a short run noise can make the floor look free.
    return (ours - bare) / (floor - bare) if floor > bare else float("inf")


def _share(ours: float, bare: float) -> float:
    return (ours - bare) / bare if bare else float("inf")


def ratios(costs: Mapping[str, Cost]) -> list[Ratio]:
    """Compare the variants."""

    def compare(
        name: str, formula: Callable[..., float], quantity: str, names: Sequence[str], budget: float | None = None
    ) -> Ratio:
        compared = [getattr(costs[name], quantity) for name in names]
        by_round = [formula(*values) for values in zip(*(each.rounds for each in compared), strict=True)]
        return Ratio(name, statistics.median(by_round), formula(*(each.minimum for each in compared)), budget)

    return [
        compare("call: overhead / overhead of the floor", _overheads, "call", (OFF, FLOOR_OFF, BARE), 1.5),
        compare("call: total / total of the floor", lambda ours, floor: ours / floor, "call", (OFF, FLOOR_OFF)),
        compare("call, no SDK: overhead / uninstrumented", _share, "call", (API, BARE)),
        compare("stream: overhead / overhead of the floor", _overheads, "stream", (OFF, FLOOR_OFF, BARE)),
        compare("chunk: overhead / uninstrumented", _share, "chunk", (OFF, BARE), 0.10),
        compare("chunk, chunk timing, no SDK: overhead / uninstrumented", _share, "chunk", (API, BARE)),
        compare("chunk, chunk timing: overhead / overhead of the floor", _overheads, "chunk", (ON, FLOOR_ON, BARE)),
    ]


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def _columns(values: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        value.ljust(width) if not index else value.rjust(width)
        for index, (value, width) in enumerate(zip(values, widths, strict=True))
    )
    return "".join((first, *others))


def _cells(quantity: Quantity, bare: Quantity) -> list[str]:
    overhead = statistics.median(ours - theirs for ours, theirs in zip(quantity.rounds, bare.rounds, strict=True))
    return [f"{value:.2f}" for value in (quantity.median, quantity.minimum, overhead)]


def table(costs: Mapping[str, Cost], allowance: float) -> str:
    """Return costs and ratios for people."""
    widths: tuple[int, ...] = (40, 10, 10, 10)
    lines = []
    for title, quantity in (
        ("a call (µs)", "call"),
        ("a chunk of a stream (µs)", "chunk"),
        ("a stream without its chunks (µs)", "stream"),
    ):
        lines += ["", _columns((title, "median", "min", "overhead"), widths)]
        for name, cost in costs.items():
            measured = getattr(cost, quantity)
            if measured is not None:
                lines.append(_columns((f"  {name}", *_cells(measured, getattr(costs[BARE], quantity))), widths))
    widths = (56, 10, 10, 10, 15)
    lines += ["", _columns(("ratio", "median", "min", "budget", ""), widths).rstrip()]
    for ratio in ratios(costs):
        budget = "" if ratio.budget is None else f"{ratio.budget:.2f}"
        figures = (f"{ratio.median:.3f}", f"{ratio.minimum:.3f}", budget, ratio.verdict(allowance))
        lines.append(_columns((f"  {ratio.name}", *figures), widths).rstrip())
    return "\n".join(lines[1:])


def plain(ratio: Ratio, allowance: float) -> dict[str, Any]:
    """Return a ratio for JSON, which knows no infinity."""
    finite = {what: value if math.isfinite(value) else None for what, value in vars(ratio).items() if what in _FIGURES}
    return {**vars(ratio), **finite, "verdict": ratio.verdict(allowance)}


def document(costs: Mapping[str, Cost], allowance: float, **more: Any) -> dict[str, Any]:
    """Return costs and ratios for programs."""

    def figures(quantity: Quantity | None) -> dict[str, float] | None:
        return None if quantity is None else {"median": quantity.median, "minimum": quantity.minimum}

    return {
        "machine": machine(),
        **more,
        "microseconds": {
            name: {what: figures(getattr(cost, what)) for what in ("call", "chunk", "stream")}
            for name, cost in costs.items()
        },
        "ratios": [plain(ratio, allowance) for ratio in ratios(costs)],
    }
