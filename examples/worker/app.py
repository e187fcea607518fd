"""A worker that answers a batch of questions: many at once in a loop, and a loop in each of several threads."""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ai_lib_python import AiClient
from ai_lib_python.errors import AiLibError
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from opentelemetry_instrumentation_ailib import AiLibInstrumentor

MODEL = os.environ.get("AI_MODEL", "openai/gpt-4o")
BASE_URL = os.environ.get("AI_BASE_URL")  # Without it, the base URL of the provider's manifest.
THREADS = 2
AT_ONCE = 4

tracer = trace.get_tracer("worker")


async def answer(questions: Sequence[str]) -> list[str | AiLibError]:
    """Answer questions, some at once, with a client that belongs to this loop. One that fails leaves the others be."""
    places = asyncio.Semaphore(AT_ONCE)
    async with await AiClient.create(MODEL, base_url=BASE_URL) as client:

        async def ask(question: str) -> str | AiLibError:
            try:
                async with places:
                    with tracer.start_as_current_span("answer a question"):
                        return str((await client.chat().user(question).execute()).content)
            except AiLibError as error:
                return error

        # gather() makes a task of each, and a task starts with a copy of the context: all are children of one span.
        return list(await asyncio.gather(*map(ask, questions)))


def work(questions: Sequence[str]) -> list[str | AiLibError]:
    """Share questions among threads, each of which runs a loop of its own."""
    with tracer.start_as_current_span("answer a batch"), ThreadPoolExecutor(THREADS) as threads:
        futures = [
            # Unlike a task, a thread starts with an empty context: without the copy its spans would begin new traces.
            threads.submit(contextvars.copy_context().run, asyncio.run, answer(questions[n::THREADS]))
            for n in range(THREADS)
        ]
        return [result for future in futures for result in future.result()]


def main() -> None:
    """Set up OpenTelemetry for this process, work, and flush what is left."""
    tracer_provider = TracerProvider()
    tracer_provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(tracer_provider)
    meter_provider = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())])
    metrics.set_meter_provider(meter_provider)
    AiLibInstrumentor().instrument()
    try:
        results = work([f"What is {n} plus {n}?" for n in range(10)])
    finally:
        tracer_provider.shutdown()
        meter_provider.shutdown()
    failed = [result for result in results if isinstance(result, AiLibError)]
    print(f"{len(results) - len(failed)} answers, {len(failed)} failures")
    if failed:
        sys.exit(f"{MODEL}: {failed[0]}")


if __name__ == "__main__":
    main()
