"""Prometheus and Alertmanager, the real ones."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from servers import answers, free_port, get, program, running

from receiver import served

Labels = dict[str, str]

# What a scrape adds, and the scope that the exporter tells.
ADDED = ("__name__", "job", "instance")


@dataclass(frozen=True)
class Prometheus:
    """The API of a running server.

    Attributes:
        url: Its base URL.
    """

    url: str

    def query(self, expression: str, at: float | None = None) -> list[tuple[Labels, float]]:
        """Return ``(labels, value)`` of each series of an instant query; values that are no number are left out."""
        parameters = {"query": expression} if at is None else {"query": expression, "time": at}
        data = get(f"{self.url}/api/v1/query", **parameters)["data"]
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        found = [
            ({name: value for name, value in series["metric"].items() if name not in ADDED}, float(series["value"][1]))
            for series in data["result"]
        ]
        return [(labels, value) for labels, value in found if not math.isnan(value)]

    def names(self) -> set[tuple[str, str]]:
        """Return ``(metric, label)`` for each label of each metric that it knows, and ``(metric, "")``."""
        series = get(f"{self.url}/api/v1/series", **{"match[]": '{__name__=~".+"}'})["data"]
        return {(labels["__name__"], label) for labels in series for label in ["", *labels]}

    def values(self, selector: str, label: str) -> list[str]:
        """Return the values that a label has in the series of a selector."""
        found: list[str] = get(f"{self.url}/api/v1/label/{label}/values", **{"match[]": selector})["data"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Return all rules that it evaluates, with their state."""
        return [rule for group in get(f"{self.url}/api/v1/rules")["data"]["groups"] for rule in group["rules"]]


@contextlib.contextmanager
def prometheus(folder: Path, *, target: int, rules: Path, alertmanager: int) -> Iterator[Prometheus]:
    """Run Prometheus.

    Args:
        folder: Where it keeps what it needs.
        target: The port of the application it scrapes every second.
        rules: A folder with the rules that it evaluates every second.
        alertmanager: The port of its Alertmanager.
    """
    folder.mkdir(parents=True)
    port = free_port()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [f"{rules}/*.yaml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]},
        "scrape_configs": [{"job_name": "application", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}],
    }
    # JSON is YAML.
    (folder / "prometheus.yaml").write_text(json.dumps(config), encoding="utf-8")
    server = program("prometheus")
    command = [
        server,
        f"--config.file={folder}/prometheus.yaml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    # Debian's has its pages in files.
    pages = Path(server).parents[1] / "share" / "prometheus" / "web"
    if pages.is_dir():
        command.append(f"--web.local-assets={pages}/")
    with running(command, folder, answers(f"http://127.0.0.1:{port}/-/ready")):
        yield Prometheus(f"http://127.0.0.1:{port}")


@dataclass
class Webhook:
    """The person on call.

    Attributes:
        port: Where Alertmanager posts to.
        alerts: What it posted.
    """

    port: int = 0
    alerts: list[dict[str, Any]] = field(default_factory=list)

    def firing(self, name: str) -> list[dict[str, Any]]:
        """Return the notifications that an alert fires."""
        return [alert for alert in self.alerts if alert["labels"]["alertname"] == name and alert["status"] == "firing"]


@dataclass(frozen=True)
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


@contextlib.contextmanager
def webhook() -> Iterator[Webhook]:
    """Run a :class:`Webhook`."""
    person = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            person.alerts += json.loads(self.rfile.read(int(self.headers["Content-Length"])))["alerts"]
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        person.port = server.server_address[1]
        with served(server):
            yield person


@contextlib.contextmanager
def alertmanager(folder: Path, person: Webhook) -> Iterator[int]:
    """Run Alertmanager, which posts every alert to the webhook at once, and yield its port."""
    folder.mkdir(parents=True)
    port = free_port()
    config = {
        "route": {"receiver": "person", "group_by": ["..."], "group_wait": "0s", "group_interval": "1s"},
        "receivers": [
            {"name": "person", "webhook_configs": [{"url": f"http://127.0.0.1:{person.port}/", "send_resolved": True}]}
        ],
    }
    (folder / "alertmanager.yaml").write_text(json.dumps(config), encoding="utf-8")
    command = [
        program("prometheus-alertmanager"),
        f"--config.file={folder}/alertmanager.yaml",
        f"--storage.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with running(command, folder, answers(f"http://127.0.0.1:{port}/-/ready")):
        yield port
