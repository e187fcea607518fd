"""``get_snapshot()`` reflects a collector's clients, also those that ``observe()`` gives it later."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import weakref
from typing import Any

import pytest
from ai_lib_python import AiClient
from ai_lib_python.errors import AiLibError
from ai_lib_python.resilience import ResilientConfig, RetryConfig
from ai_lib_python.telemetry import MetricLabels, MetricsCollector
from collected import CHAT, GPT, REFUSED, built, samples

from opentelemetry_instrumentation_ailib import AiLibInstrumentor, observe
from provider import body, completion, provider
from recorder import Recorder

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
    monkeypatch.setattr(guard, "report_fault", lambda site, *_, first: sites.append(site))
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


async def test_what_a_collector_observes_already_it_is_not_told_twice(instrumented: Recorder) -> None:
    collector = MetricsCollector()
    async with provider(body(completion())) as server:
        client = await built(server.base_url, collector)
        for _ in range(2_000):
            observe(client, metrics=collector)
        await client.chat().user("Hello?").execute()
        await client.close()
    assert samples(collector.export_prometheus(), "ai_lib_requests_total") == [(CHAT, 1.0)]
    assert collector.get_snapshot().total_requests == 1
    assert instrumented.points("ai_lib.requests") == [(CHAT, 1)]


@pytest.mark.usefixtures("instrumented")
async def test_a_client_that_its_collector_leads_back_to_goes_with_it() -> None:
    collector = MetricsCollector()
    client = await built("http://127.0.0.1:9/v1", collector)
    collector.add_callback(lambda *_, application=client: application)
    await client.close()
    gone = weakref.ref(client)
    del client, collector
    gc.collect()
    assert gone() is None


async def test_a_client_with_a_collector_is_copied_and_pickled_and_its_copies_have_none(instrumented: Recorder) -> None:
    collector = MetricsCollector()
    async with provider(body(completion())) as server:
        client = await built(server.base_url, collector)
        for each in (copy.copy(client), copy.deepcopy(client), pickle.loads(pickle.dumps(client))):  # noqa: S301
            await each.chat().user("Hello?").execute()
            await each.close()
        await client.close()
    assert b"opentelemetry" not in pickle.dumps(client)
    assert collector.get_snapshot().total_requests == 0
    assert instrumented.points("ai_lib.requests") == [(CHAT, 3)]


async def test_a_copy_of_a_client_keeps_no_collector_when_the_round_is_over(recorder: Recorder) -> None:
    AiLibInstrumentor().instrument(**recorder.providers)
    collector = MetricsCollector()
    client = await built("http://127.0.0.1:9/v1", collector)
    kept = copy.copy(client)
    AiLibInstrumentor().uninstrument()
    gone = weakref.ref(collector)
    await client.close()
    del client, collector
    gc.collect()
    assert gone() is None
    await kept.close()


async def test_a_client_that_is_built_when_the_round_ends_keeps_nothing_of_it(recorder: Recorder) -> None:
    AiLibInstrumentor().instrument(**recorder.providers)
    building = asyncio.ensure_future(built("http://127.0.0.1:9/v1", MetricsCollector()))
    await asyncio.sleep(0)
    AiLibInstrumentor().uninstrument()
    client = await building
    assert [name for name in vars(client) if "bundle" in name] == []
    await client.close()


async def test_a_client_keeps_nothing_of_a_round_that_is_over(recorder: Recorder) -> None:
    client = await built("http://127.0.0.1:9/v1")
    before = dict(vars(client))
    AiLibInstrumentor().instrument(**recorder.providers)
    observe(client, metrics=MetricsCollector())
    assert vars(client) != before
    AiLibInstrumentor().uninstrument()
    assert vars(client) == before
    await client.close()


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
