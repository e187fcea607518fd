"""A number that any thread may raise."""

from __future__ import annotations

import itertools


class Tally:
    """Counts. Each step is atomic."""

    def __init__(self) -> None:
        self._steps = itertools.count()

    def step(self) -> int:
        """Count one more, and return how many there were before."""
        return next(self._steps)

    @property
    def value(self) -> int:
        """How many there are."""
        # To ask the steps for their number would be one of them.
        return int(repr(self._steps)[6:-1])
