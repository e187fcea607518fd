"""Take the pictures of ``docs/pictures`` anew: what a person sees in Phoenix and in Prometheus, in a real browser.

    python tests/backends/pictures.py

It needs what this suite needs (``install.sh``, and ``tox.ini``, environment ``backends``). It takes three minutes:
Prometheus must have something to draw. Look at the pictures before you commit them.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from browser import browser, page
from call_traces import ENVIRONMENT, retried, streamed
from graph_page import GRAPH, GraphPage, graphs
from phoenix_server import phoenix_server
from prometheus import prometheus
from servers import answers, free_port, program, running
from trace_page import TracePage

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "pictures"
LOAD = ROOT / "examples" / "stack" / "application" / "load.py"
WATCHED = 80
"""Seconds of load before Prometheus is looked at: the minute of the graph, and what the first rate needs."""

EXPRESSIONS = (
    "sum by (provider, model) (rate(ai_lib_requests_total[15s]))",
    "sum by (kind, type) (rate(ai_lib_attempts_total[15s]))",
)


async def save(name: str, shown: Any) -> None:
    """Write a picture of a page, or of a part of one, when it has loaded, moved and drawn all it wants to."""
    opened = getattr(shown, "page", shown)
    await opened.wait_for_load_state("networkidle")
    await opened.wait_for_timeout(2000)
    file = PICTURES / f"{name}.png"
    await shown.screenshot(path=file)
    sys.stdout.write(f"{file.relative_to(ROOT)}: {file.stat().st_size // 1024} KiB\n")


async def of_phoenix(context: Any, folder: Path) -> None:
    """Picture the traces of a stream and of a call that was retried."""
    with phoenix_server(folder) as endpoints:
        async with page(context, 1440, 1160) as tab:
            shown = TracePage(tab)
            await shown.open(endpoints["http"], await streamed(endpoints["http"]))
            await shown.messages()
            await save("phoenix-stream", shown.drawer)
        async with page(context, 1440, 860) as tab:
            shown = TracePage(tab)
            await shown.open(endpoints["http"], await retried(endpoints["http"]))
            await shown.events()
            await save("phoenix-retries", shown.drawer)


async def of_prometheus(context: Any, folder: Path) -> None:
    """Picture two graphs of the load of ``examples/stack``."""
    port = free_port()
    variables = {
        "LOAD_SECONDS": "600",
        "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(port),
    }
    exporters = "--metrics_exporter=prometheus", "--traces_exporter=none", "--logs_exporter=none"
    load = [program("opentelemetry-instrument"), *exporters, sys.executable, str(LOAD)]
    drawn = {"tab": GRAPH, "stacked": 1, "range_input": "1m", "step_input": 1}
    with (
        running(load, folder / "load", answers(f"http://127.0.0.1:{port}/metrics"), variables),
        # Without rules, nothing is sent to an Alertmanager.
        prometheus(folder / "prometheus", target=port, rules=folder, alertmanager=port) as server,
    ):
        await asyncio.sleep(WATCHED)
        async with page(context, 1200, 1602) as tab:
            address = graphs(server.url, *({"expr": expression, **drawn} for expression in EXPRESSIONS))
            await GraphPage(tab).open(address, len(EXPRESSIONS))
            await save("prometheus", tab)


async def main(folder: Path) -> None:
    """Take them all."""
    async with browser() as context:
        await of_phoenix(context, folder / "phoenix")
        await of_prometheus(context, folder / "prometheus")


if __name__ == "__main__":
    os.environ.update(ENVIRONMENT)
    with tempfile.TemporaryDirectory() as temporary:
        asyncio.run(main(Path(temporary)))
