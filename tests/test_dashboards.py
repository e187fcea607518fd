"""Dashboards: they ask for what is emitted, and say what they show. Grafana itself is not needed."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Meter, NoOpMeter, NoOpMeterProvider, Observation
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry

from opentelemetry_instrumentation_ailib import AiLibInstrumentor
from promtool import metrics_in, promtool

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

from dashboards import catalogue  # noqa: E402
from dashboards.promql import Queries, equal  # noqa: E402

NAMES = {series for metric in catalogue.METRICS.values() for series in metric.series}
FILES = sorted((ROOT / "dashboards").glob("*.json"))
DASHBOARDS = {file.stem: json.loads(file.read_text("utf-8")) for file in FILES}
PANELS = {
    f"{name}/{panel['title']}": (dashboard, panel)
    for name, dashboard in DASHBOARDS.items()
    for panel in dashboard["panels"]
    if panel["type"] != "row"
}
TITLES = {panel["title"] for _, panel in PANELS.values()}
BUILT_IN = {"__rate_interval": "5m", "__range": "1h"}

each_panel = pytest.mark.parametrize(("dashboard", "panel"), PANELS.values(), ids=PANELS)
each_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)


def variables_in(text: str) -> set[str]:
    """Return a dashboard's own variables that a text uses."""
    used = {braced or plain for braced, plain in re.findall(r"\$(?:\{(\w+)\}|(\w+))", text)}
    return {name for name in used if not name.startswith("__")}


def expression(target: dict[str, Any]) -> str:
    """Return a query with values in place of its variables."""
    return re.sub(r"\$(\w+)", lambda match: BUILT_IN.get(match[1], ".*"), target["expr"])


class Noting(NoOpMeter):
    """A meter that notes what is created: name, unit and kind."""

    created: set[tuple[str, str, str]] = set()  # noqa: RUF012 - replaced by each test

    def create_counter(self, name: str, unit: str = "", *_: Any, **__: Any) -> Any:
        self.created.add((name, unit, catalogue.COUNTER))
        return super().create_counter(name, unit)

    def create_up_down_counter(self, name: str, unit: str = "", *_: Any, **__: Any) -> Any:
        self.created.add((name, unit, catalogue.UP_DOWN_COUNTER))
        return super().create_up_down_counter(name, unit)

    def create_histogram(self, name: str, unit: str = "", *_: Any, **__: Any) -> Any:
        self.created.add((name, unit, catalogue.HISTOGRAM))
        return super().create_histogram(name, unit)

    def create_observable_gauge(self, name: str, callbacks: Any = None, unit: str = "", *_: Any) -> Any:
        self.created.add((name, unit, catalogue.GAUGE))
        return super().create_observable_gauge(name, callbacks, unit)


class NotingProvider(NoOpMeterProvider):
    def get_meter(self, name: str, *_: Any, **__: Any) -> Meter:
        return Noting(name)


def test_the_catalogue_has_the_instruments_that_the_instrumentation_creates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Noting, "created", set())
    AiLibInstrumentor().instrument(meter_provider=NotingProvider())
    AiLibInstrumentor().uninstrument()
    assert {(metric.name, metric.unit, metric.kind) for metric in catalogue.METRICS.values()} == Noting.created


def record(meter: Meter, metric: catalogue.Metric) -> None:
    """Record one measurement of a metric."""
    attributes = dict.fromkeys(metric.labels, "x")
    if metric.kind == catalogue.GAUGE:
        meter.create_observable_gauge(metric.name, [lambda _: [Observation(1, attributes)]], metric.unit)
    elif metric.kind == catalogue.HISTOGRAM:
        meter.create_histogram(metric.name, metric.unit).record(1, attributes)
    elif metric.kind == catalogue.UP_DOWN_COUNTER:
        meter.create_up_down_counter(metric.name, metric.unit).add(1, attributes)
    else:
        meter.create_counter(metric.name, metric.unit).add(1, attributes)


def test_prometheus_names_are_those_of_the_exporter() -> None:
    registry = CollectorRegistry()
    provider = MeterProvider([PrometheusMetricReader(registry=registry, disable_target_info=True)])
    for metric in catalogue.METRICS.values():
        record(provider.get_meter("test"), metric)
    exported = {sample.name for family in registry.collect() for sample in family.samples}
    provider.shutdown()
    assert exported == NAMES


def test_a_unit_on_whose_name_exporters_disagree_is_refused() -> None:
    with pytest.raises(ValueError, match="disagree"):
        catalogue.prometheus_names("ai_lib.ratio", "1", catalogue.GAUGE)


def test_a_query_by_a_label_that_the_metric_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ai_lib\.requests has no label outcome"):
        Queries("5m").rate("ai_lib.requests", "outcome")
    with pytest.raises(ValueError, match=r"ai_lib\.requests has no label outcome"):
        Queries("5m").rate("ai_lib.requests", where=(equal("outcome", "ok"),))


def test_filters_apply_to_the_metrics_that_have_the_label() -> None:
    queries = Queries("5m", {"job": "$job", "outcome": "$outcome"})
    assert queries.rate("ai_lib.requests", "provider") == (
        'sum by (provider) (rate(ai_lib_requests_total{job=~"$job"}[5m]))'
    )


