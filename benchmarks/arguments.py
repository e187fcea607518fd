"""The command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from loads import CLOCKS
from measure import Settings

_DESCRIPTION = """\
Prints what the instrumentation costs: the CPU or wall-clock time of a call and of a chunk of a stream, alone and many
at once, with more and more of it switched on; the same signals written by hand (the floors) and others'
instrumentations of the OpenAI SDK, where they are installed; import and instrument(); memory; a scrape. The provider is
inside the process, so no network is measured.

The overhead of a variant is its cost less that of the runtime alone; a peer's, its cost less that of the OpenAI SDK.
The median of all rounds decides whether a budget is kept. benchmarks/README.md says how to read the tables.

With --check the exit code is 1 when a budget is broken, and 3 when other processes had the cores for so much of the
time that wall-clock figures prove nothing.
"""


def parse(values: list[str] | None) -> argparse.Namespace:
    """Return the arguments.

    Args:
        values: The command line, without the program's name; that of the process by default.
    """
    parser = argparse.ArgumentParser(
        prog="python benchmarks", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    _amounts(parser)
    _verdicts(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file as well")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the figures, in SVG")
    arguments = parser.parse_args(values)
    chunks, at_once = arguments.chunks, arguments.at_once
    if arguments.calls < 1 or sorted({1, *at_once}) != [1, *at_once] or sorted({0, *chunks}) != [0, *chunks]:
        parser.error("calls, calls at once and chunks must be positive, and the numbers must ascend")
    if arguments.calls_for_memory is None:
        arguments.calls_for_memory = 4_500 if arguments.quick else 30_000
    if arguments.starts is None:
        arguments.starts = 3 if arguments.quick else 5
    if arguments.calls_for_memory < 3:
        parser.error("memory needs three calls to tell a difference")
    if min(arguments.starts, arguments.open_streams, arguments.series) < 1:
        parser.error("starts, open streams and series must be positive")
    return arguments


def _amounts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="measure for 20 seconds instead of 180")
    parser.add_argument("--seconds", type=float, help="measure for so long; one round is made in any case")
    parser.add_argument("--calls", type=int, default=Settings.calls, help="calls in a sample")
    parser.add_argument(
        "--at-once", type=int, nargs=2, default=Settings.at_once, metavar=("FEW", "MANY"), help="how many calls at once"
    )
    parser.add_argument(
        "--chunks",
        type=int,
        nargs=4,
        default=Settings.chunks,
        metavar=("ONE", "SHORT", "LONG", "LONGEST"),
        help="chunks of the streams",
    )
    parser.add_argument("--starts", type=int, help="processes started for each figure of the start (5; 3 if quick)")
    parser.add_argument("--open-streams", type=int, default=200, help="streams open at once while memory is looked at")
    parser.add_argument(
        "--calls-for-memory", type=int, help="calls after which memory is looked at (30,000; 4,500 if quick)"
    )
    parser.add_argument("--series", type=int, default=2_000, help="series of the scrape")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="leave others' instrumentations out")


def _verdicts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--clock", choices=sorted(CLOCKS), default=Settings.clock, help="wall, or cpu: for machines that are not idle"
    )
    parser.add_argument("--check", action="store_true", help="let the exit code tell whether the budgets were kept")
    parser.add_argument(
        "--absolute", action="store_true", help="with --check: those in microseconds too, which one machine keeps"
    )
    parser.add_argument(
        "--cpu-share",
        type=float,
        default=0.9,
        help="the share of a core that a verdict by the wall's clock takes (0.9)",
    )
    parser.add_argument(
        "--allowance",
        type=float,
        default=0.05,
        help="by what share of itself a budget must be exceeded to be broken (0.05), for noise",
    )


def settings(arguments: argparse.Namespace) -> Settings:
    """Return what the arguments say of the timings."""
    seconds = arguments.seconds
    if seconds is None:
        seconds = 20.0 if arguments.quick else Settings.seconds
    few, many = arguments.at_once
    return Settings(seconds, arguments.calls, (few, many), tuple(arguments.chunks), arguments.clock)
