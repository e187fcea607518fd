"""Everything that was recorded of a scenario, by what it is about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from calls import Seen
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind
from performance import Performance

from opentelemetry_instrumentation_ailib import semconv


class Records:
    """Everything that was recorded, by what it is about."""

    def __init__(self, performance: Performance) -> None:
        self.performance = performance
        self.recorder = performance.recorder
        self.spans = performance.spans.started
        self.calls = [span for span in self.spans if span.kind is SpanKind.CLIENT]
        self.streams = [span for span in self.calls if self.of(span).get(semconv.REQUEST_STREAM)]
        self.by_id = {span.context.span_id: span for span in self.spans}
        stages = performance.scenario.telemetry.arguments.get("stages", "all")
        self.stages = {"all": semconv.STAGES, "none": ()}[stages] if isinstance(stages, str) else tuple(stages)

    @staticmethod
    def of(span: ReadableSpan) -> dict[str, Any]:
        """Return the attributes of a span."""
        return dict(span.attributes or {})

    def under(self, span: ReadableSpan, stage: str) -> list[ReadableSpan]:
        """Return the spans of a stage under another span."""
        name = semconv.SPAN_NAMES[stage]
        return [
            child
            for child in self.spans
            if child.name == name and child.parent and child.parent.span_id == span.context.span_id
        ]

    def total(self, name: str) -> float:
        """Return the sum of a counter, or the count of a histogram."""
        return float(sum(value for _, value in self.recorder.points(name)))

    def seconds(self, name: str, **labels: str) -> float:
        """Return the sum of a histogram."""
        return sum(value for found, value in self.recorder.sums(name) if labels.items() <= found.items())

    def both(self) -> Iterator[tuple[ReadableSpan, Seen]]:
        """Yield each operation with the call that it is about."""
        yield from zip(self.calls, self.performance.begun, strict=True)

    def attributes(self, name: str) -> Iterator[Any]:
        """Yield an attribute of each operation that has it."""
        return (value for span in self.calls if (value := self.of(span).get(name)) is not None)
