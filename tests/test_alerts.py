"""Rules for Prometheus: they ask for what is emitted, fire when they should and not otherwise, and say what to do."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from promtool import metrics_in, promtool

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

from alerts import __main__ as program  # noqa: E402
from dashboards import catalogue, generated  # noqa: E402

FILES = sorted((ROOT / "alerts").glob("*.yaml"))
TESTS = sorted((ROOT / "alerts" / "tests").glob("*.yaml"))
RULES = [
    rule for file in FILES for group in yaml.safe_load(file.read_text("utf-8"))["groups"] for rule in group["rules"]
]
ALERTS = {f"{rule['alert']}-{rule['labels']['severity']}": rule for rule in RULES if "alert" in rule}
RECORDED = [rule["record"] for rule in RULES if "record" in rule]
CASES = [case for file in TESTS for case in yaml.safe_load(file.read_text("utf-8"))["tests"]]
RUNBOOKS = ROOT / "docs" / "runbooks"
PAGES = sorted(file for file in RUNBOOKS.glob("*.md") if file.stem != "README")

each_alert = pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS)


def severities(alert: str) -> list[set[str]]:
    """Return, for each time at which a test looks at an alert, the severities that it fires with."""
    return [
        {fired["exp_labels"]["severity"] for fired in look["exp_alerts"]}
        for case in CASES
        for look in case.get("alert_rule_test", ())
        if look["alertname"] == alert
    ]


def test_the_files_are_what_would_be_built() -> None:
    assert program.build() == {file: file.read_text("utf-8") for file in FILES}


@pytest.mark.parametrize("argument", ["--help", "--chek"])
def test_what_is_not_understood_writes_nothing(argument: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        generated.write("alerts", {tmp_path / "alerts.yaml": ""}, [argument])
    assert list(tmp_path.iterdir()) == []


def test_prometheus_accepts_the_rules() -> None:
    assert promtool("check", "rules", *FILES).count("SUCCESS") == len(FILES)


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_rules_fire_when_they_should_and_not_otherwise(file: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", file)


@each_alert
def test_an_alert_is_seen_firing_and_not_firing(alert: dict[str, Any]) -> None:
    seen = {alert["labels"]["severity"] in fired for fired in severities(alert["alert"])}
    assert seen == {True, False}


@pytest.mark.parametrize("name", RECORDED)
def test_what_is_recorded_is_tested(name: str) -> None:
    queries = [look["expr"] for case in CASES for look in case.get("promql_expr_test", ())]
    assert name in set().union(*map(metrics_in, queries))


@pytest.mark.parametrize("rule", RULES, ids=[*ALERTS, *RECORDED])
def test_a_rule_asks_for_metrics_that_are_emitted(rule: dict[str, Any]) -> None:
    emitted = {series for metric in catalogue.METRICS.values() for series in metric.series}
    assert metrics_in(rule["expr"]) - emitted - set(RECORDED) - {"up"} == set()


@each_alert
def test_an_alert_says_what_is_wrong_and_where_to_read_on(alert: dict[str, Any]) -> None:
    assert alert["alert"].startswith("AiLib")
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["description"].endswith(".")
    assert (ROOT / alert["annotations"]["runbook_url"]).is_file()


@each_alert
def test_an_alert_speaks_of_labels_that_it_has(alert: dict[str, Any]) -> None:
    spoken = set(re.findall(r"\$labels\.(\w+)", json.dumps(alert["annotations"])))
    kept = set(re.findall(r"\w+", " ".join(re.findall(r"\b(?:by|on) \(([^)]*)\)", alert["expr"]))))
    recorded = {"job", "provider", "model"} if "job_provider_model:" in alert["expr"] else set()
    assert spoken - kept - recorded == set()


def test_every_runbook_belongs_to_an_alert_and_stands_in_the_index() -> None:
    names = {alert["alert"] for alert in ALERTS.values()}
    assert {page.stem for page in PAGES} == names
    index = (RUNBOOKS / "README.md").read_text("utf-8")
    listed = re.findall(r"^\| \[(\w+)\]\(\1\.md\) \| ([\w, ]+) \|", index, re.MULTILINE)
    assert [(name, set(severity.split(", "))) for name, severity in listed] == [
        (name, {alert["labels"]["severity"] for alert in ALERTS.values() if alert["alert"] == name})
        for name in dict.fromkeys(alert["alert"] for alert in ALERTS.values())
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_runbook_names_panels_that_exist(page: Path) -> None:
    dashboards = [json.loads(file.read_text("utf-8")) for file in (ROOT / "dashboards").glob("*.json")]
    panels = {
        f"{dashboard['title'].removeprefix('AI-Lib: ').capitalize()} > {panel['title']}"
        for dashboard in dashboards
        for panel in dashboard["panels"]
        if panel["type"] != "row"
    }
    text = page.read_text("utf-8")
    assert set(re.findall(r"\*\*([^*]+ > [^*]+)\*\*", text)) - panels == set()
    assert [line for line in text.splitlines() if line.startswith("#")] == [f"# {page.stem}", "## Look at", "## Do"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_runbook_links_to_pages_that_exist(page: Path) -> None:
    links = re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8"))
    assert [link for link in links if not (RUNBOOKS / link).is_file()] == []
