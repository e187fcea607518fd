"""What the documentation refers to exists: links, metrics and their labels, attributes, variables, panels."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry import environment_variables as of_the_api
from opentelemetry.instrumentation import environment_variables as of_instrumentations
from opentelemetry.sdk import environment_variables as of_the_sdk
from opentelemetry.util.genai import environment_variables as of_the_conventions

from docs_blocks import ROOT, blocks
from opentelemetry_instrumentation_ailib import config, loggers, semconv
from promtool import metrics_in, promtool

sys.path.append(str(ROOT))

from dashboards import catalogue

DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("zh-cn/*.md"))]
TEXTS = sorted(
    {
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "dashboards/README.md", "alerts/README.md")),
        *DOCS.rglob("*.md"),
        *(ROOT / "examples").rglob("README.md"),
    }
)

SERIES = {series for metric in catalogue.METRICS.values() for series in metric.series}
LABELS = {label for metric in catalogue.METRICS.values() for label in metric.labels}
OF_PROMETHEUS = {"job", "instance", "le", "otel_metric_overflow", "__name__"}
NAMES = {
    *(value for value in vars(semconv).values() if isinstance(value, str)),
    *semconv.SPAN_NAMES.values(),
    *(value.name for value in vars(loggers).values() if hasattr(value, "isEnabledFor")),
}
VARIABLES = {
    value
    for module in (of_the_api, of_instrumentations, of_the_sdk, of_the_conventions, config)
    for value in vars(module).values()
    if isinstance(value, str) and value.startswith("OTEL_")
} | {"OTEL_EXPORTER_PROMETHEUS_HOST", "OTEL_EXPORTER_PROMETHEUS_PORT"}

each_text = pytest.mark.parametrize("text", TEXTS, ids=lambda text: str(text.relative_to(ROOT)))
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))


def read(text: Path) -> str:
    return text.read_text(encoding="utf-8")


def without_blocks(text: Path) -> str:
    return re.sub(r"^```.*?^```$", "", read(text), flags=re.DOTALL | re.MULTILINE)


# --- links ---


def anchors(text: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_text
def test_every_relative_link_leads_somewhere(text: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", without_blocks(text)):
        target, _, anchor = link.partition("#")
        if "://" in link:
            continue
        file = (text.parent / target) if target else text
        page = file / "README.md" if file.is_dir() else file
        if not file.exists() or (anchor and anchor not in anchors(page)):
            broken.append(link)
    assert broken == []


def test_an_anchor_is_made_as_github_makes_it() -> None:
    page = DOCS / "production.md"
    assert {"in-production", "one-process-or-several", "content-and-the-size-of-a-batch"} <= anchors(page)


# --- names ---


@each_text
def test_every_metric_of_prometheus_that_is_named_exists(text: Path) -> None:
    bases = {re.sub(r"_(bucket|sum|count)$", "", series) for series in SERIES}
    named = set(re.findall(r"\b(?:ai_lib_(?!python)|gen_ai_client_)[a-z_]*[a-z]\b", read(text)))
    assert named - SERIES - bases == set()


@each_text
def test_every_name_of_ours_that_is_named_exists(text: Path) -> None:
    named = set(re.findall(r"(?<![\w./])ai_lib\.[a-z_.]*[a-z]\b(?!\.\*|\.py)", read(text)))
    assert named - NAMES == set()


@each_text
def test_every_variable_of_opentelemetry_that_is_named_exists(text: Path) -> None:
    named = set(re.findall(r"\bOTEL_[A-Z_]*[A-Z]\b", read(text)))
    assert named - VARIABLES == set()


@each_page
def test_every_panel_that_is_named_exists(page: Path) -> None:
    dashboards = [json.loads(read(file)) for file in (ROOT / "dashboards").glob("*.json")]
    panels = {
        f"{dashboard['title'].removeprefix('AI-Lib: ').capitalize()} > {panel['title']}"
        for dashboard in dashboards
        for panel in dashboard["panels"]
        if panel["type"] != "row"
    }
    assert set(re.findall(r"\*\*([A-Z][^*]* > [^*]+)\*\*", read(page))) - panels == set()


# --- queries and configuration ---


def queries(page: Path) -> list[str]:
    """Return the PromQL of a page: a query begins with a line that is neither indented nor a comment."""
    lines = "\n".join(block.source for block in blocks(page) if block.language == "promql")
    code = re.sub(r"^#.*\n", "", lines, flags=re.MULTILINE)
    return [query.strip() for query in re.split(r"\n(?=[^\s)])", code) if query.strip()]


def test_prometheus_accepts_every_query_and_they_ask_for_what_is_emitted(tmp_path: Path) -> None:
    found = [query for page in PAGES for query in queries(page)]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(found)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "documentation", "rules": rules}]}), encoding="utf-8")
    assert f"SUCCESS: {len(found)} rules found" in promtool("check", "rules", file)
    for query in found:
        labels = re.findall(r"[{,]\s*(\w+)\s*[=!]", query)
        labels += re.findall(r"\w+", " ".join(re.findall(r"\b(?:by|on) \(([^)]*)\)", query)))
        assert metrics_in(query) - SERIES == set()
        assert set(labels) - LABELS - OF_PROMETHEUS == set()


def test_every_search_for_traces_is_by_attributes_that_spans_have() -> None:
    searches = [block.source for page in PAGES for block in blocks(page) if block.language == "traceql"]
    assert len(searches) >= 6
    for search in searches:
        assert set(re.findall(r"span\.([\w.]+)", search)) - NAMES == set()
        assert all(line.startswith("{ ") and line.endswith(" }") for line in search.splitlines())


def test_prometheus_accepts_the_configuration_and_the_collectors_has_keys_that_ours_has(tmp_path: Path) -> None:
    of_prometheus, of_a_collector = (
        block.source for page in sorted(DOCS.glob("*.md")) for block in blocks(page) if block.language == "yaml"
    )
    file = tmp_path / "prometheus.yml"
    file.write_text(of_prometheus, encoding="utf-8")
    assert "SUCCESS" in promtool("check", "config", file)
    stack: Any = yaml.safe_load(read(ROOT / "examples" / "stack" / "collector.yaml"))
    shown: Any = yaml.safe_load(of_a_collector)
    assert set(shown) <= set(stack)
    assert set(shown["receivers"]["otlp"]["protocols"]) <= set(stack["receivers"]["otlp"]["protocols"])
