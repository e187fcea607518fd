"""``Tracer`` with a service name and an endpoint, and ``.tracer(tracer)``: where the spans of a client go."""

# What the runtime itself does not declare.
# mypy: disable-error-code="call-arg, attr-defined"

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest
from ai_lib_python import AiClient
from ai_lib_python.errors import AiLibError
from ai_lib_python.telemetry import InMemoryExporter, SpanKind, SpanStatus, Tracer
from grpc_receiver import GrpcReceiver, grpc_receiver
from opentelemetry.trace import format_span_id, format_trace_id

from differential import _transports
from opentelemetry_instrumentation_ailib.documented import delivery
from provider import body, completion, provider
from recorder import Recorder

CREATED = ["ai_lib.protocol.load"]
CALLED = ["ai_lib.http.transport", "ai_lib.pipeline.process", "ai_lib.request.compile", "chat gpt-4o"]
ALL = sorted(CREATED + CALLED)
TLS = Path(__file__).resolve().with_name("tls")
"""A certificate for localhost, and its key, which guards nothing."""
LOGGER = "opentelemetry_instrumentation_ailib.documented.delivery"


@pytest.fixture
def otlp() -> Iterator[GrpcReceiver]:
    """An OTLP/gRPC receiver."""
    with grpc_receiver() as received:
        yield received


