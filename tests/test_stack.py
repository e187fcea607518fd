"""The stack to copy: its files fit each other and what they refer to."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from opentelemetry_instrumentation_ailib import semconv

STACK = Path(__file__).resolve().parent.parent / "examples" / "stack"
FILES = sorted(path for path in STACK.rglob("*.yaml"))

# What the images listen on without being told.
DEFAULT_PORTS = {"jaeger": {4317, 4318, 16686}, "prometheus": {9090}, "grafana": {3000}, "application": set()}


def load(name: str) -> Any:
    return yaml.safe_load((STACK / name).read_text(encoding="utf-8"))


@pytest.fixture
def services() -> dict[str, Any]:
    found: dict[str, Any] = load("compose.yaml")["services"]
    return found


def mounts(service: dict[str, Any]) -> dict[str, Path]:
    """Return what is mounted where."""
    pairs = (volume.split(":") for volume in service.get("volumes", ()))
    return {target: (STACK / source).resolve() for source, target, mode in pairs if mode == "ro"}


def inside(service: dict[str, Any], path: str) -> Path:
    """Return the file that a path inside a container leads to."""
    for target, source in mounts(service).items():
        if path == target or path.startswith(f"{target}/"):
            return Path(f"{source}{path.removeprefix(target)}")
    raise AssertionError(f"{path} is not mounted")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(STACK)))
def test_every_file_parses(file: Path) -> None:
    assert isinstance(yaml.safe_load(file.read_text(encoding="utf-8")), dict)


def test_images_are_pinned_and_ports_are_open_to_this_machine_alone(services: dict[str, Any]) -> None:
    for service in services.values():
        assert "build" in service or re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", service["image"])
        for port in service.get("ports", ()):
            assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port)


def test_what_is_mounted_and_built_exists(services: dict[str, Any]) -> None:
    for service in services.values():
        assert len(mounts(service)) == len(service.get("volumes", ()))
        for source in mounts(service).values():
            assert source.exists()
    build = services["application"]["build"]
    dockerfile = (STACK / build["context"] / build["dockerfile"]).read_text(encoding="utf-8")
    for copied in re.findall(r"^COPY (.+) \S+$", dockerfile, re.MULTILINE):
        for source in copied.split():
            assert (STACK / build["context"] / source).exists()
    (started,) = re.findall(r'"(examples/[^"]+)"', dockerfile)
    assert (STACK / build["context"] / started).is_file()


def test_configuration_files_are_where_the_commands_look(services: dict[str, Any]) -> None:
    options = [
        (service, option.partition("=")[2])
        for service in services.values()
        for option in service.get("command", ())
        if option.lstrip("-").startswith("config")
    ]
    assert len(options) == 3
    for service, path in options:
        assert inside(service, path).is_file()


def test_prometheus_loads_the_shipped_rules(services: dict[str, Any]) -> None:
    (pattern,) = load("prometheus.yaml")["rule_files"]
    folder = inside(services["prometheus"], str(Path(pattern).parent))
    assert {file.name for file in folder.glob(Path(pattern).name)} == {"alerts.yaml", "recording.yaml"}


def test_grafana_finds_the_shipped_dashboards(services: dict[str, Any]) -> None:
    grafana = services["grafana"]
    (provider,) = load("grafana/dashboards/dashboards.yaml")["providers"]
    assert len(list(inside(grafana, provider["options"]["path"]).glob("*.json"))) == 4
    assert inside(grafana, grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]).is_file()
    for kind in ("datasources", "dashboards"):
        assert inside(grafana, f"/etc/grafana/provisioning/{kind}").is_dir()


def test_the_dashboards_find_their_data_sources() -> None:
    sources = load("grafana/datasources/datasources.yaml")["datasources"]
    by_uid = {source["uid"]: source["type"] for source in sources}
    prometheus, tempo, _ = (source.get("jsonData", {}) for source in sources)
    assert [by_uid[link["datasourceUid"]] for link in prometheus["exemplarTraceIdDestinations"]] == ["tempo"]
    assert by_uid[tempo["tracesToMetrics"]["datasourceUid"]] == "prometheus"
    for file in (STACK / "../../dashboards").glob("*.json"):
        variables = json.loads(file.read_text(encoding="utf-8"))["templating"]["list"]
        wanted = {variable["query"] for variable in variables if variable["type"] == "datasource"}
        assert wanted <= set(by_uid.values())


def listening() -> dict[str, set[int]]:
    """Return the ports on which each service listens."""
    collector, tempo = load("collector.yaml"), load("tempo.yaml")
    endpoints = [
        *(protocol["endpoint"] for protocol in collector["receivers"]["otlp"]["protocols"].values()),
        collector["exporters"]["prometheus"]["endpoint"],
    ]
    (reader,) = collector["service"]["telemetry"]["metrics"]["readers"]
    of_tempo = [protocol["endpoint"] for protocol in tempo["distributor"]["receivers"]["otlp"]["protocols"].values()]
    return {
        **DEFAULT_PORTS,
        "collector": {int(endpoint.rpartition(":")[2]) for endpoint in endpoints}
        | {reader["pull"]["exporter"]["prometheus"]["port"]},
        "tempo": {int(endpoint.rpartition(":")[2]) for endpoint in of_tempo} | {tempo["server"]["http_listen_port"]},
    }


def test_who_is_called_listens(services: dict[str, Any]) -> None:
    ports = listening()
    assert set(ports) == set(services)
    texts = [file.read_text(encoding="utf-8") for file in FILES]
    called = {(name, int(port)) for text in texts for name, port in re.findall(r"\b([a-z]+):(\d{4,5})\b", text)}
    assert {name for name, _ in called} == {"collector", "jaeger", "tempo", "prometheus"}
    for name, port in called:
        assert port in ports[name]
    for name, service in services.items():
        for port in service.get("ports", ()):
            assert int(port.rpartition(":")[2]) in ports[name]


def test_the_collector_uses_what_it_defines() -> None:
    collector = load("collector.yaml")
    for kind in ("receivers", "processors", "exporters"):
        used = {name for pipeline in collector["service"]["pipelines"].values() for name in pipeline.get(kind, ())}
        assert used == set(collector[kind])
    for pipeline in collector["service"]["pipelines"].values():
        assert pipeline["processors"][0] == "memory_limiter"


def test_sampling_looks_at_attributes_that_calls_have() -> None:
    policies = load("collector.yaml")["processors"]["tail_sampling"]["policies"]
    settings = {policy["name"]: policy[policy["type"]] for policy in policies}
    outcomes, attempts = settings["streams-that-ended-badly"], settings["saved-by-resilience"]
    assert (outcomes["key"], outcomes["values"]) == (semconv.STREAM_OUTCOME, ["truncated", "empty"])
    assert (attempts["key"], attempts["min_value"]) == (semconv.ATTEMPTS, 2)
    assert settings["slow-first-chunk"]["span"] == [f'attributes["{semconv.RESPONSE_TIME_TO_FIRST_CHUNK}"] > 3.0']
    assert settings["errors"] == {"status_codes": ["ERROR"]}


def test_a_trace_leads_to_metrics_that_exist() -> None:
    sources = load("grafana/datasources/datasources.yaml")["datasources"]
    (links,) = (source["jsonData"]["tracesToMetrics"] for source in sources if source["uid"] == "tempo")
    assert {tag["key"] for tag in links["tags"]} == {semconv.PROVIDER_ID, semconv.REQUEST_MODEL}
    assert {tag["value"] for tag in links["tags"]} == {semconv.LABEL_PROVIDER, semconv.LABEL_MODEL}
    names = {name for query in links["queries"] for name in re.findall(r"ai_lib\w+", query["query"])}
    assert names == {
        f"{semconv.REQUEST_DURATION.replace('.', '_')}_seconds_bucket",
        f"{semconv.ERRORS.replace('.', '_')}_total",
    }
