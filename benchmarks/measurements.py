"""The measurements of a call and of a stream, written by hand against the OpenTelemetry API: the floors share them."""

from __future__ import annotations

from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider

from opentelemetry_instrumentation_ailib.metrics import Instruments

_LABELS: Final = {"provider": "openai", "model": "gpt-4o"}
COMMON: Final[dict[str, Any]] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "server.address": "api.openai.example",
    "server.port": 443,
}
"""What the span and the measurements of the conventions have in common."""


class Measurements:
    """Measurements by hand, each in the context of the call, or in none.

    Args:
        meter_provider: Where they go.
        chunk_timing: Whether each chunk of a stream is recorded.

    Attributes:
        per_chunk: Where each chunk but the first is recorded, if it is.
    """

    def __init__(self, meter_provider: MeterProvider, *, chunk_timing: bool) -> None:
        self._ours = Instruments(meter_provider.get_meter("floor"))
        self.per_chunk = self._ours.time_per_output_chunk if chunk_timing else None

    def begin(self, context: Context | None) -> None:
        """Record that a call began."""
        self._ours.requests_in_flight.add(1, {**_LABELS, "operation": "chat"}, context=context)

    def stage(self, context: Context | None, stage: str) -> None:
        """Record a stage."""
        labels = {**_LABELS, "operation": "chat", "stage": stage}
        self._ours.stage_duration.record(0.001, labels, context=context)

    def first_chunk(self, context: Context | None, seconds: float) -> None:
        """Record a stream's first chunk."""
        self._ours.time_to_first_chunk.record(seconds, COMMON, context=context)

    def end_stream(self, context: Context | None, chunks: int) -> None:
        """Record what a stream has besides a call."""
        self._ours.stream_consumer.record(0.001, _LABELS, context=context)
        self._ours.streams.add(1, {**_LABELS, "outcome": "completed"}, context=context)
        self._ours.stream_frames.add(chunks + 2, {**_LABELS, "result": "mapped"}, context=context)

    def end(self, context: Context | None, seconds: float, usage: dict[str, int], model: str) -> None:
        """Record the end of a call or a stream.

        Args:
            context: Where.
            seconds: How long it took.
            usage: The provider's.
            model: The one that answered.
        """
        labels = {**_LABELS, "operation": "chat"}
        self._ours.cost.add(0.00008, _LABELS, context=context)
        self._ours.attempts.add(1, {**_LABELS, "kind": "initial", "type": "ok"}, context=context)
        self._ours.requests_in_flight.add(-1, labels, context=context)
        self._ours.requests.add(1, labels, context=context)
        self._ours.request_duration.record(seconds, labels, context=context)
        answered = {**COMMON, "gen_ai.response.model": model}
        for kind, count in (("input", usage["prompt_tokens"]), ("output", usage["completion_tokens"])):
            self._ours.tokens.add(count, {**labels, "type": kind}, context=context)
            self._ours.token_usage.record(count, {**answered, "gen_ai.token.type": kind}, context=context)
        self._ours.operation_duration.record(seconds, answered, context=context)
