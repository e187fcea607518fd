"""The documented API changes nothing of a call but the fields that it says it fills in."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from ai_lib_python import AiClient, telemetry
from opentelemetry import context as otel_context

from differential import STATISTICS, _differences, described
from opentelemetry_instrumentation_ailib import AiLibInstrumentor
from opentelemetry_instrumentation_ailib.documented.statistics import FIELDS
from provider import body, completion, events, provider
from recorder import Recorder


def instrument(recorder: Recorder, **arguments: Any) -> None:
    AiLibInstrumentor().instrument(**recorder.providers, **arguments)


# --- what it changes of calls ---

USAGE = {"input_tokens": 5, "output_tokens": 4}
ANTHROPIC = {"id": "m", "content": [{"type": "text", "text": "Hello"}], "usage": USAGE}
REFUSED = body({"error": {"message": "No."}}, 500)


async def seen(base_url: str, model: str, way: str, retry: bool) -> Any:
    """Make a call and describe what the application gets, to the last attribute."""
    builder = AiClient.builder().model(model).base_url(base_url)
    if retry:
        builder.retry(max_attempts=2, backoff=0.001)
    client = await builder.build()
    request = client.chat().user("Hello?")
    try:
        if way == "stream_with_stats":
            stream, stats = await request.stream_with_stats()
            found: Any = ([event async for event in stream], stats)
        else:
            found = await getattr(request, way)()
    except Exception as error:
        found = error
    await client.close()
    return described([found, vars(builder)])


@pytest.mark.parametrize("way", ["execute", "execute_with_stats", "stream_with_stats"])
@pytest.mark.parametrize("model", ["openai/gpt-4o", "anthropic/claude"])
@pytest.mark.parametrize("retry", [False, True])
async def test_nothing_but_the_listed_fields_differs(way: str, model: str, retry: bool, recorder: Recorder) -> None:
    answer = body(completion() if model == "openai/gpt-4o" else ANTHROPIC)
    answer = events() if way == "stream_with_stats" else answer
    scripts = [REFUSED, answer] if retry else [answer]
    found = []
    async with provider(*scripts) as server:
        for arguments in (None, {"documented_api": False}, {"documented_api": True}):
            server.requests.clear()
            if arguments is not None:
                instrument(recorder, **arguments)
            found.append(await seen(server.base_url, model, way, retry))
            if arguments is not None:
                AiLibInstrumentor().uninstrument()
    without, off, on = found
    assert list(_differences(without, off)) == []
    assert list(_differences(without, on)) == []
    filled = changed(without, on)
    assert filled <= set(FIELDS)
    assert ({"trace_id", "traceparent"} <= filled) is (way != "execute" and not (way == "stream_with_stats" and retry))


def changed(without: Any, on: Any) -> set[str]:
    """Return the fields of call statistics that differ."""
    if isinstance(without, dict) and without.get("kind") == STATISTICS:
        return {json.loads(key.replace("'", '"')) for key in on if key.startswith("'") and on[key] != without.get(key)}
    if isinstance(without, (list, dict)):
        pairs = zip(without, on, strict=True) if isinstance(without, list) else ((without[k], on[k]) for k in without)
        return set().union(*(changed(*pair) for pair in pairs))
    return set()


async def test_a_builder_makes_several_clients_with_telemetry_of_their_own(recorder: Recorder) -> None:
    instrument(recorder)
    collector: Any = telemetry.MetricsCollector()
    async with provider(body(completion())) as server:
        builder: Any = AiClient.builder().model("openai/gpt-4o").base_url(server.base_url)
        assert builder.metrics(collector) is builder
        assert builder.tracer(None) is builder
        clients = [await builder.build(), await builder.build()]
        await asyncio.gather(*(client.chat().user("Hello?").execute() for client in clients))
        for client in clients:
            await client.close()
    AiLibInstrumentor().uninstrument()
    assert collector.get_snapshot().total_requests == 2


async def test_a_creation_that_fails_fails_as_before_and_the_context_is_untouched(recorder: Recorder) -> None:
    instrument(recorder)
    before = otel_context.get_current()
    builder: Any = AiClient.builder().metrics(telemetry.MetricsCollector())  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="Model must be set before building"):
        await builder.build()
    assert otel_context.get_current() is before
    AiLibInstrumentor().uninstrument()
