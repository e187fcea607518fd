"""Set up OpenTelemetry, run the application against the mock provider, print what was recorded."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from importlib.metadata import version

import render
from mock_provider import PROTOCOL, mock_provider
from opentelemetry import metrics, trace
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest

from opentelemetry_instrumentation_ailib import AiLibInstrumentor

DELAY = 0.08


def run() -> None:
    """Run the whole demo, but for the last lines."""
    exporter, registry = InMemorySpanExporter(), CollectorRegistry()
    tracer_provider = TracerProvider()
    tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(tracer_provider)
    reader = PrometheusMetricReader(scope_info_enabled=False, registry=registry)
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))

    AiLibInstrumentor().instrument()
    _show_logs()

    _run_application()
    _print_traces(exporter)
    _print_metrics(registry)


def _run_application() -> None:
    began = time.perf_counter()

    def say(what: str) -> None:
        print(f"{time.perf_counter() - began:5.1f} s  {what}", flush=True)

    names = ("ai-lib-python", "opentelemetry-instrumentation-ailib", "ai-protocol-mock")
    print(render.bold("Running " + ", ".join(f"{name} {version(name)}" for name in names)))
    say("starting the mock provider, which takes a second or two")
    os.environ["AI_PROTOCOL_DIR"] = str(PROTOCOL)
    # Imported now, so that its time is seen to be spent.
    import application

    with mock_provider(content=application.ANSWER, delay=DELAY) as base_url:
        say(f"it is up at {base_url} and takes {DELAY * 1000:.0f} ms over each answer")
        asyncio.run(application.run(f"{base_url}/v1", say))
        say("done")


def _show_logs() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("         log: %(levelname)s %(name)s: %(message)s"))
    logging.getLogger("ai_lib").addHandler(handler)


def _print_traces(exporter: InMemorySpanExporter) -> None:
    print(f"\n{render.bold('TRACES')}  the application's own span, the call it makes, the stages of the call")
    for spans in render.traces(exporter.get_finished_spans()):
        print("", *render.tree(spans), *render.split(spans), sep="\n")


def _print_metrics(registry: CollectorRegistry) -> None:
    print(
        f"\n{render.bold('METRICS')}  as Prometheus scrapes them: ai_lib_* and gen_ai_*, without the lines of buckets"
    )
    print(render.prometheus(generate_latest(registry).decode()), end="\n\n")