# The SDK that builds the dashboards needs Python 3.11.
if sys.version_info >= (3, 11):
    # It would rather have a schema that only the latest Grafana imports.
    @pytest.mark.filterwarnings("ignore:Prefer using dashboardv2:DeprecationWarning")
    def test_the_files_are_what_would_be_built() -> None:
        from dashboards import __main__ as program

        assert program.build() == {file: file.read_text("utf-8") for file in FILES}


def test_every_metric_has_a_panel() -> None:
    asked = {name for _, panel in PANELS.values() for target in panel["targets"] for name in metrics_in(target["expr"])}
    unseen = [metric.name for metric in catalogue.METRICS.values() if not asked & set(metric.series)]
    assert unseen == []


@each_panel
def test_a_panel_asks_for_metrics_that_are_emitted(dashboard: dict[str, Any], panel: dict[str, Any]) -> None:
    assert panel["targets"]
    for target in panel["targets"]:
        assert metrics_in(target["expr"]) - NAMES == set()


def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    queries = [expression(target) for _, panel in PANELS.values() for target in panel["targets"]]
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}), "utf-8")
    assert f"{len(rules)} rules found" in promtool("check", "rules", file)


@each_panel
def test_a_panel_says_what_it_shows_and_what_to_do(dashboard: dict[str, Any], panel: dict[str, Any]) -> None:
    shows, marker, wrong = panel["description"].partition("\n\n**If it looks wrong:** ")
    assert shows.endswith(".")
    assert marker
    assert wrong.endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]


@each_panel
def test_what_a_description_refers_to_exists(dashboard: dict[str, Any], panel: dict[str, Any]) -> None:
    names = {d["title"].removeprefix("AI-Lib: ").capitalize() for d in DASHBOARDS.values()}
    referred = set(re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", panel["description"]))
    assert referred - TITLES - names - {"Traces"} == set()


@each_panel
def test_a_panel_takes_its_data_source_from_the_variable(dashboard: dict[str, Any], panel: dict[str, Any]) -> None:
    source = {"type": "prometheus", "uid": "${datasource}"}
    assert panel["datasource"] == source
    assert [target["datasource"] for target in panel["targets"]] == [source] * len(panel["targets"])


@each_panel
def test_a_legend_names_the_labels_that_tell_series_apart(dashboard: dict[str, Any], panel: dict[str, Any]) -> None:
    legends = [target["legendFormat"] for target in panel["targets"]]
    assert "" not in legends
    assert len(set(legends)) == len(legends)
    for target in panel["targets"]:
        # The outermost aggregation decides; both sides of a share have it.
        grouped = re.match(r"(?:\(|histogram_quantile\([\d.]+, |[\d.]+ \* )*\w+ by \(([^)]*)\)", target["expr"])
        by = set(grouped[1].split(", ")) - {"le"} if grouped else set()
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) == by


@each_panel
def test_exemplars_show_where_there_are_lines_of_a_histogram(dashboard: dict[str, Any], panel: dict[str, Any]) -> None:
    wanted = [panel["type"] == "timeseries" and "_bucket" in target["expr"] for target in panel["targets"]]
    assert [target["exemplar"] for target in panel["targets"]] == wanted


@each_panel
def test_a_panel_leads_to_the_traces_behind_it(dashboard: dict[str, Any], panel: dict[str, Any]) -> None:
    (link,) = panel["fieldConfig"]["defaults"]["links"]
    assert link["title"] == "Traces"
    pane = json.loads(parse_qs(urlsplit(link["url"]).query)["panes"][0])["traces"]
    (query,) = pane["queries"]
    assert pane["datasource"] == query["datasource"]["uid"] == "${tempo}"
    assert pane["range"] == {"from": "${__from}", "to": "${__to}"}
    assert re.fullmatch(r"\{ .+ \}", query["query"])
    labels = set(re.findall(r"\$\{__(?:field\.labels|data\.fields)\.(\w+)\}", query["query"]))
    assert labels <= set(re.findall(r"\w+", " ".join(target["legendFormat"] for target in panel["targets"])))


@each_dashboard
def test_the_variables_used_are_those_declared(dashboard: dict[str, Any]) -> None:
    declared = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = variables_in(json.dumps([dashboard["panels"], dashboard["templating"]]))
    assert used == declared


@each_dashboard
def test_no_panels_overlap_or_share_an_id(dashboard: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    for one, other in combinations((panel["gridPos"] for panel in dashboard["panels"]), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in dashboard["panels"])


def test_titles_are_unambiguous_within_a_dashboard() -> None:
    panels = sum(panel["type"] != "row" for dashboard in DASHBOARDS.values() for panel in dashboard["panels"])
    assert len(PANELS) == panels


def test_dashboards_can_be_imported_side_by_side() -> None:
    identities: Iterator[tuple[str, Any]] = ((d["uid"], d.get("id")) for d in DASHBOARDS.values())
    assert sorted(identities) == [
        ("ai-lib-feedback-health", None),
        ("ai-lib-overview", None),
        ("ai-lib-resilience", None),
        ("ai-lib-streaming", None),
    ]
