"""The benchmark: ``python benchmarks`` prints what the instrumentation costs; ``README.md`` says how to read it."""

from __future__ import annotations

import asyncio
import json
import sys
from argparse import Namespace
from typing import Any, Final

import flat
import memory
import scrape
import startup
from arguments import parse, settings
from budgets import Results, rows
from costs import costs, titles
from elsewhere import elsewhere
from ledger import same_signals
from measure import Measured, Settings, measure
from peers import Peers
from picture import draw
from profiled import profiled
from report import budget_table, cost_table, document, exit_code, machine
from variants import ABSENT, GONE, Variants, essentials, everything
from workload import Workload

_PROFILED: Final = 40
"""Samples whose calls are profiled."""


async def _timed(workload: Workload, arguments: Namespace, chosen: Settings) -> tuple[Results, dict[str, Any]]:
    emitted = await same_signals(workload)
    peers = await Peers.create(essentials if arguments.quick else everything) if arguments.peers else None
    with (
        elsewhere(ABSENT, everything) as absent,
        elsewhere(GONE, essentials, uninstrumented=True) as gone,
        Variants(workload) as ours,
    ):
        compared: list[Measured] = [absent, gone, *ours, *(peers.variants if peers else ())]
        samples, share = await measure(compared, chosen)
        sections: dict[str, dict[str, Any]] = {
            "flat": await flat.flat(workload, ours, chosen.chunks[-1], chosen.clock),
            "memory": await memory.open_streams(workload, ours, peers, arguments.open_streams),
        }
    if peers is not None:
        await peers.close()
    rounds = max(map(len, samples[ABSENT].values()))
    more = {
        "settings": {**vars(chosen), "rounds": rounds},
        "cpu_share": share,
        "emitted": emitted,
        "peers": peers.emitted if peers else {},
    }
    return Results(costs(samples, chosen), sections), more


async def _run(arguments: Namespace, chosen: Settings) -> tuple[Results, dict[str, Any]]:
    workload = await Workload.create()
    # First, while the process is small.
    started = startup.startup(chosen.clock, arguments.starts)
    results, more = await _timed(workload, arguments, chosen)
    scraped = await scrape.scrape(workload, chosen.clock, arguments.series)
    await workload.close()
    grown = await memory.growth(arguments.calls_for_memory)
    sections = {
        "startup": started,
        "flat": results.sections["flat"],
        "memory": {**results.sections["memory"], **grown},
        "scrape": scraped,
    }
    return Results(results.costs, sections), more


def _heading(more: dict[str, Any], clock: str) -> list[str]:
    about = machine()
    counts = {
        **{f"ours, {what}": kinds for what, kinds in more["emitted"].items()},
        **{f"{name}, call": kinds for name, kinds in more["peers"].items()},
    }
    return [
        f"{about['python']}, {about['system']}, {about['cores']} cores",
        f"{more['settings']['rounds']} rounds by the {clock} clock; this process had {more['cpu_share']:.0%} of a core",
        ", ".join(f"{name} {number}" for name, number in about["packages"].items()),
        "instrumentation and floors emit the same:",
        *(
            f"  {what}: " + ", ".join(f"{count} {kind}s" for kind, count in each.items())
            for what, each in counts.items()
        ),
        *(
            []
            if more["peers"]
            else ["no peers were measured: the OpenAI SDK or its instrumentations are not installed"]
        ),
        "",
    ]


def _write(arguments: Namespace, chosen: Settings, results: Results, more: dict[str, Any]) -> None:
    named, heading = titles(chosen), _heading(more, chosen.clock)
    sys.stdout.write(
        "\n".join(
            (
                *heading,
                *cost_table(results.costs, named),
                *flat.lines(results.sections["flat"]),
                "",
                *startup.lines(results.sections["startup"]),
                "",
                *memory.lines(results.sections["memory"]),
                "",
                *scrape.lines(results.sections["scrape"]),
                "",
                *budget_table(rows(results), arguments.allowance),
                "",
            )
        )
    )
    if arguments.json is not None:
        found = document(results, named, arguments.allowance, **more)
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    if arguments.picture is not None:
        arguments.picture.write_text(draw(results.costs, named, "; ".join(heading[:2])))


def main(values: list[str] | None = None) -> int:
    """Run the benchmark.

    Args:
        values: The command line, without the program's name.

    Returns:
        The exit code.
    """
    arguments = parse(values)
    chosen = settings(arguments)
    if arguments.profile is not None:
        lines = asyncio.run(profiled(_PROFILED * chosen.calls, arguments.profile))
        sys.stdout.write("\n".join((*lines, "")))
        return 0
    results, more = asyncio.run(_run(arguments, chosen))
    _write(arguments, chosen, results, more)
    return exit_code(rows(results), arguments, more["cpu_share"])


if __name__ == "__main__":
    sys.exit(main())
