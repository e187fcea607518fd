"""The floors: the signals of the instrumentation, written by hand against the OpenTelemetry API.

Nothing is looked up, converted, guarded or timed that a call of this one shape does not need; what the runtime does
not hand out (the bytes of a stream, say) is a constant. So this is what the signals themselves cost. That they are the
same signals is what ``ledger.py`` makes sure of.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

from measurements import COMMON, Measurements
from opentelemetry.context import Context, attach, detach
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Span, SpanKind, TracerProvider, set_span_in_context
from workload import Provider, Workload

_MODEL = "gpt-4o-2024-08-06"


class Signals(Protocol):
    """Makes calls, with their signals."""

    async def call(self, workload: Workload) -> None:
        """Make one call."""

    async def stream(self, workload: Workload, chunks: int) -> None:
        """Read one stream to its end."""


class Providers(Protocol):
    """Where the signals go."""

    @property
    def tracer_provider(self) -> TracerProvider:
        """Where spans go."""

    @property
    def meter_provider(self) -> MeterProvider:
        """Where measurements go."""


class ByHand:
    """A workload whose signals are made by hand.

    Args:
        signals: What makes them.
        workload: What makes the calls.
    """

    def __init__(self, signals: Signals, workload: Workload) -> None:
        self._signals = signals
        self._workload = workload

    @property
    def provider(self) -> Provider:
        """What answers."""
        return self._workload.provider

    async def call(self) -> None:
        """Make one call."""
        await self._signals.call(self._workload)

    async def stream(self, chunks: int) -> None:
        """Read one stream to its end."""
        await self._signals.stream(self._workload, chunks)


class MetricsFloor:
    """Measurements and no spans at all, as what a call leaves when it is not sampled.

    Args:
        meter_provider: Where measurements go.
        chunk_timing: Whether each chunk of a stream is recorded.
    """

    def __init__(self, meter_provider: MeterProvider, *, chunk_timing: bool) -> None:
        self._measured = Measurements(meter_provider, chunk_timing=chunk_timing)

    async def call(self, workload: Workload) -> None:
        """Make one call."""
        measured, started = self._measured, time.perf_counter()
        measured.begin(None)
        response = await workload.request().execute()
        for stage in ("request.compile", "http.transport", "pipeline.process"):
            measured.stage(None, stage)
        measured.end(None, time.perf_counter() - started, response.raw_response["usage"], response.model)

    async def stream(self, workload: Workload, chunks: int) -> None:
        """Read one stream to its end."""
        measured, started = self._measured, time.perf_counter()
        measured.begin(None)
        last, _, usage = await _read(workload, chunks, measured, None, started)
        for stage in ("request.compile", "http.transport", "pipeline.process", "event.map"):
            measured.stage(None, stage)
        measured.end_stream(None, chunks)
        measured.end(None, last - started, usage, _MODEL)


class Floor:
    """Every signal.

    Args:
        tracer_provider: Where spans go.
        meter_provider: Where measurements go.
        chunk_timing: Whether each chunk of a stream is recorded.
    """

    def __init__(self, tracer_provider: TracerProvider, meter_provider: MeterProvider, *, chunk_timing: bool) -> None:
        self._tracer = tracer_provider.get_tracer("floor")
        self._measured = Measurements(meter_provider, chunk_timing=chunk_timing)

    async def call(self, workload: Workload) -> None:
        """Make one call."""
        started = time.perf_counter()
        span, context = self._begin()
        self._stage(context, "request.compile")
        transport = self._start_transport(context)
        token = attach(set_span_in_context(transport, context))
        response = await workload.request().execute()
        detach(token)
        transport.set_attributes({"http.response.status_code": 200})
        transport.end()
        self._measured.stage(context, "http.transport")
        self._stage(context, "pipeline.process")
        body = response.raw_response
        answered = {
            "gen_ai.response.finish_reasons": [response.finish_reason],
            "gen_ai.response.model": response.model,
            "gen_ai.response.id": body["id"],
        }
        self._end(span, context, time.perf_counter() - started, body["usage"], answered)

    async def stream(self, workload: Workload, chunks: int) -> None:
        """Read one stream to its end."""
        started = time.perf_counter()
        span, context, transport = self.open()
        last, first, usage = await _read(workload, chunks, self._measured, context, started)
        transport.set_attributes({"http.response.status_code": 200, "ai_lib.busy_time": 0.001})
        transport.end()
        self._measured.stage(context, "http.transport")
        counts = {"ai_lib.stream.bytes": 1, "ai_lib.stream.frames": chunks, "ai_lib.busy_time": 0.001}
        self._stage(context, "pipeline.process", counts)
        self._stage(context, "event.map", {"ai_lib.stream.events": chunks, "ai_lib.busy_time": 0.001})
        self._measured.end_stream(context, chunks)
        self._end(span, context, last - started, usage, _answered(first, chunks))

    def open(self) -> tuple[Span, Context, Span]:
        """Begin a stream: return its span, its context and the span of its transport."""
        span, context = self._begin()
        self._stage(context, "request.compile", {"ai_lib.busy_time": 0.001})
        return span, context, self._start_transport(context)

    def _begin(self) -> tuple[Span, Context]:
        span = self._tracer.start_span("chat gpt-4o", kind=SpanKind.CLIENT, attributes=COMMON)
        context = set_span_in_context(span)
        self._measured.begin(context)
        return span, context

    def _start_transport(self, context: Context) -> Span:
        return self._tracer.start_span(
            "ai_lib.http.transport",
            context=context,
            attributes={
                "ai_lib.stage": "http.transport",
                "http.request.method": "POST",
                "url.path": "/v1/chat/completions",
                "server.address": "api.openai.example",
                "server.port": 443,
            },
        )

    def _stage(self, context: Context, stage: str, attributes: dict[str, Any] | None = None) -> None:
        self._measured.stage(context, stage)
        span = self._tracer.start_span(
            f"ai_lib.{stage}", context=context, attributes={"ai_lib.stage": stage, **(attributes or {})}
        )
        span.end()

    def _end(
        self, span: Span, context: Context, seconds: float, usage: dict[str, int], attributes: dict[str, Any]
    ) -> None:
        self._measured.end(context, seconds, usage, attributes["gen_ai.response.model"])
        attributes["gen_ai.request.temperature"] = 0.7
        attributes["gen_ai.request.max_tokens"] = 100
        attributes["gen_ai.usage.input_tokens"] = usage["prompt_tokens"]
        attributes["gen_ai.usage.output_tokens"] = usage["completion_tokens"]
        attributes["ai_lib.provider.id"] = "openai"
        attributes["ai_lib.attempts"] = 1
        attributes["ai_lib.cost"] = 0.00008
        span.set_attributes(attributes)
        span.end()


async def _read(
    workload: Workload, chunks: int, measured: Measurements, context: Context | None, started: float
) -> tuple[float, float, dict[str, int]]:
    """Return when the last event came, after how long the first one, and the usage."""
    last, first = started, None
    usage: dict[str, int] = {}
    per_chunk = measured.per_chunk
    async for event in workload.events(chunks):
        now = time.perf_counter()
        if first is None:
            first = now - last
            measured.first_chunk(context, first)
        elif per_chunk is not None:
            per_chunk.record(now - last, COMMON, context=context)
        last = now
        if event.event_type == "Metadata":
            usage = event.data.usage or usage
    return last, first or 0.0, usage


def _answered(first_chunk: float, chunks: int) -> dict[str, Any]:
    return {
        "gen_ai.request.stream": True,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.model": _MODEL,
        "gen_ai.response.id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "gen_ai.response.time_to_first_chunk": first_chunk,
        "ai_lib.stream.outcome": "completed",
        "ai_lib.stream.bytes": 1,
        "ai_lib.stream.frames": chunks,
        "ai_lib.stream.events": chunks,
    }


def by_hand(workload: Workload, providers: Providers, *, sampled: bool, chunk_timing: bool) -> ByHand:
    """Return a workload with a floor: every signal, or what is left of them when spans are sampled out."""
    signals: Signals = (
        Floor(providers.tracer_provider, providers.meter_provider, chunk_timing=chunk_timing)
        if sampled
        else MetricsFloor(providers.meter_provider, chunk_timing=chunk_timing)
    )
    return ByHand(signals, workload)
