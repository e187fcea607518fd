"""The command line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from loads import CLOCKS
from measure import QUICK, Settings

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
    parser.add_argument(
        "--profile", type=Path, metavar="FILE", help="measure nothing, profile calls with every signal into a file"
    )
    arguments = parser.parse_args(values)
    _fill(arguments)
    chunks, at_once = arguments.chunks, arguments.at_once
    if arguments.calls < 1 or sorted({1, *at_once}) != [1, *at_once] or sorted({0, *chunks}) != [0, *chunks]:
        parser.error("calls, calls at once and chunks must be positive, and the numbers must ascend")
    if arguments.calls_for_memory < 3:
        parser.error("memory needs three calls to tell a difference")
    if min(arguments.starts, arguments.open_streams, arguments.series) < 1:
        parser.error("starts, open streams and series must be positive")
    return arguments


_QUICK: Final = {**vars(QUICK), "starts": 3, "open_streams": 25, "calls_for_memory": 4_500}
_WHOLE: Final = {**vars(Settings()), "starts": 5, "open_streams": 100, "calls_for_memory": 30_000}


def _fill(arguments: argparse.Namespace) -> None:
    """Set the amounts that were not given."""
    for name, amount in (_QUICK if arguments.quick else _WHOLE).items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, amount)


def _amounts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="measure less of everything, for 40 seconds and not 180")
    parser.add_argument("--seconds", type=float, help="measure for so long; one round is made in any case")
    parser.add_argument("--calls", type=int, help="calls in a sample (25; 10 if quick)")
    parser.add_argument("--at-once", type=int, nargs=2, metavar=("FEW", "MANY"), help="how many calls at once")
    parser.add_argument(
        "--chunks", type=int, nargs=4, metavar=("ONE", "SHORT", "LONG", "LONGEST"), help="chunks of the streams"
    )
    parser.add_argument("--starts", type=int, help="processes started for each figure of the start (5; 3 if quick)")
    parser.add_argument("--open-streams", type=int, help="streams open at once for their memory (100; 25 if quick)")
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
    return Settings(
        arguments.seconds, arguments.calls, tuple(arguments.at_once), tuple(arguments.chunks), arguments.clock
    )
