"""How long a soak lasts and how wide it is, and what came out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from books import Books
from census import Census, growth

# What may come and go by itself: caches that fill up, the arenas of the allocator.
_BLOCKS_A_CALL: Final = 0.02
_FEW_BLOCKS: Final = 5_000
_FEW_MEBIBYTES: Final = 8.0


@dataclass(frozen=True)
class Settings:
    """How long and how wide.

    Attributes:
        seconds: The length of the soak.
        cycle: The length of a cycle, in seconds.
        workers: Workers in the loop of the main thread, and in each other's.
        names: How many models there are that nobody has heard of. All are called once before memory is looked at.
        remote: The base URL of a provider in another process, if there is one.
    """

    seconds: float
    cycle: float = 10.0
    workers: int = 6
    names: int = 10_000
    remote: str | None = None


@dataclass
class Result:
    """What came out.

    Attributes:
        books: What the application did.
        calls: How many times a worker did something.
        rests: What there was in the process after each cycle.
        made: How much had been done by then.
        violations: What should not have been.
        lines: How many lines were logged about calls.
        collisions: How often the event loop closed two of the runtime's generators at a time.
        spans: What became of how many spans.
        rounds: How often instrumentation left and came back while calls were under way.
        hooks: How often each hook was called, and how often one of them raised.
    """

    books: Books = field(default_factory=Books)
    calls: int = 0
    rests: list[Census] = field(default_factory=list)
    made: list[int] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    lines: int = 0
    collisions: int = 0
    spans: dict[str, int] = field(default_factory=dict)
    rounds: int = 0
    hooks: dict[str, int] = field(default_factory=dict)

    def blocks_grown(self) -> float:
        """Return by how many blocks of memory the process grew after the warm-up."""
        return growth([rest.blocks for rest in self._measured()])

    def resident_grown(self) -> float:
        """Return by how many MiB the process grew after the warm-up."""
        return growth([rest.resident for rest in self._measured()])

    def calls_measured(self) -> int:
        """Return how much was done while memory was looked at."""
        return self.made[-1] - self.made[-len(self._measured())]

    def grown(self) -> list[str]:
        """Return what is to be said against the memory after the warm-up."""
        found = []
        if self.blocks_grown() > max(_FEW_BLOCKS, _BLOCKS_A_CALL * self.calls_measured()):
            found.append(f"{self.blocks_grown():.0f} more blocks of memory in {self.calls_measured()} calls")
        if self.resident_grown() > _FEW_MEBIBYTES:
            found.append(f"{self.resident_grown():.1f} MiB more in {self.calls_measured()} calls")
        return found

    def _measured(self) -> list[Census]:
        return self.rests[len(self.rests) // 4 :]
