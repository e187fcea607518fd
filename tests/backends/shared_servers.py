"""The servers that several modules of this suite look at, started once: a plugin, which those modules ask for."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
import warnings
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
from application import CONTENT, ROUNDS, Application
from expected import CALLS
from mock_provider import mock_provider
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from phoenix_server import phoenix_server
from prometheus import Backend, Prometheus, alertmanager, prometheus, webhook
from prometheus_client import CollectorRegistry, Metric, start_http_server
from queries import hurried
from servers import until

from opentelemetry_instrumentation_ailib import AiLibInstrumentor

PROTOCOL = Path(__file__).resolve().parent.parent / "protocol"
ENVIRONMENT = {
    "AI_PROTOCOL_DIR": str(PROTOCOL),
    **{f"{name}_API_KEY": "for-the-mock" for name in ("OPENAI", "ANTHROPIC", "MAPLESS")},
    "THROTTLED_API_KEY": "rate_limit",
}


@pytest.fixture(scope="session")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Run Phoenix; its endpoints by protocol."""
    with phoenix_server(tmp_path_factory.mktemp("phoenix")) as endpoints:
        yield endpoints


@pytest.fixture(scope="session")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """Start Prometheus and Alertmanager, and run the application, which is gone when the tests look at them."""
    folder = tmp_path_factory.mktemp("prometheus")
    rules = hurried(folder / "rules")
    with webhook() as person, alertmanager(folder / "alertmanager", person) as port, contextlib.ExitStack() as stack:
        with littering(), instrumented() as page, page.scraped() as target:
            server = stack.enter_context(
                prometheus(folder / "prometheus", target=target, rules=rules, alertmanager=port)
            )
            asyncio.run(rounds(server, page))
            ((_, now),) = server.query("time()")
        yield Backend(server, person, now)


@contextlib.contextmanager
def littering() -> Iterator[None]:
    """Allow sockets that nobody closes: the runtime never closes the transport of a fallback model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


class Page(CollectorRegistry):
    """What is scraped: never a part of a round, or what a rate sees would depend on when the scrape was."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = threading.Lock()

    def collect(self) -> Iterable[Metric]:
        """Wait for the end of the round that goes on."""
        with self.closed:
            return list(super().collect())

    @contextlib.contextmanager
    def scraped(self) -> Iterator[int]:
        """Show it on a loopback port."""
        server, thread = start_http_server(0, addr="127.0.0.1", registry=self)
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


@contextlib.contextmanager
def instrumented() -> Iterator[Page]:
    """Instrument the runtime with the in-process Prometheus reader, and give the runtime its credentials."""
    page = Page()
    provider = MeterProvider([PrometheusMetricReader(scope_info_enabled=False, registry=page)])
    with patch.dict(os.environ, ENVIRONMENT):
        AiLibInstrumentor().instrument(meter_provider=provider)
        try:
            yield page
        finally:
            AiLibInstrumentor().uninstrument()
            provider.shutdown()


async def rounds(server: Prometheus, page: Page) -> None:
    """Run the application, with scrapes between its rounds so that rates can be told."""
    with mock_provider(PROTOCOL, CONTENT) as mock:
        async with Application(f"{mock}/v1") as application:
            for n in range(1, ROUNDS + 1):
                with page.closed:
                    await application.round()
                wanted = f"sum(ai_lib_requests_total offset 2s) == {n * sum(CALLS.values())}"
                until(partial(server.query, wanted), f"round {n} is scraped, and scraped again")
