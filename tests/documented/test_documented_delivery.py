"""How spans get to a tracer's endpoint, and what happens when they do not."""

# What the runtime itself does not declare.
# mypy: disable-error-code="call-arg, attr-defined"

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from unittest.mock import Mock

import grpc  # type: ignore[import-untyped]
import pytest
from ai_lib_python.telemetry import Tracer
from grpc_receiver import GrpcReceiver, grpc_receiver
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import SpanExportResult
from traced import ALL, LOGGER, TLS, call_once, deserted, names, receiving

from opentelemetry_instrumentation_ailib.documented import delivery
from opentelemetry_instrumentation_ailib.documented import pipe as pipes
from provider import body, completion, provider
from recorder import Recorder

otlp = pytest.fixture(receiving)
nowhere = pytest.fixture(deserted)

LONG = 60
"""Seconds that would pass, on however busy a machine, if nothing cut them short."""


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
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", str(LONG))
    tracer = Tracer(service_name="my-app", endpoint=nowhere.replace("//", "//user:secret@"))
    pipe = pipes.pipe_of(tracer)
    assert pipe is not None
    async with provider(body(completion())) as server:
        for _ in range(3):
            await call_once(server.base_url, tracer)
            assert pipe._provider is not None
            assert await asyncio.to_thread(pipe._provider.force_flush)
    began = time.monotonic()
    tracer.shutdown()
    assert time.monotonic() - began < LONG
    assert [(record.name, record.levelno, record.getMessage()) for record in caplog.records if record.levelno > 20] == [
        (
            LOGGER,
            logging.WARNING,
            f"Spans cannot be delivered to {nowhere[7:]} (UNAVAILABLE) and are dropped (reported once)",
        )
    ]
    assert [value for _, value in instrumented.points("ai_lib.requests")] == [3]


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
def test_what_the_sdk_refuses_is_refused_once_and_leaves_nothing_open(
    instrumented: Recorder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    filters = list(logging.getLogger(delivery._EXPORTER_LOGGER).filters)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1")  # Less than a batch.
    monkeypatch.setattr(pipes, "_exporter", counting := Mock(side_effect=pipes._exporter))
    tracer = Tracer(service_name="my-app", endpoint="http://localhost:4317")
    for _ in range(3):
        with tracer.span("mine"):
            pass
    counting.assert_called_once_with("http://localhost:4317")
    assert "ai-lib-delivery" not in [thread.name for thread in threading.enumerate()]
    assert logging.getLogger(delivery._EXPORTER_LOGGER).filters == filters
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
    assert instrumented.names() == []
    tracer.shutdown()


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ("http://me:secret@collector:4317/v1?key=secret", "collector:4317"),
        ("collector:4317", "collector:4317"),
        ("unix:///run/otlp.sock", "/run/otlp.sock"),
        ("", "the endpoint of the OTEL_EXPORTER_OTLP_ variables"),
        (None, "the endpoint of the OTEL_EXPORTER_OTLP_ variables"),
    ],
)
def test_an_endpoint_is_told_by_its_address(endpoint: str | None, said: str) -> None:
    assert pipes._address(endpoint) == said


@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
async def test_an_endpoint_that_comes_back_and_goes_is_said_again(
    instrumented: Recorder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_PAUSES", ())
    with grpc_receiver(grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE) as otlp:
        tracer = Tracer(service_name="my-app", endpoint=otlp.endpoint)
        pipe = pipes.pipe_of(tracer)
        for _ in range(3):
            with tracer.span("mine"):
                pass
            assert pipe is not None
            assert pipe._provider is not None
            await asyncio.to_thread(pipe._provider.force_flush)
    with tracer.span("mine"):
        pass
    tracer.shutdown()
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.name for record in warnings] == [LOGGER, LOGGER]
    where = otlp.endpoint.removeprefix("http://")
    assert [record.getMessage() for record in warnings] == [
        f"Spans cannot be delivered to {where} ({status}) and are dropped (reported once)"
        for status in ("UNAUTHENTICATED", "UNAVAILABLE")
    ]


