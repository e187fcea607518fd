"""The results as tables for people and as JSON for programs."""

from __future__ import annotations

import math
import os
import platform
import statistics
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import peers
from budgets import ALWAYS, BROKEN, NEVER, ON_REQUEST, Results, Row, rows
from costs import Costs, Quantity
from variants import BARE

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


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "packages": {**{name: version(name) for name in PACKAGES}, **peers.installed()},
    }


def baseline(variant: str) -> str:
    """Return what the overhead of a variant is over."""
    return peers.OPENAI if variant in (peers.OPENAI, *peers.NAMES) else BARE


def overhead(costs: Costs, variant: str, quantity: str) -> float:
    """Return the median of what a variant takes more than its baseline, round by round."""
    bare = costs[baseline(variant)][quantity].rounds
    ours = costs[variant][quantity].rounds
    return statistics.median(ours[number] - bare[number] for number in ours)


def columns(values: Sequence[str], widths: Sequence[int]) -> str:
    """Return a line of a table, the first column flush left."""
    first, *others = (
        value.rjust(width) if index else value.ljust(width)
        for index, (value, width) in enumerate(zip(values, widths, strict=True))
    )
    return "".join((first, *others)).rstrip()


def cost_table(costs: Costs, titles: Mapping[str, str]) -> list[str]:
    """Return what every variant costs, quantity by quantity."""
    widths = (46, 11, 11, 11)
    lines = []
    for quantity, title in titles.items():
        lines += [columns((f"{title} (µs)", "median", "min", "overhead"), widths)]
        for variant, measured in costs.items():
            if quantity in measured:
                cost = measured[quantity]
                figures = (cost.median, cost.minimum, overhead(costs, variant, quantity))
                lines.append(columns((f"  {variant}", *(f"{figure:.2f}" for figure in figures)), widths))
        lines.append("")
    return lines


def budget_table(found: Sequence[Row], allowance: float) -> list[str]:
    """Return every figure that has or may have a budget, and what became of it."""
    widths = (46, 11, 11, 11, 15, 13)
    lines = [columns(("budgets", "median", "min", "at most", "", "enforced"), widths)]
    for row in found:
        limit = "" if row.limit is None else f"{row.limit:.2f}"
        enforced = "" if row.limit is None else row.enforced
        figures = (f"{row.median:.3f}", f"{row.minimum:.3f}", limit, row.verdict(allowance), enforced)
        lines.append(columns((f"  {row.name}", *figures), widths))
    return lines


def exit_code(found: Sequence[Row], arguments: Namespace, share: float) -> int:
    """Return 1 if a budget is broken that is enforced, and 3 if that cannot be told.

    Args:
        found: From ``rows``.
        arguments: The command line's.
        share: Of a core, which this process had.
    """
    if not arguments.check:
        return 0
    if arguments.clock == "wall" and share < arguments.cpu_share:
        sys.stderr.write("The machine is too busy for a verdict: try --clock cpu, or again when it is idle.\n")
        return 3
    enforced = (ALWAYS, ON_REQUEST) if arguments.absolute else (ALWAYS,)
    return int(any(row.enforced in enforced and row.verdict(arguments.allowance) == BROKEN for row in found))


def plain(row: Row, allowance: float) -> dict[str, Any]:
    """Return a row for JSON, which knows no infinity."""
    finite = {what: value if math.isfinite(value) else None for what, value in vars(row).items() if what in _FIGURES}
    enforced = row.enforced if row.limit is not None else NEVER
    return {**vars(row), **finite, "enforced": enforced, "verdict": row.verdict(allowance)}


def document(results: Results, titles: Mapping[str, str], allowance: float, **more: Any) -> dict[str, Any]:
    """Return everything for programs."""

    def figures(quantity: Quantity) -> dict[str, float]:
        return {"median": quantity.median, "minimum": quantity.minimum}

    return {
        "machine": machine(),
        **more,
        "quantities": dict(titles),
        "microseconds": {
            variant: {quantity: figures(cost) for quantity, cost in measured.items()}
            for variant, measured in results.costs.items()
        },
        **results.sections,
        "budgets": [plain(row, allowance) for row in rows(results)],
    }
