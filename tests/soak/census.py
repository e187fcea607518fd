"""What there is in the process: memory, objects of ours, tasks, threads, components known to be alive."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import statistics
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from opentelemetry_instrumentation_ailib import AiLibInstrumentor

_PACKAGE: Final = "opentelemetry_instrumentation_ailib"
OF_CALLS: Final = ("Operation", "Attempts", "Exchange", "StreamState", "StageClock", "_Stream")
"""Classes of ours of which there is an object as long as a call lasts."""

_PAGE: Final = 4096
_MEBIBYTE: Final = 1 << 20


@dataclass
class Census:
    """What was counted in a moment of rest.

    Attributes:
        blocks: Blocks of memory that Python has handed out.
        resident: MiB that the process occupies.
        ours: Objects of our classes, by class.
        threads: The names of all threads.
        components: The resilience components that are known to be alive, by kind.
    """

    blocks: int
    resident: float
    ours: Counter[str] = field(default_factory=Counter)
    threads: list[str] = field(default_factory=list)
    components: dict[str, int] = field(default_factory=dict)


def census() -> Census:
    """Count, after a garbage collection."""
    gc.collect()
    gc.collect()
    ours = Counter(
        type(thing).__qualname__ for thing in gc.get_objects() if str(type(thing).__module__).startswith(_PACKAGE)
    )
    return Census(
        blocks=sys.getallocatedblocks(),
        resident=_resident(),
        ours=ours,
        threads=names_of_threads(),
        components=components(),
    )


def names_of_threads() -> list[str]:
    """Return the names of all threads but those of the receiver, which may be answering the last export."""
    names = sorted(thread.name for thread in threading.enumerate())
    return [name for name in names if not name.endswith("(process_request_thread)")]


def components() -> dict[str, int]:
    """Return how many resilience components are known to be alive, by kind."""
    return {kind: len(known) for kind, known in AiLibInstrumentor._components._known.items()}


def _resident() -> float:
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * _PAGE / _MEBIBYTE if statm.exists() else 0.0


async def settle() -> list[str]:
    """Let what is ending end, and return what would not: the tasks that are left."""
    for attempt in range(100):
        if attempt < 2:
            gc.collect()
        for _ in range(20):
            await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if not left and not any(thread.name == "ai-lib-end" for thread in threading.enumerate()):
            return []
        await asyncio.sleep(0.01)
    return sorted(map(repr, asyncio.all_tasks() - {asyncio.current_task()}))


def growth(figures: Sequence[float]) -> float:
    """Return by how much figures grew from the first third of them to the last, by the medians of the two."""
    third = max(len(figures) // 3, 1)
    return statistics.median(figures[-third:]) - statistics.median(figures[:third])


@contextlib.contextmanager
def quick_collections() -> Iterator[None]:
    """Spare the garbage collector the modules."""
    # What is imported stays: to look through it each time would take longer than what the soak is about.
    if gc.get_freeze_count():  # By somebody else, who is to end it.
        yield
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
