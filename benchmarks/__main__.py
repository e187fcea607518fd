"""The benchmark: ``python benchmarks`` prints what the instrumentation costs."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from ledger import same_signals
from measure import CLOCKS, Cost, Settings, cost, measure
from report import BROKEN, document, machine, ratios, table
from variants import Sdk, variants
from workload import Workload

_DESCRIPTION = """\
Prints what a call and a chunk of a stream cost in microseconds: with the runtime uninstrumented, instrumented without
and with an SDK, and with the same signals written by hand around the uninstrumented runtime (the floor). The provider
is inside the process, so no network is measured.

The overhead of a variant is its cost less that of the uninstrumented runtime. The budget of a call, 1.5, applies to
the overhead of the instrumentation divided by the overhead of the floor; the budget of a chunk without chunk timing,
0.10, to the overhead divided by what the uninstrumented runtime spends on a chunk. The median of all rounds decides.

With --check the exit code is 1 when a budget is broken, and 3 when other processes had the cores for so much of the
time that wall-clock figures prove nothing.
"""


def _arguments(values: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="measure for 10 seconds instead of 60")
    parser.add_argument("--seconds", type=float, help="measure for so long; one round is made in any case")
    parser.add_argument("--calls", type=int, default=Settings.calls, help="calls in a sample")
    parser.add_argument("--streams", type=int, default=Settings.streams, help="longer streams in a sample")
    parser.add_argument(
        "--chunks",
        type=int,
        nargs=2,
        default=(Settings.short, Settings.long),
        metavar=("SHORT", "LONG"),
        help="chunks of the shorter and of the longer streams",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file as well")
    parser.add_argument(
        "--clock", choices=sorted(CLOCKS), default=Settings.clock, help="wall, or cpu: for machines that are not idle"
    )
    parser.add_argument("--check", action="store_true", help="let the exit code tell whether the budgets were kept")
    parser.add_argument(
        "--cpu-share",
        type=float,
        default=0.9,
        help="the share of a core that a verdict by the wall's clock takes (0.9)",
    )
    parser.add_argument(
        "--allowance",
        type=float,
        default=0.1,
        help="by what share of itself a budget must be exceeded to be broken (0.1), for noise",
    )
    arguments = parser.parse_args(values)
    if min(arguments.calls, arguments.streams) < 1 or not 1 <= arguments.chunks[0] < arguments.chunks[1]:
        parser.error("calls, streams and chunks must be positive, and the first number of chunks the smaller")
    return arguments


def _settings(arguments: argparse.Namespace) -> Settings:
    seconds = arguments.seconds
    if seconds is None:
        seconds = 10.0 if arguments.quick else Settings.seconds
    short, long = arguments.chunks
    return Settings(seconds, arguments.calls, arguments.streams, short=short, long=long, clock=arguments.clock)


async def _run(settings: Settings) -> tuple[dict[str, Cost], dict[str, Any]]:
    workload = await Workload.create()
    emitted = await same_signals(workload)
    sdks = [Sdk() for _ in range(4)]
    try:
        measured, share = await measure(variants(workload, sdks), settings)
    finally:
        for sdk in sdks:
            sdk.shutdown()
        await workload.close()
    rounds = len(next(iter(measured.values())).short)
    costs = {name: cost(samples, settings) for name, samples in measured.items()}
    return costs, {"settings": {**vars(settings), "rounds": rounds}, "cpu_share": share, "emitted": emitted}


def _exit_code(costs: dict[str, Cost], arguments: argparse.Namespace, share: float) -> int:
    if not arguments.check:
        return 0
    if arguments.clock == "wall" and share < arguments.cpu_share:
        sys.stderr.write("The machine is too busy for a verdict: try --clock cpu, or again when it is idle.\n")
        return 3
    return 1 if any(ratio.verdict(arguments.allowance) == BROKEN for ratio in ratios(costs)) else 0


def main(values: list[str] | None = None) -> int:
    """Run the benchmark.

    Args:
        values: The command line, without the program's name.

    Returns:
        The exit code.
    """
    arguments = _arguments(values)
    costs, more = asyncio.run(_run(_settings(arguments)))
    about = machine()
    packages = ", ".join(f"{name} {number}" for name, number in about.pop("packages").items())
    counts = "; ".join(
        f"{what}: " + ", ".join(f"{count} {kind}s" for kind, count in kinds.items())
        for what, kinds in more["emitted"].items()
    )
    rounds, share = more["settings"]["rounds"], more["cpu_share"]
    heading = (
        f"{about['python']}, {about['system']}, {about['cores']} cores",
        f"{rounds} rounds by the {arguments.clock} clock; this process had {share:.0%} of a core",
        packages,
        f"instrumentation and floor emit the same; {counts}",
        "",
    )
    sys.stdout.write("\n".join((*heading, table(costs, arguments.allowance), "")))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(document(costs, arguments.allowance, **more), indent=2) + "\n")
    return _exit_code(costs, arguments, more["cpu_share"])


if __name__ == "__main__":
    sys.exit(main())
