"""``MetricsCollector``: a client's metrics in Prometheus' text, and everybody else's as before."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import Any

import pytest
from ai_lib_python import AiClient
from ai_lib_python.errors import AiLibError
from ai_lib_python.resilience import ResilientConfig, RetryConfig
from ai_lib_python.telemetry import MetricLabels, MetricsCollector
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from opentelemetry_instrumentation_ailib import AiLibInstrumentor, observe
from promtool import promtool
from provider import body, completion, delta, events, provider
from recorder import Recorder

GPT = MetricLabels(provider="openai", model="gpt-4o")
CHAT = {"provider": "openai", "model": "gpt-4o", "operation": "chat"}
REFUSED = body({"error": {"message": "No."}}, 500)


async def built(base_url: str, collector: Any = None, **options: Any) -> Any:
    """Build a client; options are the builder's methods and their argument."""
    builder = AiClient.builder().model("openai/gpt-4o").base_url(base_url)
    if collector is not None:
        builder = builder.metrics(collector)
    for name, value in options.items():
        getattr(builder, name)(value)
    return await builder.build()


def samples(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    """Return the samples of a name, as Prometheus reads the text."""
    return [
        (dict(sample.labels), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    ]


# --- export_prometheus() ---


async def test_the_calls_of_its_client_are_exported_and_those_of_others_are_not(instrumented: Recorder) -> None:
    collector = MetricsCollector()
    async with provider(body(completion())) as server:
        mine, other = await built(server.base_url, collector), await built(server.base_url)
        await mine.chat().user("Hello?").execute()
        await other.chat().user("Hello?").execute()
        await other.chat().user("Hello?").execute()
        for client in (mine, other):
            await client.close()
    text = collector.export_prometheus()
    assert samples(text, "ai_lib_requests_total") == [(CHAT, 1.0)]
    tokens = [({**CHAT, "type": "input"}, 12.0), ({**CHAT, "type": "output"}, 5.0)]
    assert samples(text, "ai_lib_tokens_total") == tokens
    assert samples(text, "ai_lib_request_duration_seconds_count") == [(CHAT, 1.0)]
    assert instrumented.points("ai_lib.requests") == [(CHAT, 3)]
    assert promtool("check", "metrics", text=text) == ""


async def test_everything_is_recorded_in_both_places_alike(instrumented: Recorder) -> None:
    """Streams, retries, failures: each metric of the application's own is in the text with the same series."""
    collector = MetricsCollector()
    retry = ResilientConfig(retry=RetryConfig(max_retries=1, min_delay_ms=1))
    stream = events(delta("Hel"), delta("lo", finish="stop"))
    async with provider(REFUSED, body(completion()), stream, REFUSED) as server:
        client = await built(server.base_url, collector, with_resilience=retry)
        await client.chat().user("Hello?").execute()
        async for _ in client.chat().user("Hello?").stream():
            pass
        with pytest.raises(AiLibError):
            await client.chat().user("Hello?").execute()
        await client.close()
    text = collector.export_prometheus()
    exported = {family.name for family in text_string_to_metric_families(text)}
    elsewhere = {"ai_lib.provider.health"}  # A gauge of the process, not of a client.
    suffixes = {"s": "_seconds", "{USD}": ""}
    expected = {
        metric.name.replace(".", "_") + suffixes.get(metric.unit or "", "")
        for metric in instrumented._metrics().values()
        if metric.name not in elsewhere
    }
    assert exported == expected
    assert samples(text, "ai_lib_retries_total") == [
        ({"provider": "openai", "model": "gpt-4o", "type": "server_error"}, 2.0)
    ]
    assert samples(text, "ai_lib_errors_total") == [({**CHAT, "type": "server_error", "stage": "http.transport"}, 1.0)]
    assert promtool("check", "metrics", text=text) == ""


async def test_one_collector_serves_several_clients(instrumented: Recorder) -> None:
    collector = MetricsCollector()
    async with provider(body(completion())) as server:
        for _ in range(3):
            client = await built(server.base_url, collector)
            await client.chat().user("Hello?").execute()
            await client.close()
    assert samples(collector.export_prometheus(), "ai_lib_requests_total") == [(CHAT, 3.0)]
    assert collector.get_snapshot().total_requests == 3


async def test_the_creation_of_its_client_is_measured_too(instrumented: Recorder) -> None:
    collector = MetricsCollector()
    client = await built("http://127.0.0.1:9/v1", collector)
    await client.close()
    loaded = {"provider": "openai", "model": "gpt-4o", "operation": "", "stage": "protocol.load"}
    text = collector.export_prometheus()
    assert [{"operation": "", **labels} for labels, _ in samples(text, "ai_lib_stage_duration_seconds_count")] == [
        loaded
    ]
    assert instrumented.counts("ai_lib.stage.duration", "stage") == {"protocol.load": 1}


@pytest.mark.usefixtures("instrumented")
def test_without_a_call_the_text_is_empty() -> None:
    assert MetricsCollector().export_prometheus() == ""


@pytest.mark.usefixtures("instrumented")
async def test_the_text_is_not_in_the_registry_of_the_process() -> None:
    collector = MetricsCollector()
    async with provider(body(completion())) as server:
        client = await built(server.base_url, collector)
        await client.chat().user("Hello?").execute()
        await client.close()
    assert samples(collector.export_prometheus(), "ai_lib_requests_total") == [(CHAT, 1.0)]
    assert [family.name for family in REGISTRY.collect() if family.name.startswith(("ai_lib", "gen_ai"))] == []


@pytest.mark.usefixtures("instrumented")
async def test_a_collector_goes_when_its_client_has_gone() -> None:
    collector = MetricsCollector()
    client = await built("http://127.0.0.1:9/v1", collector)
    assert "ai_lib_stage" in collector.export_prometheus()
    await client.close()
    known = weakref.ref(collector)
    del client, collector
    gc.collect()
    assert known() is None


@pytest.fixture
def no_prometheus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the extra away."""
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.prometheus", None)


@pytest.mark.usefixtures("no_prometheus")
async def test_without_the_extra_only_export_prometheus_says_so(instrumented: Recorder) -> None:
    collector = MetricsCollector()
    async with provider(body(completion())) as server:
        client = await built(server.base_url, collector)
        await client.chat().user("Hello?").execute()
        await client.close()
    assert collector.get_snapshot().total_requests == 1
    assert instrumented.points("ai_lib.requests") == [(CHAT, 1)]
    with pytest.raises(
        ImportError,
        match=r"needs the extra 'prometheus': pip install 'opentelemetry-instrumentation-ailib\[prometheus\]'$",
    ):
        collector.export_prometheus()


# --- get_snapshot() and the rest of the runtime's own ---


@pytest.mark.usefixtures("instrumented")
async def test_the_snapshot_reflects_the_calls_in_the_runtimes_own_terms() -> None:
    collector = MetricsCollector()
    seen: list[tuple[str, dict[str, Any]]] = []
    collector.add_callback(lambda kind, data: seen.append((kind, data)))
    retry = ResilientConfig(retry=RetryConfig(max_retries=1, min_delay_ms=1))
    async with provider(REFUSED, body(completion()), REFUSED) as server:
        client = await built(server.base_url, collector, with_resilience=retry)
        await client.chat().user("Hello?").execute()
        with pytest.raises(AiLibError):
            await client.chat().user("Hello?").execute()
        await client.close()
    snapshot = collector.get_snapshot(GPT)
    assert (snapshot.total_requests, snapshot.successful_requests, snapshot.failed_requests) == (2, 1, 1)
    assert (snapshot.total_tokens_in, snapshot.total_tokens_out, snapshot.retry_count) == (12, 5, 2)
    assert len(snapshot.latency_samples) == 2
    assert 0 < snapshot.latency_p50_ms < 60_000
    assert collector.get_snapshot() == snapshot
    assert collector.get_all_labels() == [GPT]
    assert [kind for kind, _ in seen] == ["retry", "request", "retry", "request"]
    assert [data["status"] for kind, data in seen if kind == "request"] == ["success", "error"]


@pytest.mark.usefixtures("instrumented")
async def test_a_model_with_the_collectors_own_signs_leaves_its_labels_readable() -> None:
    collector = MetricsCollector()
    async with provider(body(completion())) as server:
        client = await AiClient.builder().model("openai/a=b,c").base_url(server.base_url).metrics(collector).build()
        await client.chat().user("Hello?").execute()
        await client.close()
    assert collector.get_all_labels() == [MetricLabels(provider="openai", model="a_b_c")]


@pytest.mark.usefixtures("instrumented")
async def test_a_callback_that_raises_changes_no_call() -> None:
    collector = MetricsCollector()

    def callback(kind: str, data: dict[str, Any]) -> None:
        raise ValueError(kind)

    collector.add_callback(callback)
    async with provider(body(completion())) as server:
        client = await built(server.base_url, collector)
        assert (await client.chat().user("Hello?").execute()).content == "Hello"
        await client.close()
    assert collector.get_snapshot().total_requests == 1


async def test_a_collector_that_is_none_is_reported_and_changes_no_call(
    instrumented: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry_instrumentation_ailib import guard

    sites: list[str] = []
    monkeypatch.setattr(guard, "report_fault", lambda site, *, first: sites.append(site))
    async with provider(body(completion())) as server:
        client = await built(server.base_url, "no collector")
        assert (await client.chat().user("Hello?").execute()).content == "Hello"
        await client.close()
    assert sites == ["opentelemetry_instrumentation_ailib.documented.clients._bundle"]
    assert instrumented.points("ai_lib.requests") == [(CHAT, 1)]


# --- observe() ---


async def test_a_client_that_exists_is_observed_from_its_next_call(instrumented: Recorder) -> None:
    collector = MetricsCollector()
    async with provider(body(completion())) as server:
        client = await built(server.base_url)
        await client.chat().user("Hello?").execute()
        observe(client, metrics=collector)
        await client.chat().user("Hello?").execute()
        await client.close()
    assert samples(collector.export_prometheus(), "ai_lib_requests_total") == [(CHAT, 1.0)]
    assert instrumented.points("ai_lib.requests") == [(CHAT, 2)]


async def test_two_collectors_can_observe_one_client(instrumented: Recorder) -> None:
    first, second = MetricsCollector(), MetricsCollector()
    async with provider(body(completion())) as server:
        client = await built(server.base_url, first)
        observe(client, metrics=second)
        await client.chat().user("Hello?").execute()
        await client.close()
    for collector in (first, second):
        assert samples(collector.export_prometheus(), "ai_lib_requests_total") == [(CHAT, 1.0)]
    assert instrumented.points("ai_lib.requests") == [(CHAT, 1)]


async def test_observe_does_nothing_where_nothing_is_instrumented(recorder: Recorder) -> None:
    collector = MetricsCollector()
    async with provider(body(completion())) as server:
        client = await built(server.base_url)
        observe(client, metrics=collector)
        AiLibInstrumentor().instrument(**recorder.providers)
        await client.chat().user("Hello?").execute()
        AiLibInstrumentor().uninstrument()
        await client.close()
    assert collector.get_snapshot().total_requests == 0
    assert recorder.points("ai_lib.requests") == [(CHAT, 1)]
