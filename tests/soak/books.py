"""What the application did by its own count, and the same as the metrics tell it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

Key = tuple[str, tuple[str, ...]]
"""The name of a metric and the values of some of its labels."""

LABELS: Final[dict[str, tuple[str, ...]]] = {
    "ai_lib.requests": ("operation",),
    "ai_lib.requests.in_flight": (),
    "ai_lib.request.duration": ("operation",),
    "ai_lib.errors": ("operation", "type"),
    "ai_lib.streams": ("outcome",),
    "ai_lib.attempts": ("kind", "type"),
    "ai_lib.retries": ("type",),
    "ai_lib.retry.delay": ("type",),
    "ai_lib.fallbacks": ("type",),
    "ai_lib.tokens": ("type",),
    "ai_lib.circuit_breaker.transitions": (),
    "ai_lib.circuit_breaker.rejections": (),
    "ai_lib.feedback": ("type",),
    "gen_ai.client.operation.duration": ("gen_ai.operation.name",),
}
"""The metrics that are compared, each by these of its labels."""

OVERFLOW: Final = "otel.metric.overflow"
# An exchange and a call are counted in one metric, and measured in another.
_ALSO: Final = {
    "ai_lib.requests": ("ai_lib.request.duration", "gen_ai.client.operation.duration"),
    "ai_lib.retries": ("ai_lib.retry.delay",),
}


class Books:
    """Counts of one worker, to be added up when it is done: no two threads write into the same."""

    def __init__(self) -> None:
        self.counts: Counter[Key] = Counter()

    def count(self, metric: str, *labels: str, by: int = 1) -> None:
        """Count something that the application did."""
        for name in (metric, *_ALSO.get(metric, ())):
            self.counts[name, labels] += by

    def call(self, operation: str = "chat", error: str | None = None) -> None:
        """Count a call that has ended."""
        self.count("ai_lib.requests", operation)
        if error is not None:
            self.count("ai_lib.errors", operation, error)

    def attempts(self, *types: str, fallback: bool = False) -> None:
        """Count the exchanges of a call by how they ended, the first of them an initial one, the others retries."""
        for number, kind in enumerate(types):
            self.count("ai_lib.attempts", "initial" if number == 0 and not fallback else "retry", kind)

    def tokens(self, given: int, taken: int) -> None:
        """Count tokens."""
        self.count("ai_lib.tokens", "input", by=given)
        self.count("ai_lib.tokens", "output", by=taken)

    def total(self, metric: str) -> int:
        """Return how many of something there were, whatever their labels."""
        return sum(count for (name, _), count in self.counts.items() if name == metric)

    def add(self, other: Books) -> None:
        """Take over what somebody else counted."""
        self.counts.update(other.counts)

    def differences(self, reader: Any) -> list[str]:
        """Return where the metrics say something else.

        Past its limit of series the SDK counts without labels. What such a point holds may be missing elsewhere.

        Args:
            reader: An in-memory metric reader.
        """
        told, without = _told(reader)
        found: list[str] = []
        for metric in LABELS:
            keys = {key for key in (*self.counts, *told) if key[0] == metric}
            short = {key: self.counts[key] - told[key] for key in keys}
            if sum(short.values()) != without[metric] or any(value < 0 for value in short.values()):
                found += [
                    f"{metric}{list(key[1])}: {self.counts[key]} happened, {told[key]} counted"
                    for key, value in sorted(short.items())
                    if value
                ]
        return found


def points(reader: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name and the data point of every series."""
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    yield metric.name, point


def _told(reader: Any) -> tuple[Counter[Key], Counter[str]]:
    told: Counter[Key] = Counter()
    without: Counter[str] = Counter()
    for name, point in points(reader):
        if name not in LABELS:
            continue
        value = point.count if hasattr(point, "count") else point.value
        if OVERFLOW in point.attributes:
            without[name] += value
        else:
            told[name, tuple(str(point.attributes[label]) for label in LABELS[name])] += value
    return told, without
