"""Clocks that go wrong: for our modules and for the SDK, and for nobody else."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from opentelemetry.sdk import trace as sdk_trace

PACKAGE = "opentelemetry_instrumentation_ailib"
HOUR = 3600.0
EPOCH = 1_800_000_000.0


def ticking(start: float, *steps: float) -> Callable[[], float]:
    """Return a clock that makes these steps in turn, one each time it is read, in seconds."""
    turns, now = itertools.cycle(steps), start

    def read() -> float:
        nonlocal now
        now += next(turns)
        return now

    return read


def set_clocks(patch: pytest.MonkeyPatch, *, wall: Callable[[], float], ticks: Callable[[], float]) -> None:
    """Give our modules and the SDK's spans other clocks.

    The event loop's and the application's go on as they do: what is tested is what a wrong clock does to us.

    Args:
        patch: Puts the real ones back.
        wall: The time of day, in seconds since the epoch.
        ticks: What measures durations, in seconds.
    """

    def wall_ns() -> int:
        return int(wall() * 1e9)

    clocks = {name: getattr(time, name) for name in dir(time) if not name.startswith("_")}
    clocks.update(time=wall, time_ns=wall_ns, perf_counter=ticks, monotonic=ticks)
    for name, module in list(sys.modules.items()):
        if name.startswith(PACKAGE):
            if vars(module).get("time") is time:
                patch.setattr(module, "time", SimpleNamespace(**clocks))
            if vars(module).get("perf_counter") is time.perf_counter:
                patch.setattr(module, "perf_counter", ticks)
    patch.setattr(sdk_trace, "time_ns", wall_ns)
