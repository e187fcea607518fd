"""A real Prometheus scrapes the application and counts what it did; panels and rules see it, alerts reach people."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from application import CONTENT, ROUNDS, Application
from expected import CALLS, EACH_ROUND, IN_ALL, PANELS
from mock_provider import mock_provider
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus import Prometheus, Webhook, alertmanager, prometheus, webhook
from prometheus_client import CollectorRegistry, start_http_server
from queries import Query, alert_files, hurried, panels, rules_in, variables
from servers import until

from opentelemetry_instrumentation_ailib import AiLibInstrumentor

# The runtime never closes the transport of a fallback model.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

PROTOCOL = Path(__file__).resolve().parent.parent / "protocol"

TABLES = {
    **{name: (names, {row: ROUNDS * n for row, n in rows.items()}) for name, (names, rows) in EACH_ROUND.items()},
    **IN_ALL,
}


@dataclass
class Backend:
    """What the tests look at: a Prometheus that has seen all rounds of the application, and who is on call.

    Attributes:
        prometheus: The server.
        person: The webhook of its Alertmanager.
        at: A moment at which all had been scraped, in seconds since the epoch.
    """

    prometheus: Prometheus
    person: Webhook
    at: float


@pytest.fixture(scope="module")
def metrics_port() -> Iterator[int]:
    """Instrument the runtime with the in-process Prometheus reader; yield the port of its page."""
    registry = CollectorRegistry()
    provider = MeterProvider([PrometheusMetricReader(scope_info_enabled=False, registry=registry)])
    AiLibInstrumentor().instrument(meter_provider=provider)
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()
    AiLibInstrumentor().uninstrument()
    provider.shutdown()


@pytest.fixture(scope="module")
def credentials() -> Iterator[None]:
    """What the runtime reads from the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AI_PROTOCOL_DIR", str(PROTOCOL))
        for name in ("OPENAI", "ANTHROPIC", "MAPLESS"):
            patch.setenv(f"{name}_API_KEY", "for-the-mock")
        patch.setenv("THROTTLED_API_KEY", "rate_limit")
        yield


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory, metrics_port: int, credentials: None) -> Iterator[Backend]:
    """Start the servers, then run the application, with a scrape between its rounds so that rates can be told."""
    folder = tmp_path_factory.mktemp("prometheus")
    rules = hurried(folder / "rules")
    loop = asyncio.new_event_loop()
    with (
        webhook() as person,
        alertmanager(folder / "alertmanager", person) as port,
        prometheus(folder / "prometheus", target=metrics_port, rules=rules, alertmanager=port) as server,
        mock_provider(PROTOCOL, CONTENT) as mock,
    ):
        application = Application(f"{mock}/v1")
        loop.run_until_complete(application.__aenter__())
        for n in range(1, ROUNDS + 1):
            loop.run_until_complete(application.round())
            wanted = f"sum(ai_lib_requests_total offset 2s) == {n * sum(CALLS.values())}"
            until(partial(server.query, wanted), f"round {n} is scraped, and scraped again")
        ((_, now),) = server.query("time()")
        yield Backend(server, person, now)
        loop.run_until_complete(application.__aexit__())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    gc.collect()


@pytest.mark.parametrize("metric", TABLES)
def test_prometheus_counts_what_the_application_did(backend: Backend, metric: str) -> None:
    names, rows = TABLES[metric]
    found = backend.prometheus.query(f"sum by ({', '.join(names)}) ({metric})", backend.at)
    assert {tuple(labels.get(name, "") for name in names): value for labels, value in found} == rows


def test_a_queue_of_one_makes_the_second_call_wait(backend: Backend) -> None:
    ((_, waited),) = backend.prometheus.query("ai_lib_backpressure_wait_seconds_sum", backend.at)
    ((_, lasted),) = backend.prometheus.query('ai_lib_request_duration_seconds_sum{model="limited"}', backend.at)
    assert 0 < waited < lasted


def test_no_label_holds_a_credential_or_text_of_the_caller(backend: Backend) -> None:
    everything = json.dumps(backend.prometheus.query('{job="application"}', backend.at))
    assert "for-the-mock" not in everything
    assert "Hello?" not in everything


def test_an_alert_fires_and_reaches_a_webhook(backend: Backend) -> None:
    (alert, *_) = until(lambda: backend.person.firing("AiLibCircuitBreakerOpen"), "the alert reaches the webhook")
    assert alert["labels"]["executor"] == "throttled/tripped"
    assert alert["annotations"]["summary"] == "The circuit breaker of throttled/tripped is open"


def test_prometheus_evaluates_every_rule_without_complaint(backend: Backend) -> None:
    rules = backend.prometheus.rules()
    assert {rule["name"] for rule in rules} == {rule.name for rule in rules_in(alert_files())}
    assert {(rule["health"], rule.get("lastError")) for rule in rules} == {("ok", None)}


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel.title)
def test_a_panel_shows_data(backend: Backend, panel: Query) -> None:
    assert backend.prometheus.query(panel.expression, backend.at) != []


@pytest.mark.parametrize(("dashboard", "panel"), PANELS)
def test_a_panel_shows_what_the_application_did(backend: Backend, dashboard: str, panel: str) -> None:
    (query,) = (query for query in panels() if query.title == f"{dashboard}/{panel}/A")
    ((_, value),) = backend.prometheus.query(query.expression, backend.at)
    assert value == pytest.approx(PANELS[dashboard, panel])


@pytest.mark.parametrize(("title", "selector", "label"), variables(), ids=lambda value: value)
def test_a_variable_of_a_dashboard_has_values(backend: Backend, title: str, selector: str, label: str) -> None:
    assert backend.prometheus.values(selector, label) != []


@pytest.mark.parametrize("query", [*panels(), *rules_in(alert_files())], ids=lambda query: query.title)
def test_a_query_names_metrics_and_labels_that_exist(backend: Backend, query: Query) -> None:
    assert query.reads - backend.prometheus.names() == set()
