"""``export_prometheus()``: a client's metrics in Prometheus' text, and everybody else's as before."""

from __future__ import annotations

import gc
import sys
import weakref

import pytest
from ai_lib_python import AiClient
from ai_lib_python.errors import AiLibError
from ai_lib_python.resilience import (
    BackpressureConfig,
    CircuitBreakerConfig,
    CircuitOpenError,
    ResilientConfig,
    RetryConfig,
)
from ai_lib_python.telemetry import MetricsCollector
from collected import CHAT, REFUSED, built, samples
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from opentelemetry_instrumentation_ailib import observe
from promtool import promtool
from provider import body, completion, delta, events, provider
from recorder import Recorder

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


async def test_what_is_told_by_executor_is_the_processs_and_not_the_collectors(instrumented: Recorder) -> None:
    collector = MetricsCollector()
    limits = ResilientConfig(
        circuit_breaker=CircuitBreakerConfig(failure_threshold=1), backpressure=BackpressureConfig(max_concurrent=1)
    )
    async with provider(REFUSED) as server:
        client = await built(server.base_url, collector, with_resilience=limits)
        for refusal in (AiLibError, CircuitOpenError):
            with pytest.raises(refusal):
                await client.chat().user("Hello?").execute()
        await client.close()
    text = collector.export_prometheus()
    exported = {family.name for family in text_string_to_metric_families(text)}
    points = {name: instrumented.points(name) for name in instrumented.metric_names()}
    measured = {name for name in points if any("executor" in labels for labels, _ in points[name])}
    assert measured == {
        "ai_lib.backpressure.in_flight",
        "ai_lib.backpressure.limit",
        "ai_lib.backpressure.wait",
        "ai_lib.circuit_breaker.rejections",
        "ai_lib.circuit_breaker.state",
        "ai_lib.circuit_breaker.transitions",
    }
    assert not [name for name in exported if "breaker" in name or "backpressure" in name]
    errors = samples(text, "ai_lib_errors_total")
    assert sorted(labels["type"] for labels, _ in errors) == ["circuit_open", "server_error"]


async def test_one_collector_serves_several_clients(instrumented: Recorder) -> None:
    collector = MetricsCollector()
    async with provider(body(completion())) as server:
        for _ in range(3):
            client = await built(server.base_url, collector)
            await client.chat().user("Hello?").execute()
            await client.close()
    assert samples(collector.export_prometheus(), "ai_lib_requests_total") == [(CHAT, 3.0)]
    assert collector.get_snapshot().total_requests == 3


class Equal(AiClient):
    """A client that is equal to others."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Equal)

    def __hash__(self) -> int:
        return 1


class Unhashable(Equal):
    """A client that cannot be hashed."""

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("kind", [Equal, Unhashable])
async def test_clients_that_are_equal_have_each_its_collector(kind: type[Equal], instrumented: Recorder) -> None:
    collectors = MetricsCollector(), MetricsCollector()
    async with provider(body(completion())) as server:
        clients = [await built(server.base_url) for _ in collectors]
        for client, collector in zip(clients, collectors, strict=True):
            client.__class__ = kind
            observe(client, metrics=collector)
        await clients[0].chat().user("Hello?").execute()
        for client in clients:
            await client.chat().user("Hello?").execute()
            await client.close()
    assert clients[0] == clients[1]
    assert [collector.get_snapshot().total_requests for collector in collectors] == [2, 1]


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
