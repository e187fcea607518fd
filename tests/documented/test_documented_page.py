"""Every block of Python on the AI-Lib observability page, unchanged: the mock provider, a real OTLP receiver."""

# What the runtime itself does not declare.
# mypy: disable-error-code="call-arg, attr-defined"

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ai_lib_python
import page
import pytest
from grpc_receiver import GrpcReceiver, grpc_receiver, proxy
from opentelemetry.trace import format_span_id, format_trace_id
from prometheus_client.parser import text_string_to_metric_families

from promtool import promtool
from receiver import receiver
from recorder import Recorder

PROGRAM = str(Path(page.__file__))
INSTRUMENT = str(Path(sys.executable).with_name("opentelemetry-instrument"))
CHAT = {"provider": "openai", "model": "gpt-4o", "operation": "chat"}
# One client creation and one call: what the page's list of spans says, under the call's own.
TRACED = [
    "ai_lib.http.transport",
    "ai_lib.pipeline.process",
    "ai_lib.protocol.load",
    "ai_lib.request.compile",
    "chat gpt-4o",
]
DETAILS = {
    "providers": {"openai": {"status": "healthy", "error_rate": 0.0, "calls": 2, "last_error": None}},
    "circuit_breakers": {},
    "queues": {},
    "telemetry": {"export_failures": 0, "failing": False},
}
PRINTED = {
    "metrics": "",
    "tracing": "",
    "health": f"Healthy: True\nDetails: {DETAILS}\n",
    "feedback": "",
    "signals": "Circuit: disabled\nInflight: 0\n",
}


