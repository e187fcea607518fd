"""Time that passes at once where nothing is left to do but wait: hours of delays cost an example nothing.

The runtime's own clock moves with the waits alone, so two runs of an example see the same times. The clocks that spans
and measurements are made by go on besides, so that what takes no wait still takes its time.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import selectors
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar
from unittest import mock

T = TypeVar("T")
Complaints = list[tuple[str, str]]

_PERF_COUNTER, _TIME_NS, _MONOTONIC = time.perf_counter, time.time_ns, time.monotonic


class NothingLeftError(Exception):
    """Everybody waits, and for nothing that will ever happen."""


class Clock:
    """The clocks of one run.

    Attributes:
        waited: Seconds that have been skipped.
    """

    def __init__(self) -> None:
        self.waited = 0.0

    def _perf_counter(self) -> float:
        return _PERF_COUNTER() + self.waited

    def _time_ns(self) -> int:
        return _TIME_NS() + int(self.waited * 1e9)

    def _monotonic(self) -> float:
        return self.waited

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Show these clocks to the runtime, to OpenTelemetry and to us."""
        clocks = {"perf_counter": self._perf_counter, "time_ns": self._time_ns, "monotonic": self._monotonic}
        with contextlib.ExitStack() as stack:
            for place, name, clock in _places():
                stack.enter_context(mock.patch.object(place, name, clocks[clock]))
            yield


@functools.cache
def _places() -> list[tuple[Any, str, str]]:
    # Wherever one of the clocks was imported by its name.
    real: dict[Any, str] = {_PERF_COUNTER: "perf_counter", _TIME_NS: "time_ns"}
    named = [
        (module, name, real[value])
        for place, module in list(sys.modules.items())
        if place.startswith("opentelemetry")
        for name, value in list(vars(module).items())
        if callable(value) and getattr(value, "__module__", "") == "time" and value in real
    ]
    return [*named, *((time, name, name) for name in ("perf_counter", "time_ns", "monotonic"))]


class _Selector(selectors.SelectSelector):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            raise NothingLeftError
        if not ready and timeout:
            self._clock.waited += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: Clock) -> None:
        super().__init__(_Selector(clock))
        self._clock = clock

    def time(self) -> float:
        return self._clock.waited


def run(clock: Clock, main: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, Complaints]:
    """Run a coroutine in a loop of its own, as ``asyncio.run`` does, and return what the loop complained of, too.

    Args:
        clock: The clock, which is shown.
        main: Makes the coroutine.
    """
    complaints: Complaints = []

    def complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # Without the address of what it is about.
        complaints.append((context["message"].split(" at 0x")[0], type(context.get("exception")).__name__))

    loop = _Loop(clock)
    loop.set_exception_handler(complain)
    try:
        result = loop.run_until_complete(main())
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(_settled(tasks))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
    return result, complaints


async def _settled(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
