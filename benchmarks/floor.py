"""The floor: the spans and measurements of the instrumentation, written by hand against the OpenTelemetry API.

Nothing is looked up, converted, guarded or timed that a call of this one shape does not need; what the runtime does
not hand out (the bytes of a stream, say) is a constant. So this is what the signals themselves cost. That they are the
same signals is what ``ledger.py`` makes sure of.
"""

from __future__ import annotations

import time
from typing import Any

from opentelemetry.context import Context, attach, detach
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Span, SpanKind, TracerProvider, set_span_in_context

from opentelemetry_instrumentation_ailib.metrics import Instruments

_LABELS = {"provider": "openai", "model": "gpt-4o"}


class Floor:
    """Signals by hand.

    Args:
        tracer_provider: Where spans go.
        meter_provider: Where measurements go.
        chunk_timing: Whether each chunk of a stream is recorded.
    """

    def __init__(self, tracer_provider: TracerProvider, meter_provider: MeterProvider, *, chunk_timing: bool) -> None:
        self._tracer = tracer_provider.get_tracer("floor")
        self._ours = Instruments(meter_provider.get_meter("floor"))
        self._chunk_timing = chunk_timing

    async def call(self, workload: Any) -> None:
        """Make one call, with its signals."""
        started = time.perf_counter()
        span, context, common = self._begin()
        self._stage(context, "request.compile")
        transport = self._start_transport(context)
        token = attach(set_span_in_context(transport, context))
        response = await workload.request().execute()
        detach(token)
        transport.set_attributes({"http.response.status_code": 200})
        transport.end()
        self._ours.stage_duration.record(
            0.001, {**_LABELS, "operation": "chat", "stage": "http.transport"}, context=context
        )
        self._stage(context, "pipeline.process")
        body = response.raw_response
        self._end(
            span,
            context,
            common,
            time.perf_counter() - started,
            body["usage"],
            {
                "gen_ai.response.finish_reasons": [response.finish_reason],
                "gen_ai.response.model": response.model,
                "gen_ai.response.id": body["id"],
            },
        )

    async def stream(self, workload: Any, chunks: int) -> None:
        """Read one stream to its end, with its signals."""
        started = last = time.perf_counter()
        span, context, common = self._begin()
        self._stage(context, "request.compile", {"ai_lib.busy_time": 0.001})
        transport = self._start_transport(context)
        first: float | None = None
        usage: dict[str, int] = {}
        async for event in workload.events(chunks):
            now = time.perf_counter()
            if first is None:
                first = now - last
                self._ours.time_to_first_chunk.record(first, common, context=context)
            elif self._chunk_timing:
                self._ours.time_per_output_chunk.record(now - last, common, context=context)
            last = now
            if event.event_type == "Metadata":
                usage = event.data.usage or usage
        transport.set_attributes({"http.response.status_code": 200, "ai_lib.busy_time": 0.001})
        transport.end()
        self._end_stages(context, chunks)
        self._end(span, context, common, last - started, usage, _answered(first or 0.0, chunks))

    def _begin(self) -> tuple[Span, Context, dict[str, Any]]:
        common: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o",
            "server.address": "api.openai.example",
            "server.port": 443,
        }
        span = self._tracer.start_span("chat gpt-4o", kind=SpanKind.CLIENT, attributes=common)
        context = set_span_in_context(span)
        self._ours.requests_in_flight.add(1, {**_LABELS, "operation": "chat"}, context=context)
        return span, context, common

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
        labels = {**_LABELS, "operation": "chat", "stage": stage}
        self._ours.stage_duration.record(0.001, labels, context=context)
        span = self._tracer.start_span(
            f"ai_lib.{stage}", context=context, attributes={"ai_lib.stage": stage, **(attributes or {})}
        )
        span.end()

    def _end_stages(self, context: Context, chunks: int) -> None:
        self._ours.stage_duration.record(
            0.001, {**_LABELS, "operation": "chat", "stage": "http.transport"}, context=context
        )
        counts = {"ai_lib.stream.bytes": 1, "ai_lib.stream.frames": chunks, "ai_lib.busy_time": 0.001}
        self._stage(context, "pipeline.process", counts)
        self._stage(context, "event.map", {"ai_lib.stream.events": chunks, "ai_lib.busy_time": 0.001})
        self._ours.stream_consumer.record(0.001, _LABELS, context=context)
        self._ours.streams.add(1, {**_LABELS, "outcome": "completed"}, context=context)
        self._ours.stream_frames.add(chunks + 1, {**_LABELS, "result": "mapped"}, context=context)

    def _end(
        self,
        span: Span,
        context: Context,
        common: dict[str, Any],
        seconds: float,
        usage: dict[str, int],
        attributes: dict[str, Any],
    ) -> None:
        labels = {**_LABELS, "operation": "chat"}
        self._ours.cost.add(0.00008, _LABELS, context=context)
        self._ours.attempts.add(1, {**_LABELS, "kind": "initial", "type": "ok"}, context=context)
        self._ours.requests_in_flight.add(-1, labels, context=context)
        self._ours.requests.add(1, labels, context=context)
        self._ours.request_duration.record(seconds, labels, context=context)
        answered = {**common, "gen_ai.response.model": attributes["gen_ai.response.model"]}
        tokens = {"input": usage["prompt_tokens"], "output": usage["completion_tokens"]}
        for kind, count in tokens.items():
            self._ours.tokens.add(count, {**labels, "type": kind}, context=context)
            self._ours.token_usage.record(count, {**answered, "gen_ai.token.type": kind}, context=context)
        self._ours.operation_duration.record(seconds, answered, context=context)
        attributes["gen_ai.request.temperature"] = 0.7
        attributes["gen_ai.request.max_tokens"] = 100
        attributes["gen_ai.usage.input_tokens"] = tokens["input"]
        attributes["gen_ai.usage.output_tokens"] = tokens["output"]
        attributes["ai_lib.provider.id"] = "openai"
        attributes["ai_lib.attempts"] = 1
        attributes["ai_lib.cost"] = 0.00008
        span.set_attributes(attributes)
        span.end()


def _answered(first_chunk: float, chunks: int) -> dict[str, Any]:
    return {
        "gen_ai.request.stream": True,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.model": "gpt-4o-2024-08-06",
        "gen_ai.response.id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "gen_ai.response.time_to_first_chunk": first_chunk,
        "ai_lib.stream.outcome": "completed",
        "ai_lib.stream.bytes": 1,
        "ai_lib.stream.frames": chunks,
        "ai_lib.stream.events": chunks,
    }
