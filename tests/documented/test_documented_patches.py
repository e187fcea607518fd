"""The documented API as rows of the patch table: there while instrumented, and then gone."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from typing import Any

import pytest
from ai_lib_python import AiClient, telemetry
from ai_lib_python.client import response
from ai_lib_python.client.builder import AiClientBuilder
from ai_lib_python.client.core import AiClient as Client
from ai_lib_python.telemetry import feedback, health, metrics, tracer

from opentelemetry_instrumentation_ailib import ROWS, AiLibInstrumentor, documented
from opentelemetry_instrumentation_ailib.patching import Addition, Arrival, Row
from recorder import Recorder

ADDED = {
    "ai_lib_python.client.builder:AiClientBuilder.metrics",
    "ai_lib_python.client.builder:AiClientBuilder.tracer",
    "ai_lib_python.client.core:AiClient.signals_snapshot",
    "ai_lib_python.client.response:CallStats.request_id",
    "ai_lib_python.client.response:CallStats.trace_id",
    "ai_lib_python.client.response:CallStats.traceparent",
    "ai_lib_python.telemetry.metrics:MetricsCollector.export_prometheus",
    "ai_lib_python.telemetry.tracer:Tracer.shutdown",
    "ai_lib_python.telemetry:FeedbackCollector",
}
EXTENDED = {
    "ai_lib_python.client.builder:AiClientBuilder.build",
    "ai_lib_python.telemetry.health:HealthChecker.check",
    "ai_lib_python.telemetry.tracer:Tracer.__init__",
    "ai_lib_python.telemetry.tracer:Tracer.span",
    "ai_lib_python.telemetry.tracer:Tracer.start_span",
    "ai_lib_python.telemetry:feedback.get_feedback_sink",
}
OWNERS: tuple[Any, ...] = (
    AiClientBuilder,
    Client,
    response.CallStats,
    response.ChatResponse,
    metrics.MetricsCollector,
    health.HealthChecker,
    health.ProviderHealthTracker,
    tracer.Tracer,
    tracer.Span,
    telemetry,
    feedback,
    health,
    metrics,
    tracer,
    response,
)


def state() -> list[dict[str, Any]]:
    """Return every attribute of the runtime's classes and modules that the documented API is about."""
    return [dict(vars(owner)) for owner in OWNERS]


def instrument(recorder: Recorder, **arguments: Any) -> None:
    AiLibInstrumentor().instrument(**recorder.providers, **arguments)


# --- the rows ---


def test_what_is_added_and_what_is_extended_is_this_and_no_more() -> None:
    named = {f"{row.module}:{row.target}": row for row in documented.ROWS}
    assert {name for name, row in named.items() if isinstance(row, Addition)} == ADDED
    assert {name for name, row in named.items() if type(row) is Row} == EXTENDED
    assert [name for name, row in named.items() if isinstance(row, Arrival)] == [
        "ai_lib_python.telemetry:health.get_health_tracker"
    ]
    assert len(named) == len(documented.ROWS)


def test_no_target_is_in_both_tables() -> None:
    assert {(row.module, row.target) for row in ROWS} & {(row.module, row.target) for row in documented.ROWS} == set()


@pytest.mark.parametrize("row", documented.ROWS, ids=lambda row: f"{row.module}:{row.target}")
def test_the_installed_runtime_lacks_what_is_added_and_has_what_is_extended(row: Row) -> None:
    owner, name, attribute = row.resolve()
    assert hasattr(owner, name) is not isinstance(row, Addition)
    assert (attribute is None) is isinstance(row, Addition)


@pytest.mark.parametrize("name", sorted(ADDED))
def test_what_the_runtime_has_already_is_left_alone(
    name: str, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, _, target = name.partition(":")
    owner_name, _, attribute = target.rpartition(".")
    loaded = importlib.import_module(module)
    owner = getattr(loaded, owner_name) if owner_name else loaded
    own = object()
    monkeypatch.setattr(owner, attribute, own, raising=False)
    instrument(recorder)
    during = vars(owner)[attribute]
    AiLibInstrumentor().uninstrument()
    assert (during, vars(owner)[attribute]) == (own, own)


# --- undo ---


@pytest.mark.parametrize("rounds", [1, 3])
def test_after_uninstrument_every_class_and_module_is_as_before(rounds: int, recorder: Recorder) -> None:
    before = state()
    for _ in range(rounds):
        instrument(recorder)
        assert hasattr(telemetry, "FeedbackCollector")
        AiLibInstrumentor().uninstrument()
        assert state() == before
        assert all(
            vars(owner)[name] is value
            for owner, known in zip(OWNERS, before, strict=True)
            for name, value in known.items()
        )


def test_documented_api_false_leaves_the_runtimes_classes_alone(recorder: Recorder) -> None:
    before = state()
    instrument(recorder, documented_api=False)
    during = state()
    AiLibInstrumentor().uninstrument()
    changed = {
        f"{owner.__name__}.{name}"
        for owner, known, found in zip(OWNERS, before, during, strict=True)
        for name in known | found
        if known.get(name) is not found.get(name)
    }
    assert changed == {
        "AiClient._execute_chat",
        "AiClient._execute_chat_with_stats",
        "AiClient._execute_stream",
        "AiClient._parse_response",
    }


def test_the_variable_switches_it_off_too(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_AILIB_DOCUMENTED_API", "false")
    instrument(recorder)
    there = hasattr(telemetry, "FeedbackCollector")
    AiLibInstrumentor().uninstrument()
    assert not there


IMPORTED_LATER = """
import json, sys
from wrapt import FunctionWrapper
from opentelemetry_instrumentation_ailib import AiLibInstrumentor
AiLibInstrumentor().instrument()
assert not [name for name in sys.modules if name.startswith("ai_lib_python")]
import ai_lib_python
assert "ai_lib_python.telemetry" not in sys.modules and "ai_lib_python.resilience" not in sys.modules
from ai_lib_python import telemetry
from ai_lib_python.telemetry import feedback
added = sorted(name for name in ("FeedbackCollector",) if hasattr(telemetry, name))
added += [hasattr(telemetry.MetricsCollector, "export_prometheus"), hasattr(telemetry.Tracer, "shutdown")]
wrapped = issubclass(type(feedback.get_feedback_sink), FunctionWrapper)
AiLibInstrumentor().uninstrument()
rest = [hasattr(telemetry, "FeedbackCollector"), hasattr(telemetry.MetricsCollector, "export_prometheus")]
names = [
    f"{module.__name__}.{name}"
    for module in list(sys.modules.values())
    if module.__name__.startswith("ai_lib_python")
    for name, value in vars(module).items()
    if issubclass(type(value), FunctionWrapper)
]
print(json.dumps([added, wrapped, rest, names]))
"""


def test_nothing_is_imported_by_it_and_nothing_is_left_in_modules_imported_meanwhile() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED_LATER],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [["FeedbackCollector", True, True], True, [False, False], []]


async def test_what_somebody_kept_works_after_uninstrument(recorder: Recorder) -> None:
    instrument(recorder)
    builder: Any = AiClient.builder().model("openai/gpt-4o").base_url("http://127.0.0.1:9/v1")
    collector: Any = telemetry.MetricsCollector()
    with_metrics, build, export = builder.metrics, builder.build, collector.export_prometheus
    AiLibInstrumentor().uninstrument()
    with_metrics(collector)
    client = await build()
    await client.close()
    assert export() == ""
    assert recorder.names() == []
