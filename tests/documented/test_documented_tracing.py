"""``Tracer`` with an endpoint and ``.tracer(tracer)``: where the spans of a client go."""

# What the runtime itself does not declare.
# mypy: disable-error-code="call-arg, attr-defined"

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from ai_lib_python import AiClient
from ai_lib_python.errors import AiLibError
from ai_lib_python.telemetry import InMemoryExporter, MetricsCollector, SpanKind, SpanStatus, Tracer
from grpc_receiver import GrpcReceiver
from opentelemetry.trace import format_span_id, format_trace_id
from traced import ALL, CALLED, call_once, names, receiving

from in_process import completed, connected
from opentelemetry_instrumentation_ailib import observe
from opentelemetry_instrumentation_ailib.documented.pipe import pipe_of
from provider import body, completion, provider
from recorder import Recorder

otlp = pytest.fixture(receiving)


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


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
async def test_an_endpoint_that_is_none_costs_the_client_nothing_else(instrumented: Recorder) -> None:
    tracer, collector = Tracer(service_name="my-app", endpoint="http://[::1"), MetricsCollector()
    async with provider(body(completion())) as server:
        await call_once(server.base_url, tracer, metrics=collector)
    assert collector.get_snapshot().total_requests == 1
    assert "ai_lib_requests_total" in collector.export_prometheus()
    assert instrumented.names() == ALL


@pytest.mark.usefixtures("instrumented")
async def test_a_builder_may_be_given_by_its_name() -> None:
    builder = AiClient.builder().model("openai/gpt-4o").base_url("http://127.0.0.1:9/v1")
    client = await type(builder).build(self=builder)
    await client.close()
    assert isinstance(client, AiClient)


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


async def test_an_exporter_that_is_taken_away_gets_no_more(instrumented: Recorder) -> None:
    client, exporter = await connected(lambda _: completed()), InMemoryExporter()
    observe(client, tracer=(tracer := Tracer("mine", exporter)))
    await client.chat().user("Hello?").execute()
    tracer.set_exporter(None)  # type: ignore[arg-type]
    await client.chat().user("Hello?").execute()
    assert sorted(span.name for span in exporter.get_spans()) == CALLED
    assert instrumented.names() == ["ai_lib.protocol.load"]


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
def test_nothing_is_opened_before_the_first_span() -> None:
    tracer = Tracer(service_name="my-app", endpoint="http://localhost:4317")
    pipe = pipe_of(tracer)
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
