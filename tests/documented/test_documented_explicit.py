"""The same classes imported from this package, where the runtime's own are patched and where they are left alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import ai_lib_python.telemetry as runtime
import pytest
from ai_lib_python import AiClient
from grpc_receiver import grpc_receiver

import opentelemetry_instrumentation_ailib as package
from opentelemetry_instrumentation_ailib import (
    AiLibInstrumentor,
    FeedbackCollector,
    FeedbackResult,
    HealthChecker,
    HealthReport,
    MetricsCollector,
    Tracer,
    observe,
    signals_snapshot,
)
from opentelemetry_instrumentation_ailib.documented.explicit import MetricsCollector as Defined
from provider import body, completion, provider
from recorder import Recorder

REQUESTS = 'ai_lib_requests_total{model="gpt-4o",operation="chat",provider="openai"} 1.0'
CALLED = ["ai_lib.http.transport", "ai_lib.pipeline.process", "ai_lib.request.compile", "answer", "chat gpt-4o"]


@pytest.fixture(params=[True, False], ids=["patched", "left alone"])
def either_way(request: pytest.FixtureRequest, recorder: Recorder) -> Iterator[Recorder]:
    """Instrumented with and without the documented API on the runtime's own classes."""
    AiLibInstrumentor().instrument(**recorder.providers, documented_api=request.param)
    yield recorder
    AiLibInstrumentor().uninstrument()


async def test_all_of_it_works_on_a_client_that_exists(either_way: Recorder) -> None:
    collector = MetricsCollector()
    with grpc_receiver() as otlp:
        tracer = Tracer(service_name="my-app", endpoint=otlp.endpoint)
        async with provider(body(completion())) as server:
            client = await AiClient.create("openai/gpt-4o", base_url=server.base_url)
            observe(client, metrics=collector, tracer=tracer)
            with tracer.span("answer") as span:
                _, stats = await client.chat().user("Hello?").execute_with_stats()
            signals = signals_snapshot(client)
            await client.close()
        tracer.shutdown()
    report = await HealthChecker().check()
    rated = FeedbackCollector().record(request_id=stats.client_request_id, rating=5)

    assert REQUESTS in collector.export_prometheus().splitlines()
    assert collector.get_snapshot().total_requests == 1
    assert sorted(found.name for found in otlp.spans) == CALLED
    assert ("chat gpt-4o", "answer") in otlp.tree(span.trace_id)
    assert either_way.names() == ["ai_lib.protocol.load"]
    assert isinstance(report, HealthReport)
    assert (report.is_healthy, list(report.details["providers"])) == (True, ["openai"])
    assert (signals.circuit_state, signals.current_inflight) == ("disabled", 0)
    assert rated is FeedbackResult.RECORDED


def test_they_are_the_runtimes_own_and_more() -> None:
    assert issubclass(MetricsCollector, runtime.MetricsCollector)
    assert issubclass(Tracer, runtime.Tracer)
    assert issubclass(HealthChecker, runtime.HealthChecker)
    assert issubclass(HealthReport, runtime.AggregatedHealth)
    assert MetricsCollector is Defined


@pytest.mark.parametrize("name", [name for name in package.__all__ if name != "__version__"])
def test_every_name_of_the_package_is_there_and_documented(name: str) -> None:
    assert getattr(package, name).__doc__


def test_a_name_that_the_package_lacks_is_missing_as_usual() -> None:
    with pytest.raises(AttributeError, match=r"has no attribute 'Absent'$"):
        package.Absent  # noqa: B018


def test_importing_the_package_imports_nothing_of_the_runtime() -> None:
    script = """
import sys
from opentelemetry_instrumentation_ailib import AiLibInstrumentor, FeedbackCollector, observe, signals_snapshot
assert not [name for name in sys.modules if name.startswith("ai_lib_python")]
from opentelemetry_instrumentation_ailib import Tracer
assert "ai_lib_python.telemetry" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# --- each of them ---


@pytest.mark.parametrize(
    ("arguments", "keywords", "name"),
    [
        ((), {}, "ai_lib_python"),
        (("mine",), {}, "mine"),
        ((), {"service_name": "my-app"}, "my-app"),
        ((), {"endpoint": "http://localhost:4317"}, "ai_lib_python"),
        (("mine", None), {"service_name": "my-app"}, "mine"),
    ],
)
@pytest.mark.usefixtures("either_way")
def test_what_a_tracer_is_called(arguments: Any, keywords: Any, name: str) -> None:
    assert Tracer(*arguments, **keywords).name == name


def test_a_tracers_spans_join_the_trace_once(either_way: Recorder) -> None:
    exporter = runtime.InMemoryExporter()
    tracer = Tracer("mine", exporter)
    request_span = either_way.tracer_provider.get_tracer("shop").start_as_current_span("POST /chat")
    with request_span, tracer.span("work", runtime.SpanKind.CLIENT, {"a": 1}) as span:
        later = tracer.start_span("later", attributes={"b": 2})
    assert either_way.names() == ["POST /chat", "work"]
    request, work = either_way.span("POST /chat"), either_way.span("work")
    assert either_way.children(request) == [work]
    assert (span.span_id, dict(work.attributes or {})) == (f"{work.context.span_id:016x}", {"a": 1})
    assert later.parent_context is not None
    assert (later.parent_context.span_id, later.attributes) == (span.span_id, {"b": 2})
    assert [found.name for found in exporter.get_spans()] == ["work"]


async def test_a_check_by_its_name_is_the_runtimes(either_way: Recorder) -> None:
    async def check() -> runtime.HealthCheckResult:
        return runtime.HealthCheckResult("database", runtime.HealthStatus.DEGRADED)

    checker = HealthChecker()
    checker.register("database", check)
    assert (await checker.check("database")).status is runtime.HealthStatus.DEGRADED
    assert (await checker.check()).status is runtime.HealthStatus.DEGRADED
    with pytest.raises(KeyError):
        await checker.check("absent")


async def test_without_instrumentation_they_work_and_know_nothing() -> None:
    report = await HealthChecker().check()
    assert (report.status, report.is_healthy, report.details) == (runtime.HealthStatus.UNKNOWN, True, {})
    assert MetricsCollector().export_prometheus() == ""
    assert FeedbackCollector().record(request_id="x", rating=5) is FeedbackResult.INACTIVE
    exporter = runtime.InMemoryExporter()
    tracer = Tracer("mine", exporter)
    with tracer.span("work"):
        pass
    tracer.shutdown()
    assert [span.name for span in exporter.get_spans()] == ["work"]


async def test_a_tracer_with_an_endpoint_needs_no_instrumentation_for_spans_of_its_own() -> None:
    with grpc_receiver() as otlp:
        tracer = Tracer(service_name="my-app", endpoint=otlp.endpoint)
        with tracer.span("outer"), tracer.span("inner"):
            pass
        tracer.shutdown()
    (outer,) = (span for span in otlp.spans if span.name == "outer")
    assert otlp.tree(outer.trace_id) == [("inner", "outer"), ("outer", None)]