@pytest.fixture
def manifests(mock: str, protocol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tests' manifests, in which openai is the mock provider: the page's clients have no base URL of their own."""
    folder = tmp_path / "protocol"
    shutil.copytree(protocol, folder)
    openai = folder / "v1" / "providers" / "openai.yaml"
    openai.write_text(openai.read_text().replace("https://api.openai.example/v1", mock))
    monkeypatch.setenv("AI_PROTOCOL_DIR", str(folder))
    return folder


@pytest.fixture
def jaeger(monkeypatch: pytest.MonkeyPatch) -> Iterator[GrpcReceiver]:
    """What arrives at ``http://jaeger:4317``, to which nothing but a proxy on this machine knows the way."""
    with grpc_receiver() as received, proxy(received.endpoint) as way:
        monkeypatch.setenv("grpc_proxy", way.url)
        monkeypatch.setenv("no_grpc_proxy", "")
        yield received
        assert set(way.asked) == {"jaeger:4317"}


def families(text: str) -> dict[str, dict[str, list[tuple[dict[str, str], float]]]]:
    """Return ``family → sample → (labels, value)``, as Prometheus reads the text."""
    found: dict[str, dict[str, list[tuple[dict[str, str], float]]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(family.name, {}).setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return found


def check_prometheus(text: str) -> None:
    """Fail unless the text has the page's four families, of one call, one stream and one call that failed."""
    assert promtool("check", "metrics", text=text) == ""
    found = families(text)
    assert found["ai_lib_requests"] == {"ai_lib_requests_total": [(CHAT, 3.0)]}
    assert found["ai_lib_tokens"] == {
        "ai_lib_tokens_total": [({**CHAT, "type": "input"}, 10.0), ({**CHAT, "type": "output"}, 4.0)]
    }
    assert found["ai_lib_errors"] == {
        "ai_lib_errors_total": [({**CHAT, "type": "TypeError", "stage": "http.transport"}, 1.0)]
    }
    assert found["ai_lib_request_duration_seconds"]["ai_lib_request_duration_seconds_count"] == [(CHAT, 3.0)]
    boundaries = [
        labels["le"] for labels, _ in found["ai_lib_request_duration_seconds"]["ai_lib_request_duration_seconds_bucket"]
    ]
    assert (boundaries[0], boundaries[-1], len(boundaries)) == ("0.01", "+Inf", 15)


def check_traced(jaeger: GrpcReceiver) -> None:
    """Fail unless exactly the second client's creation and call are there, under the page's service name."""
    jaeger.wait_for(lambda: len(jaeger.spans) >= len(TRACED))
    assert sorted(span.name for span in jaeger.spans) == TRACED
    assert {span.resource["service.name"] for span in jaeger.spans} == {"my-app"}
    assert {span.scope for span in jaeger.spans} == {"opentelemetry_instrumentation_ailib"}
    (call,) = (span for span in jaeger.spans if span.name == "chat gpt-4o")
    assert jaeger.tree(call.trace_id) == [
        ("ai_lib.http.transport", "chat gpt-4o"),
        ("ai_lib.pipeline.process", "chat gpt-4o"),
        ("ai_lib.request.compile", "chat gpt-4o"),
        ("chat gpt-4o", None),
    ]


def check_statistics(stats: dict[str, Any], call: Any) -> None:
    """Fail unless the call's statistics lead to its span."""
    assert stats["trace_id"] == call.trace_id
    assert re.fullmatch(f"00-{call.trace_id}-{call.span_id}-0[13]", stats["traceparent"])
    assert re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", stats["request_id"])
    assert (stats["model"], stats["provider"]) == ("openai/gpt-4o", "openai")
    assert (stats["prompt_tokens"], stats["completion_tokens"], stats["total_tokens"]) == (10, 4, 14)
    assert stats["latency_ms"] > 0


KNOWN = (
    "request_id",
    "trace_id",
    "traceparent",
    "model",
    "provider",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "latency_ms",
)
FEEDBACK = {
    "gen_ai.evaluation.name": "rating",
    "gen_ai.evaluation.score.value": 1.0,
    "gen_ai.evaluation.score.label": "5/5",
    "gen_ai.response.id": "chatcmpl-mock",
}


def test_the_blocks_bring_their_own_imports() -> None:
    """But for what the page takes for granted: AiClient, which its Rust code introduces, and the response."""
    free = {}
    for block in page.BLOCKS:
        names = [
            node for node in ast.walk(ast.parse((page.PAGE / f"{block}.txt").read_text())) if isinstance(node, ast.Name)
        ]
        bound = {node.id for node in names if isinstance(node.ctx, ast.Store)}
        imported = {"MetricsCollector", "Tracer", "HealthChecker", "FeedbackCollector", "print"}
        free[block] = {node.id for node in names} - bound - imported
    assert free == {
        "metrics": {"AiClient"},
        "tracing": {"AiClient"},
        "health": set(),
        "feedback": {"stats"},
        "signals": {"client"},
    }


@pytest.mark.usefixtures("manifests")
async def test_the_page_in_an_instrumented_program(instrumented: Recorder, jaeger: GrpcReceiver) -> None:
    names: dict[str, Any] = {"AiClient": ai_lib_python.AiClient}
    printed = {block: await page.run(block, names, page.CALLS.get(block)) for block in page.BLOCKS}
    names["tracer"].shutdown()

    assert printed == PRINTED
    check_prometheus(names["prometheus_text"])
    snapshot = names["metrics"].get_snapshot()
    assert (snapshot.total_requests, snapshot.successful_requests, snapshot.failed_requests) == (3, 2, 1)
    check_traced(jaeger)
    # The first client's calls are the application's own, on its dashboards too.
    assert [span.name for span in instrumented.spans()].count("chat gpt-4o") == 3
    assert instrumented.points("ai_lib.requests") == [(CHAT, 4)]
    stats = names["stats"]
    (call,) = (span for span in jaeger.spans if span.name == "chat gpt-4o")
    check_statistics({name: getattr(stats, name) for name in KNOWN}, call)
    (event,) = instrumented.events()
    assert event.event_name == "gen_ai.evaluation.result"
    assert (format_trace_id(event.trace_id), format_span_id(event.span_id)) == (call.trace_id, call.span_id)
    assert dict(event.attributes) == {**FEEDBACK, "ai_lib.request.id": stats.request_id}
    assert instrumented.points("ai_lib.feedback") == [({"type": "rating"}, 1)]
    assert instrumented.sums("ai_lib.feedback.score") == [({"type": "rating"}, 1.0)]
    await names["client"].close()


def run(*command: str, manifests: Path, result: Path, **variables: str) -> dict[str, Any]:
    """Run the page as a program of its own and return what its code yields."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        command,
        env={
            **plain,
            "AI_PROTOCOL_DIR": str(manifests),
            "PAGE_RESULT": str(result),
            # Since Python 3.12 its handler cannot be flushed at the end of a process, and says so.
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "logging",
            **variables,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    found: dict[str, Any] = json.loads(result.read_text())
    return found


def test_the_page_under_opentelemetry_instrument(manifests: Path, jaeger: GrpcReceiver, tmp_path: Path) -> None:
    with receiver() as application:
        found = run(
            *(INSTRUMENT, sys.executable, PROGRAM),
            manifests=manifests,
            result=tmp_path / "result.json",
            OTEL_SERVICE_NAME="shop",
            OTEL_EXPORTER_OTLP_ENDPOINT=application.endpoint,
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        )
    assert found["printed"] == PRINTED
    check_prometheus(found["prometheus_text"])
    check_traced(jaeger)
    (call,) = (span for span in jaeger.spans if span.name == "chat gpt-4o")
    check_statistics(found["stats"], call)
    assert {span.resource["service.name"] for span in application.spans} == {"shop"}
    assert [span.name for span in application.spans].count("chat gpt-4o") == 3
    assert application.last("ai_lib.requests") == [(CHAT, 4)]
    assert application.last("ai_lib.feedback") == [({"type": "rating"}, 1)]
    assert sorted((labels["status"], value) for labels, value in application.last("ai_lib.provider.health")) == [
        ("degraded", 0),
        ("healthy", 1),
        ("unhealthy", 0),
        ("unknown", 0),
    ]
    (event,) = (log for log in application.logs if log.event_name == "gen_ai.evaluation.result")
    assert (event.trace_id, event.span_id) == (call.trace_id, call.span_id)
    assert event.attributes == {**FEEDBACK, "ai_lib.request.id": found["stats"]["request_id"]}


def test_the_page_in_a_program_without_any_provider(manifests: Path, jaeger: GrpcReceiver, tmp_path: Path) -> None:
    """The collector and the tracer have their own; no SDK needs to be set up."""
    found = run(sys.executable, PROGRAM, "--instrument", manifests=manifests, result=tmp_path / "result.json")
    assert found["printed"] == PRINTED
    check_prometheus(found["prometheus_text"])
    check_traced(jaeger)
    (call,) = (span for span in jaeger.spans if span.name == "chat gpt-4o")
    check_statistics(found["stats"], call)