@pytest.fixture
def nowhere() -> str:
    """An endpoint at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


async def call_once(base_url: str, tracer: Any, **options: Any) -> None:
    """Build a client with a tracer, make one call, and close it and what a fallback opened."""
    with _transports() as transports:
        builder = AiClient.builder().model("openai/gpt-4o").base_url(base_url).tracer(tracer)
        for name, value in options.items():
            getattr(builder, name)(value)
        client = await builder.build()
        try:
            await client.chat().user("Hello?").execute()
        finally:
            for transport in transports:
                await transport.close()


def names(received: GrpcReceiver) -> list[str]:
    """Return the names of the spans that arrived, sorted."""
    return sorted(span.name for span in received.spans)


# --- where spans go ---


async def test_the_spans_of_its_client_go_to_the_endpoint_and_nowhere_else(
    instrumented: Recorder, otlp: GrpcReceiver
) -> None:
    tracer = Tracer(service_name="my-app", endpoint=otlp.endpoint)
    async with provider(body(completion())) as server:
        await call_once(server.base_url, tracer)
    tracer.shutdown()
    assert names(otlp) == ALL
    assert {span.resource["service.name"] for span in otlp.spans} == {"my-app"}
    assert instrumented.names() == []
    assert [value for _, value in instrumented.points("ai_lib.requests")] == [1]


async def test_other_clients_spans_stay_where_they_were(instrumented: Recorder, otlp: GrpcReceiver) -> None:
    tracer = Tracer(service_name="my-app", endpoint=otlp.endpoint)
    async with provider(body(completion())) as server:
        await call_once(server.base_url, None)
        await call_once(server.base_url, tracer)
    tracer.shutdown()
    assert names(otlp) == ALL
    assert instrumented.names() == ALL


async def test_a_fallbacks_manifest_is_loaded_in_the_clients_trace(instrumented: Recorder, otlp: GrpcReceiver) -> None:
    tracer = Tracer(service_name="my-app", endpoint=otlp.endpoint)
    async with provider(body({"error": {"message": "No."}}, 500), body(completion())) as server:
        await call_once(server.base_url, tracer, with_fallbacks=["anthropic/claude"])
    tracer.shutdown()
    assert instrumented.names() == []
    (call,) = (span for span in otlp.spans if span.name == "chat gpt-4o")
    assert ("ai_lib.protocol.load", "chat gpt-4o") in otlp.tree(call.trace_id)


async def test_a_creation_that_fails_is_told_to_the_endpoint(
    instrumented: Recorder, otlp: GrpcReceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "v1" / "providers").mkdir(parents=True)
    (tmp_path / "v1" / "providers" / "openai.yaml").write_text("id: [")
    monkeypatch.setenv("AI_PROTOCOL_DIR", str(tmp_path))
    tracer = Tracer(service_name="my-app", endpoint=otlp.endpoint)
    with pytest.raises(AiLibError):
        await AiClient.builder().model("openai/gpt-4o").tracer(tracer).build()
    tracer.shutdown()
    assert [(span.name, span.status) for span in otlp.spans] == [("ai_lib.protocol.load", 2)]
    assert instrumented.names() == []


async def test_the_applications_span_is_the_parent(instrumented: Recorder, otlp: GrpcReceiver) -> None:
    tracer = Tracer(service_name="my-app", endpoint=otlp.endpoint)
    application = instrumented.tracer_provider.get_tracer("shop")
    async with provider(body(completion())) as server:
        with application.start_as_current_span("POST /chat") as request:
            await call_once(server.base_url, tracer)
    tracer.shutdown()
    context = request.get_span_context()
    (call,) = (span for span in otlp.spans if span.name == "chat gpt-4o")
    assert (call.trace_id, call.parent_id) == (format_trace_id(context.trace_id), format_span_id(context.span_id))


async def test_one_of_opentelemetrys_tracers_is_taken_as_it_is(instrumented: Recorder) -> None:
    other = Recorder()
    async with provider(body(completion())) as server:
        await call_once(server.base_url, other.tracer_provider.get_tracer("mine"))
    assert other.names() == ALL
    assert instrumented.names() == []


async def test_a_tracer_with_neither_endpoint_nor_exporter_changes_nothing(instrumented: Recorder) -> None:
    async with provider(body(completion())) as server:
        await call_once(server.base_url, Tracer("mine"))
    assert instrumented.names() == ALL


async def test_the_runtimes_own_exporter_gets_its_clients_spans_as_the_runtimes_own(instrumented: Recorder) -> None:
    exporter = InMemoryExporter()
    async with provider(body({"error": {"message": "No."}}, 500)) as server:
        with pytest.raises(AiLibError):
            await call_once(server.base_url, Tracer("mine", exporter))
    assert instrumented.names() == []
    spans = {span.name: span for span in exporter.get_spans()}
    assert sorted(spans) == ["ai_lib.http.transport", "ai_lib.protocol.load", "ai_lib.request.compile", "chat gpt-4o"]
    call, sent = spans["chat gpt-4o"], spans["ai_lib.http.transport"]
    assert (call.kind, call.status, call.parent_context) == (SpanKind.CLIENT, SpanStatus.ERROR, None)
    assert call.attributes["error.type"] == "server_error"
    assert (sent.trace_id, sent.parent_context) == (call.trace_id, call.context)
    assert call.start_time <= sent.start_time <= sent.end_time <= call.end_time
    assert call.to_dict()["name"] == "chat gpt-4o"


# --- how they get there ---


async def test_headers_and_compression_come_from_the_standard_variables(
    instrumented: Recorder, otlp: GrpcReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=shop")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    tracer = Tracer(service_name="my-app", endpoint=otlp.endpoint)
    async with provider(body(completion())) as server:
        await call_once(server.base_url, tracer)
    tracer.shutdown()
    assert names(otlp) == ALL
    assert otlp.metadata[0]["x-tenant"] == "shop"


async def test_without_an_endpoint_the_standard_variable_says_where(
    instrumented: Recorder, otlp: GrpcReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", otlp.endpoint)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "another")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    tracer = Tracer(service_name="my-app")
    async with provider(body(completion())) as server:
        await call_once(server.base_url, tracer)
    tracer.shutdown()
    assert names(otlp) == ALL
    resource = otlp.spans[0].resource
    assert (resource["service.name"], resource["deployment.environment.name"]) == ("my-app", "test")


async def test_tls_comes_from_the_standard_variables(instrumented: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(TLS / "localhost.pem"))
    pair = (TLS / "localhost.key").read_bytes(), (TLS / "localhost.pem").read_bytes()
    with grpc_receiver(credentials=grpc.ssl_server_credentials([pair])) as otlp:
        tracer = Tracer(service_name="my-app", endpoint=otlp.endpoint)
        async with provider(body(completion())) as server:
            await call_once(server.base_url, tracer)
        tracer.shutdown()
        assert names(otlp) == ALL


async def test_a_batch_that_is_refused_is_tried_again(instrumented: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_PAUSES", (0.01, 0.01))
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    with grpc_receiver(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED) as otlp:
        tracer = Tracer(service_name="my-app", endpoint=otlp.endpoint)
        with tracer.span("mine"):
            pass
        await asyncio.to_thread(otlp.wait_for, lambda: otlp.spans)
        tracer.shutdown()
    assert names(otlp) == ["mine"]
    assert len(otlp.metadata) == 3


# --- an endpoint that cannot be reached ---


@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
async def test_an_endpoint_that_cannot_be_reached_is_said_once_and_no_call_waits_for_it(
    instrumented: Recorder, nowhere: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_PAUSES", (0.01, 0.01))
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    tracer = Tracer(service_name="my-app", endpoint=nowhere.replace("//", "//user:secret@"))
    pipe = delivery.pipe_of(tracer)
    assert pipe is not None
    async with provider(body(completion())) as server:
        for _ in range(3):
            await call_once(server.base_url, tracer)
            assert pipe._provider is not None
            assert await asyncio.to_thread(pipe._provider.force_flush)
    began = time.monotonic()
    tracer.shutdown()
    assert time.monotonic() - began < 2
    assert [(record.name, record.levelno, record.getMessage()) for record in caplog.records if record.levelno > 20] == [
        (
            LOGGER,
            logging.WARNING,
            f"Spans cannot be delivered to {nowhere[7:]} and are dropped (reported once)",
        )
    ]
    assert [value for _, value in instrumented.points("ai_lib.requests")] == [3]


@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
async def test_an_endpoint_that_comes_back_and_goes_is_said_again(
    instrumented: Recorder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_PAUSES", ())
    refused = grpc.StatusCode.UNAVAILABLE
    with grpc_receiver(refused, refused) as otlp:
        tracer = Tracer(service_name="my-app", endpoint=otlp.endpoint)
        pipe = delivery.pipe_of(tracer)
        for _ in range(3):
            with tracer.span("mine"):
                pass
            assert pipe is not None
            assert pipe._provider is not None
            await asyncio.to_thread(pipe._provider.force_flush)
    with tracer.span("mine"):
        pass
    tracer.shutdown()
    assert [record.name for record in caplog.records if record.levelno >= logging.WARNING] == [LOGGER, LOGGER]


PROGRAM = """
import asyncio, os, sys
from opentelemetry_instrumentation_ailib import AiLibInstrumentor
AiLibInstrumentor().instrument()
from ai_lib_python import AiClient
from ai_lib_python.telemetry import Tracer

