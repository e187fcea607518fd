"""Take the pictures of ``docs/pictures`` anew: what a person sees in Phoenix and in Prometheus, in a real browser.

    python tests/backends/pictures.py

It needs what this suite needs (``tox.ini``, environment ``backends``), Debian's packages ``prometheus`` and
``chromium``, and from PyPI ``playwright`` (whose own browsers it does not need). It takes three minutes:
Prometheus must have something to draw. Look at the pictures before you commit them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

sys.path.append(str(Path(__file__).resolve().parents[1]))

from ai_lib_python import AiClient
from ai_lib_python.resilience import ResilientConfig, RetryConfig
from phoenix_server import phoenix_server
from prometheus import prometheus
from sender import Sender
from servers import answers, free_port, get, program, running, until

from provider import Step, body, completion, delta, events, provider

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "pictures"
LOAD = ROOT / "examples" / "stack" / "application" / "load.py"
WATCHED = 80
"""Seconds of load before Prometheus is looked at: the minute of the graph, and what the first rate needs."""

ANSWER = "Hello! I am a mock provider: ask whatever you like, the answer is always this one."
USAGE = {"prompt_tokens": 12, "completion_tokens": 18, "total_tokens": 30}
ENVIRONMENT = {
    "AI_PROTOCOL_DIR": str(ROOT / "tests" / "protocol"),
    "OPENAI_API_KEY": "for-the-mock",
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
}
GRAPHS = (
    "sum by (provider, model) (rate(ai_lib_requests_total[15s]))",
    "sum by (kind, type) (rate(ai_lib_attempts_total[15s]))",
)


@contextlib.contextmanager
def page(width: int, height: int) -> Iterator[Any]:
    """Open a page of Debian's Chromium, which reaches this machine alone."""
    # Not installed where types are checked.
    playwright: Any = import_module("playwright.sync_api")
    nowhere_else = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    options = ["--no-sandbox", "--disable-gpu", "--no-proxy-server", nowhere_else]
    with playwright.sync_playwright() as api:
        chromium = api.chromium.launch(executable_path=program("chromium"), args=options)
        opened = chromium.new_page(viewport={"width": width, "height": height}, timezone_id="UTC")
        opened.add_init_script("localStorage.setItem('arize-phoenix-theme', 'light')")
        yield opened
        chromium.close()


def save(name: str, shown: Any) -> None:
    """Write a picture of a page, or of a part of one, when it has loaded, moved and drawn all it wants to."""
    opened = getattr(shown, "page", shown)
    opened.wait_for_load_state("networkidle")
    opened.wait_for_timeout(2000)
    file = PICTURES / f"{name}.png"
    shown.screenshot(path=file)
    sys.stdout.write(f"{file.relative_to(ROOT)}: {file.stat().st_size // 1024} KiB\n")


# --- Phoenix ---

DRAWER = "dialog"
"""What Phoenix calls the part of its page that shows a trace."""


@contextlib.asynccontextmanager
async def sending(endpoint: str, *scripts: list[Step]) -> AsyncIterator[tuple[Sender, str]]:
    """Instrument everything and run a provider; yield the sender to Phoenix, and the provider's base URL."""
    sender = Sender("http", endpoint, traces_only=True)
    async with provider(*scripts) as model:
        with sender.instrumented():
            yield sender, model.base_url
    sender.shutdown()


def trace_of(sender: Sender, root: str) -> str:
    """Return the id of the trace that begins with a span."""
    (identifier,) = {span.context.trace_id for span in sender.spans() if span.name == root and span.parent is None}
    return f"{identifier:032x}"


async def stream(endpoint: str) -> str:
    """Let a user of a service read a stream; return the id of the trace."""
    words = [delta(f"{word} ") for word in ANSWER.split()]
    answer: list[Step] = [0.3, *events(*words, delta(finish="stop", usage=USAGE), delay=0.03)]
    async with sending(endpoint, answer) as (sender, base_url), sender.service(base_url) as user:
        await user.get("/stream")
    return trace_of(sender, "GET /stream")


async def retries(endpoint: str) -> str:
    """Ask a provider that answers at the third attempt; return the id of the trace."""
    scripts: list[list[Step]] = [[0.1, *body({}, status=503)], [0.1, *body({}, status=429)]]
    policy = ResilientConfig(retry=RetryConfig(max_retries=2, min_delay_ms=200))
    async with sending(endpoint, *scripts, [0.4, *body(completion(ANSWER, usage=USAGE))]) as (sender, base_url):
        builder = AiClient.builder().model("openai/gpt-4o").base_url(base_url).with_resilience(policy)
        async with await builder.build() as client:
            await client.chat().user("Hello?").execute()
    return trace_of(sender, "chat gpt-4o")


def of_phoenix(folder: Path) -> None:
    """Picture the traces of a stream and of a call that was retried."""
    with phoenix_server(folder) as endpoints:
        url = endpoints["http"]
        streamed, retried = asyncio.run(stream(url)), asyncio.run(retries(url))

        def stored() -> bool:
            spans = get(f"{url}/v1/projects/default/spans", limit=100)["data"]
            return {streamed, retried} <= {span["context"]["trace_id"] for span in spans}

        until(stored, "Phoenix has the traces")
        traces = f"{url}/projects/{get(f'{url}/v1/projects/default')['data']['id']}/traces"
        with page(1440, 1160) as opened:
            opened.goto(f"{traces}/{streamed}")
            drawer = opened.get_by_test_id(DRAWER)
            drawer.get_by_text("chat gpt-4o").first.click()
            drawer.get_by_text("assistant").first.wait_for()
            save("phoenix-stream", drawer)
        with page(1440, 860) as opened:
            opened.goto(f"{traces}/{retried}")
            drawer = opened.get_by_test_id(DRAWER)
            drawer.get_by_role("tab", name="Events").click()
            drawer.get_by_text("ai_lib.retry", exact=True).nth(1).wait_for()
            for event in drawer.get_by_text("ai_lib.retry", exact=True).all():
                event.click()
            save("phoenix-retries", drawer)


# --- Prometheus ---


def of_prometheus(folder: Path) -> None:
    """Picture two graphs of the load of ``examples/stack``."""
    port = free_port()
    variables = {
        "LOAD_SECONDS": "600",
        "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(port),
    }
    exporters = "--metrics_exporter=prometheus", "--traces_exporter=none", "--logs_exporter=none"
    load = [program("opentelemetry-instrument"), *exporters, sys.executable, str(LOAD)]
    shown = {"tab": 0, "stacked": 1, "range_input": "1m", "step_input": 1}
    parameters = {
        f"g{number}.{name}": value
        for number, graph in enumerate(GRAPHS)
        for name, value in {"expr": graph, **shown}.items()
    }
    with (
        running(load, folder / "load", answers(f"http://127.0.0.1:{port}/metrics"), variables),
        # Without rules, nothing is sent to an Alertmanager.
        prometheus(folder / "prometheus", target=port, rules=folder, alertmanager=port) as server,
        page(1200, 1602) as opened,
    ):
        time.sleep(WATCHED)
        opened.goto(f"{server.url}/graph?{urlencode(parameters)}")
        opened.get_by_text("Total time series").nth(len(GRAPHS) - 1).wait_for()
        save("prometheus", opened)


if __name__ == "__main__":
    os.environ.update(ENVIRONMENT)
    with tempfile.TemporaryDirectory() as temporary:
        of_phoenix(Path(temporary) / "phoenix")
        of_prometheus(Path(temporary) / "prometheus")
