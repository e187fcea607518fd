"""A real Prometheus scrapes the application and counts what it did; panels and rules see it, alerts reach people."""

from __future__ import annotations

import json

import pytest
from application import ROUNDS
from expected import EACH_ROUND, IN_ALL, PANELS
from prometheus import Backend
from queries import Query, alert_files, panels, rules_in, variables
from servers import until

pytest_plugins = ["shared_servers"]

TABLES = {
    **{name: (names, {row: ROUNDS * n for row, n in rows.items()}) for name, (names, rows) in EACH_ROUND.items()},
    **IN_ALL,
}


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
