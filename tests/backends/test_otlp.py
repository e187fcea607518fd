"""What is sent by OTLP through a collector that is not ours arrives as it was sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from collector import collector
from sender import Sender

from provider import body as answer
from provider import completion, delta, events, provider
from receiver import Receiver

CALL = "chat gpt-4o"
STAGES = [(f"ai_lib.{stage}", CALL) for stage in ("http.transport", "pipeline.process", "request.compile")]
USAGE = {"usage": {"prompt_tokens": 12, "completion_tokens": 5}}


class Sent:
    """What was sent, and what arrived at the far end of the collector."""

    def __init__(self, sender: Sender, received: Receiver) -> None:
        self.sender = sender
        self.received = received


@pytest.fixture(params=["grpc", "http"])
async def sent(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Sent]:
    """Two users of the service, one for a chat and one for a stream, through a collector."""
    with collector(tmp_path / "rotel") as (ports, received):
        sender = Sender(request.param, ports.endpoint(request.param))
        scripts = answer(completion()), events(delta("Hel"), delta("lo", finish="stop", **USAGE))
        async with provider(*scripts) as model:
            with sender.instrumented():
                async with sender.service(model.base_url) as user:
                    assert (await user.get("/chat")).json() == "Hello"
                    assert (await user.get("/stream")).text == "Hello"
        sender.flush()
        received.wait_for(lambda: len(received.spans) >= len(sender.spans()) and received.points)
        yield Sent(sender, received)
        sender.shutdown()


def attributes(values: Any) -> dict[str, Any]:
    """Return attributes as OTLP has them, where every sequence is an array."""
    return {key: tuple(value) if isinstance(value, (list, tuple)) else value for key, value in (values or {}).items()}


async def test_every_span_arrives_as_it_was_sent(sent: Sent) -> None:
    def of(identifier: int, digits: int) -> str:
        return f"{identifier:0{digits}x}"

    expected = {
        of(span.context.span_id, 16): (
            span.name,
            of(span.context.trace_id, 32),
            of(span.parent.span_id, 16) if span.parent else "",
            span.kind.value + 1,
            span.status.status_code.value,
            span.instrumentation_scope.name if span.instrumentation_scope else None,
            attributes(span.attributes),
            tuple((event.name, attributes(event.attributes)) for event in span.events),
            (span.start_time, span.end_time),
        )
        for span in sent.sender.spans()
    }
    found = {
        span.span_id: (
            span.name,
            span.trace_id,
            span.parent_id,
            span.kind,
            span.status,
            span.scope,
            span.attributes,
            span.events,
            (span.start, span.end),
        )
        for span in sent.received.spans
    }
    assert found == expected


async def test_each_user_has_one_trace_through_three_instrumentations(sent: Sent) -> None:
    roots = {span.name: span.trace_id for span in sent.received.spans if not span.parent_id and span.kind == 2}
    assert sorted(roots) == ["GET /chat", "GET /stream"]
    below = [("GET /chat", None), (CALL, "GET /chat"), *STAGES, ("POST", "ai_lib.http.transport")]
    assert sent.received.tree(roots["GET /chat"]) == sorted(below, key=str)
    below = [("GET /stream", None), (CALL, "GET /stream"), *STAGES, ("ai_lib.event.map", CALL)]
    assert sent.received.tree(roots["GET /stream"]) == sorted([*below, ("POST", "ai_lib.http.transport")], key=str)


async def test_every_metric_arrives_as_it_was_measured(sent: Sent) -> None:
    names = {name for name in sent.sender.metric_names() if name.startswith(("ai_lib.", "gen_ai."))}
    assert {"ai_lib.requests", "ai_lib.tokens", "gen_ai.client.operation.duration"} <= names
    for name in names:
        found = sorted(sent.received.last(name), key=str)
        assert found == sorted(((attributes(labels), value) for labels, value in sent.sender.points(name)), key=str)


async def test_exemplars_lead_from_a_measurement_to_its_trace(sent: Sent) -> None:
    calls = {span.trace_id for span in sent.received.spans if span.name == CALL}
    (duration,) = (point for point in sent.received.points if point.name == "ai_lib.request.duration")
    assert duration.exemplar_traces
    assert duration.exemplar_traces <= calls


async def test_every_log_record_arrives_in_its_trace(sent: Sent) -> None:
    def of(record: Any) -> Any:
        body, scope = record.log_record.body, record.instrumentation_scope.name
        return scope, body, attributes(record.log_record.attributes), f"{record.log_record.trace_id:032x}"

    kept = [of(record) for record in sent.sender.kept_logs()]
    assert [scope for scope, *_ in kept] == ["ai_lib.request"] * 2
    sent.received.wait_for(lambda: len(sent.received.logs) >= len(kept))
    found = [(log.scope, log.body, log.attributes, log.trace_id) for log in sent.received.logs]
    assert sorted(found, key=str) == sorted(kept, key=str)
