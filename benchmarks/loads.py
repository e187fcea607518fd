"""What is timed: calls one after another and at once, and streams of several lengths.

Nothing in here imports the runtime or the instrumentation: ``elsewhere.py`` and ``startup.py`` run in processes that
must not have one of them.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from workload import Provider

CLOCKS: Final = {"wall": time.perf_counter, "cpu": time.process_time}

CALLS: Final = "calls"
STREAM: Final = "stream"
_FIRST: Final = 5


class Application(Protocol):
    """Something that makes calls."""

    @property
    def provider(self) -> Provider:
        """What answers."""

    async def call(self) -> None:
        """Make one call."""

    async def stream(self, chunks: int) -> None:
        """Read one stream to its end."""


@dataclass(frozen=True)
class Load:
    """One thing to time.

    Attributes:
        kind: ``calls`` or ``stream``.
        size: How many calls at once, or chunks of content.
        times: How often in one sample.
        every: In which rounds: in each, or in each n-th if it takes long.
    """

    kind: str
    size: int
    times: int
    every: int = 1

    @property
    def share(self) -> int:
        """Of how many calls, or streams, a sample is the time."""
        return self.times * (self.size if self.kind == CALLS else 1)


async def _calls(application: Application, size: int) -> None:
    if size == 1:
        await application.call()
        return
    # They would follow each other otherwise: nothing here has to be waited for.
    application.provider.waits = True
    try:
        await asyncio.gather(*(application.call() for _ in range(size)))
    finally:
        application.provider.waits = False


async def _stream(application: Application, size: int) -> None:
    await application.stream(size)


_ACTIONS: Final[dict[str, Callable[[Application, int], Awaitable[None]]]] = {CALLS: _calls, STREAM: _stream}


async def sample(application: Application, load: Load, clock: str) -> float:
    """Return the microseconds of one call, or of one stream, of a load.

    Args:
        application: What makes the calls.
        load: What to time.
        clock: ``wall`` or ``cpu``.
    """
    action, now = _ACTIONS[load.kind], CLOCKS[clock]
    # What is only made once, is made now, and the interpreter gets to know classes that were patched since.
    for _ in range(_FIRST):
        await action(application, 1)
    # Garbage of the sample before is none of this one's business; what it makes itself may be collected on its time.
    gc.collect()
    started = now()
    for _ in range(load.times):
        await action(application, load.size)
    return (now() - started) / load.share * 1e6