async def main():
    tracer = Tracer(service_name="my-app", endpoint=os.environ["ENDPOINT"])
    builder = AiClient.builder().model("openai/gpt-4o").base_url(os.environ["BASE_URL"])
    client = await builder.tracer(tracer).build()
    print((await client.chat().user("Hello?").execute()).content)
    await client.close()

asyncio.run(main())
"""


def run(base_url: str, endpoint: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run a program that makes one call and ends, and return how long that took."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**plain, "BASE_URL": base_url, "ENDPOINT": endpoint},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done, time.monotonic() - began


def test_spans_are_delivered_when_the_program_ends(mock: str, otlp: GrpcReceiver) -> None:
    done, _ = run(mock, otlp.endpoint)
    assert (done.returncode, done.stderr) == (0, "")
    assert names(otlp) == ALL


def test_a_program_ends_at_once_when_its_endpoint_cannot_be_reached(
    mock: str, nowhere: str, otlp: GrpcReceiver
) -> None:
    _, usual = run(mock, otlp.endpoint)
    done, lasted = run(mock, nowhere)
    assert (done.returncode, done.stdout) == (0, "Mock response from ai-protocol-mock\n")
    assert done.stderr == f"Spans cannot be delivered to {nowhere[7:]} and are dropped (reported once)\n"
    assert lasted < usual + 3


def test_a_program_ends_soon_when_its_endpoint_says_nothing(mock: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done, lasted = run(mock, f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert (done.returncode, done.stdout) == (0, "Mock response from ai-protocol-mock\n")
    assert lasted < 9  # The exporter's own timeout is ten seconds.


async def test_after_shutdown_spans_are_dropped_and_calls_work(instrumented: Recorder, otlp: GrpcReceiver) -> None:
    tracer = Tracer(service_name="my-app", endpoint=otlp.endpoint)
    async with provider(body(completion())) as server:
        await call_once(server.base_url, tracer)
        tracer.shutdown()
        tracer.shutdown()
        await call_once(server.base_url, tracer)
    assert names(otlp) == ALL
    assert instrumented.names() == []


# --- the constructor ---


@pytest.mark.usefixtures("instrumented")
def test_nothing_is_opened_before_the_first_span(nowhere: str) -> None:
    tracer = Tracer(service_name="my-app", endpoint=nowhere)
    pipe = delivery.pipe_of(tracer)
    assert pipe is not None
    assert pipe._provider is None
    tracer.shutdown()


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize(
    ("arguments", "keywords", "name"),
    [
        ((), {"service_name": "my-app", "endpoint": "http://localhost:4317"}, "my-app"),
        ((), {"service_name": "my-app"}, "my-app"),
        ((), {"endpoint": "http://localhost:4317"}, "ai_lib_python"),
        (("mine",), {"endpoint": "http://localhost:4317"}, "mine"),
        ((), {"name": "mine", "service_name": "my-app"}, "mine"),
        (("mine", None), {}, "mine"),
        ((), {"name": "mine", "exporter": None}, "mine"),
    ],
)
def test_what_a_tracer_is_called(arguments: Any, keywords: Any, name: str) -> None:
    assert Tracer(*arguments, **keywords).name == name


@pytest.mark.usefixtures("instrumented")
def test_the_runtimes_own_complaint_stays() -> None:
    with pytest.raises(TypeError, match="name"):
        Tracer()


@pytest.mark.usefixtures("instrumented")
def test_without_the_extra_a_tracer_with_an_endpoint_says_so_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str, package: str | None = None) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib.util, "find_spec", absent)
    with pytest.raises(
        ImportError,
        match=r"needs the extra 'otlp': pip install 'opentelemetry-instrumentation-ailib\[otlp\]'$",
    ):
        Tracer(service_name="my-app", endpoint="http://localhost:4317")
    assert Tracer("mine").name == "mine"