@pytest.mark.noisy("opentelemetry", "opentelemetry_instrumentation_ailib")
@pytest.mark.usefixtures("instrumented")
def test_failures_of_the_applications_exporter_are_heard_beside_those_of_a_tracer(
    nowhere: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_PAUSES", ())
    theirs = logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter")
    for each in theirs.filters:  # One takes what repeats itself, of other tests too.
        monkeypatch.setattr(each, "last_log", None, raising=False)
    tracer = Tracer(service_name="my-app", endpoint=nowhere)
    with tracer.span("mine"):
        pass
    tracer.shutdown()
    application = OTLPSpanExporter(endpoint=nowhere, retryable_error_codes=(grpc.StatusCode.OK,))
    assert application.export([]) is SpanExportResult.FAILURE
    application.shutdown()
    assert [record.name for record in caplog.records if record.levelno >= logging.WARNING] == [LOGGER, theirs.name]


PROGRAM = """
import asyncio, os, time
from opentelemetry_instrumentation_ailib import AiLibInstrumentor
AiLibInstrumentor().instrument()
from ai_lib_python import AiClient
from ai_lib_python.telemetry import Tracer
from opentelemetry_instrumentation_ailib.documented import delivery

delivery._GRACE = float(os.environ["GRACE"])

async def main():
    tracer = Tracer(service_name="my-app", endpoint=os.environ["ENDPOINT"])
    builder = AiClient.builder().model("openai/gpt-4o").base_url(os.environ["BASE_URL"])
    client = await builder.tracer(tracer).build()
    print((await client.chat().user("Hello?").execute()).content)
    await client.close()

asyncio.run(main())
print(time.monotonic())
"""


def run(base_url: str, endpoint: str, grace: float) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run a program that makes one call, and return how long it took to end when it had come to its end.

    Args:
        base_url: Where the call goes.
        endpoint: Where its spans go.
        grace: Seconds that the end waits for them; the exporter would wait for a long time.
    """
    plain = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={
            **plain,
            "BASE_URL": base_url,
            "ENDPOINT": endpoint,
            "GRACE": str(grace),
            "OTEL_EXPORTER_OTLP_TIMEOUT": str(LONG),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=3 * LONG,
        check=False,
    )
    ended = time.monotonic()
    assert done.returncode == 0
    answer, finished = done.stdout.splitlines()
    assert answer == "Mock response from ai-protocol-mock"
    return done, ended - float(finished)


def test_spans_are_delivered_when_the_program_ends(mock: str, otlp: GrpcReceiver) -> None:
    done, _ = run(mock, otlp.endpoint, LONG)
    assert done.stderr == ""
    assert names(otlp) == ALL


def test_a_program_ends_at_once_when_nobody_is_at_its_endpoint(mock: str, nowhere: str) -> None:
    done, lasted = run(mock, nowhere, LONG)
    assert done.stderr == f"Spans cannot be delivered to {nowhere[7:]} (UNAVAILABLE) and are dropped (reported once)\n"
    assert lasted < LONG


def forked(program: str, otlp: GrpcReceiver) -> str:
    """Run a program that forks, and return what it and its children print."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env={**os.environ, "ENDPOINT": otlp.endpoint},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


FORKING = """
import os, threading
from opentelemetry_instrumentation_ailib import AiLibInstrumentor
AiLibInstrumentor().instrument()
from ai_lib_python.telemetry import Tracer

def fork():
    child = os.fork()
    if not child:
        print([thread.name for thread in threading.enumerate() if thread.name == "ai-lib-delivery"], flush=True)
        os._exit(0)
    os.waitpid(child, 0)

tracer = Tracer(service_name="my-app", endpoint=os.environ["ENDPOINT"])
with tracer.span("mine"):
    pass
fork()
tracer.shutdown()
fork()
"""


def test_a_forked_child_has_what_lets_it_end_soon(otlp: GrpcReceiver) -> None:
    assert forked(FORKING, otlp).splitlines() == ["['ai-lib-delivery']", "[]"]


def test_however_many_tracers_there_were_a_fork_is_told_of_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a fork calls it calls for good."""
    pipes._expect_forks.cache_clear()
    register = Mock()
    monkeypatch.setattr(os, "register_at_fork", register)
    kept = [pipes.Pipe("my-app", "http://127.0.0.1:1") for _ in range(3)]
    register.assert_called_once_with(after_in_child=pipes._begin_anew)
    assert set(kept) <= set(pipes._pipes)


FORKED_MEANWHILE = """
import os, signal, threading
from opentelemetry_instrumentation_ailib import AiLibInstrumentor
from opentelemetry_instrumentation_ailib.documented import pipe
AiLibInstrumentor().instrument()
from ai_lib_python.telemetry import Tracer

opening, forked, exporter = threading.Event(), threading.Event(), pipe._exporter

def slow(endpoint):
    opening.set()
    forked.wait()
    return exporter(endpoint)

def use():
    with tracer.span("mine"):
        pass

tracer = Tracer(service_name="my-app", endpoint=os.environ["ENDPOINT"])
pipe._exporter = slow
thread = threading.Thread(target=use)
thread.start()
opening.wait()
child = os.fork()
forked.set()
if not child:
    signal.alarm(10)
    use()
    tracer.shutdown()
    os._exit(0)
thread.join()
print(os.waitpid(child, 0)[1])
"""


def test_a_child_that_is_forked_while_a_tracer_connects_waits_for_nobody(otlp: GrpcReceiver) -> None:
    assert forked(FORKED_MEANWHILE, otlp) == "0\n"


def test_a_program_ends_soon_when_its_endpoint_says_nothing(mock: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        _, lasted = run(mock, f"http://127.0.0.1:{silent.getsockname()[1]}", delivery._GRACE)
    assert delivery._GRACE <= lasted < LONG
