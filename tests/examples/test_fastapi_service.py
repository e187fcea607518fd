"""The service under gunicorn: real workers, a real socket, and an OTLP receiver at the far end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from provider import delta, events, provider
from receiver import Receiver, receiver
from service import Service, service

WORKERS = 2
QUESTIONS = 12
CALL = "chat gpt-4o"
TREE = [
    ("POST /answers", None),
    ("POST", "ai_lib.http.transport"),
    *((f"ai_lib.{stage}", CALL) for stage in ("event.map", "http.transport", "pipeline.process", "request.compile")),
    (CALL, "POST /answers"),
]
SCOPES = {
    "POST /answers": "opentelemetry.instrumentation.fastapi",
    CALL: "opentelemetry_instrumentation_ailib",
    "ai_lib.http.transport": "opentelemetry_instrumentation_ailib",
    "POST": "opentelemetry.instrumentation.httpx",
}


def variables(base_url: str, otlp: Receiver) -> dict[str, str]:
    return {
        "AI_BASE_URL": base_url,
        "WEB_CONCURRENCY": str(WORKERS),
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp.endpoint,
        "OTEL_SERVICE_NAME": "answers",
        "OTEL_SEMCONV_STABILITY_OPT_IN": "http",
    }


def told(answer: str) -> list[tuple[str, dict[str, str]]]:
    """Return ``(name, data)`` of each server-sent event."""
    blocks = (block.split("\n") for block in answer.split("\n\n") if block)
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


def ask(running: Service) -> str:
    """Ask a question on a connection of its own, and return the answer as it came."""
    answer = httpx.post(f"{running.url}/answers", json={"text": "Hello?"}, trust_env=False)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    return answer.text


def rate(running: Service, answer: str) -> None:
    """Rate an answer, on a connection of its own."""
    rated = httpx.post(f"{running.url}/ratings", json={**told(answer)[-1][1], "rating": 4}, trust_env=False)
    assert rated.status_code == 204


@pytest.fixture(scope="module", params=["0", "1"], ids=["loaded by each worker", "preloaded"])
def asked(
    request: pytest.FixtureRequest, mock: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Receiver, list[str], list[str]]]:
    """What arrived of a service that was asked, scraped and stopped; its answers and its pages."""
    with receiver() as otlp, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AI_PROTOCOL_DIR", str(Path(__file__).resolve().parent.parent / "protocol"))
        patch.setenv("OPENAI_API_KEY", "for-the-mock")
        home = tmp_path_factory.mktemp("service")
        with service(home, PRELOAD_APP=request.param, **variables(mock, otlp)) as running:
            answers = [ask(running) for _ in range(QUESTIONS)]
            for answer in answers:
                rate(running, answer)
            pages = [httpx.get(f"{running.url}/metrics", trust_env=False).text for _ in range(QUESTIONS)]
        yield otlp, answers, pages


Asked = tuple[Receiver, list[str], list[str]]


def test_users_get_the_answer_as_it_is_made(asked: Asked) -> None:
    for answer in asked[1]:
        *deltas, (last, data) = told(answer)
        assert {name for name, _ in deltas} == {"delta"}
        assert "".join(part["text"] for _, part in deltas) == "Mock response from ai-protocol-mock"
        assert (last, list(data)) == ("done", ["request_id", "traceparent"])


def test_each_answer_is_one_trace_from_the_users_request_to_the_providers(asked: Asked) -> None:
    otlp, answers, _ = asked
    traces = {told(answer)[-1][1]["traceparent"].split("-")[1] for answer in answers}
    assert len(traces) == QUESTIONS
    for trace_id in traces:
        assert otlp.tree(trace_id) == sorted(TREE, key=str)
    apart = ("ai_lib.protocol.load", "POST /ratings")
    assert {span.trace_id for span in otlp.spans if span.name not in apart} == traces
    assert {span.name: span.scope for span in otlp.spans if span.name in SCOPES} == SCOPES


def test_an_answer_comes_with_the_id_and_the_traceparent_of_its_call(asked: Asked) -> None:
    otlp, answers, _ = asked
    references = [told(answer)[-1][1] for answer in answers]
    found = {(data["request_id"], *data["traceparent"].split("-")[1:3]) for data in references}
    calls = [span for span in otlp.spans if span.name == CALL]
    assert found == {(span.attributes["ai_lib.request.id"], span.trace_id, span.span_id) for span in calls}


def test_a_rating_belongs_to_the_answers_call_whichever_worker_takes_it(asked: Asked) -> None:
    otlp, answers, _ = asked
    references = [told(answer)[-1][1] for answer in answers]
    events = [log for log in otlp.logs if log.event_name == "gen_ai.evaluation.result"]
    assert {(log.attributes["ai_lib.request.id"], log.trace_id, log.span_id) for log in events} == {
        (data["request_id"], *data["traceparent"].split("-")[1:3]) for data in references
    }
    assert [log.attributes["gen_ai.evaluation.score.value"] for log in events] == [0.75] * QUESTIONS
    assert sum(value for _, value in otlp.last("ai_lib.feedback")) == QUESTIONS


def test_each_worker_reports_as_an_instance_of_its_own(asked: Asked) -> None:
    otlp, _, _ = asked
    loads = [span for span in otlp.spans if span.name == "ai_lib.protocol.load"]
    instances = {span.resource["service.instance.id"] for span in loads}
    assert (len(loads), len(instances)) == (WORKERS, WORKERS)
    assert {point.resource["service.instance.id"] for point in otlp.points} == instances
    assert sum(value for _, value in otlp.last("ai_lib.requests")) == QUESTIONS


def test_each_call_is_a_log_record_in_its_trace(asked: Asked) -> None:
    otlp, _, _ = asked
    calls = {(span.trace_id, span.span_id) for span in otlp.spans if span.name == CALL}
    assert {(log.trace_id, log.span_id) for log in otlp.logs if log.scope == "ai_lib.request"} == calls


def test_the_page_for_prometheus_is_that_of_one_worker(asked: Asked) -> None:
    """Whoever scrapes several workers behind one port sees now this one and now that one."""
    otlp, _, pages = asked
    reported = {
        point.resource["service.instance.id"]: point.value for point in otlp.points if point.name == "ai_lib.requests"
    }
    workers = {span.resource["service.instance.id"] for span in otlp.spans if span.name == "ai_lib.protocol.load"}
    for page in pages:
        samples = {sample.name: sample for family in text_string_to_metric_families(page) for sample in family.samples}
        instance = samples["target_info"].labels["service_instance_id"]
        assert instance in workers
        if instance in reported:
            assert samples["ai_lib_requests_total"].value == reported[instance]


async def test_a_user_who_leaves_ends_the_stream_to_the_provider(tmp_path: Path) -> None:
    script = events(*(delta(str(n)) for n in range(200)), delay=0.05)
    with receiver() as otlp:
        async with provider(script) as slow:
            starting = service(tmp_path, **{**variables(slow.base_url, otlp), "WEB_CONCURRENCY": "1"})
            running = await asyncio.to_thread(starting.__enter__)
            try:
                async with (
                    httpx.AsyncClient(trust_env=False) as user,
                    user.stream("POST", f"{running.url}/answers", json={"text": "Hello?"}) as answer,
                ):
                    await anext(answer.aiter_text())
            finally:
                await asyncio.to_thread(starting.__exit__, None, None, None)
    (call,) = (span for span in otlp.spans if span.name == CALL)
    assert call.attributes["ai_lib.stream.outcome"] == "cancelled"
    assert call.end - call.start < 5e9
    assert ("POST /answers", None) in otlp.tree(call.trace_id)
