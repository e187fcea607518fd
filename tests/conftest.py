"""Shared fixtures: providers per test, faults that surface, and the runtime's own mock provider over a socket."""

from __future__ import annotations

import functools
import gc
import logging
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

from opentelemetry_instrumentation_ailib import AiLibInstrumentor, cost, guard
from recorder import Recorder

ROOT = Path(__file__).resolve().parent.parent
PROTOCOL = ROOT / "tests" / "protocol"
sys.path.insert(0, str(ROOT / "examples"))

from mock_provider import mock_provider as run_mock_provider  # noqa: E402


def pytest_collection_finish() -> None:
    """Spare the garbage collector, and those who count what calls leave to it, the modules: they stay for good."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def cheap_clients() -> Iterator[None]:
    """Load the certificates of all authorities once, not for each client: 25 ms, and no test speaks TLS by httpx."""
    module = httpx._transports.default
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "create_ssl_context", functools.cache(module.create_ssl_context))
        if find_spec("sniffio") is None:
            # For which httpcore searches all paths with every request.
            patch.setitem(sys.modules, "sniffio", None)  # type: ignore[arg-type]
        yield


@pytest.fixture(autouse=True)
def protocol(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point the runtime at the tests' manifests, with a credential for each, and at nothing else."""
    monkeypatch.setenv("AI_PROTOCOL_DIR", str(PROTOCOL))
    for name in ("OPENAI", "ANTHROPIC", "GEMINI", "MAPLESS", "SELECTIVE"):
        monkeypatch.setenv(f"{name}_API_KEY", f"secret-of-{name.lower()}")
    monkeypatch.setenv("THROTTLED_API_KEY", "rate_limit")
    return PROTOCOL


@pytest.fixture(autouse=True)
def faults_surface(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let faults of ours through, which in production are logged and swallowed (marker ``swallowed`` keeps it so)."""
    if request.node.get_closest_marker("swallowed") is None:

        def surface(site: str, *_: Any, first: bool) -> None:
            raise

        monkeypatch.setattr(guard, "report_fault", surface)


@pytest.fixture(autouse=True)
def unpriced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Price no call, as without the extra ``cost`` (marker ``priced`` leaves it as it is installed)."""
    if request.node.get_closest_marker("priced") is None:
        monkeypatch.setattr(cost, "load", lambda: None)


@pytest.fixture(autouse=True)
def quiet(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test in which OpenTelemetry or asyncio complains (marker ``noisy("asyncio")`` allows that one)."""
    yield
    marker = request.node.get_closest_marker("noisy")
    listened_to = {"opentelemetry", "opentelemetry_instrumentation_ailib", "asyncio"} - set(
        marker.args if marker else ()
    )
    complaints = [
        record.getMessage()
        for phase in ("setup", "call")
        for record in caplog.get_records(phase)
        if record.levelno >= logging.WARNING and record.name.split(".")[0] in listened_to
    ]
    assert complaints == []


@pytest.fixture
def recorder() -> Recorder:
    """Providers and exporters of this test's own."""
    return Recorder()


@pytest.fixture
def instrumented(recorder: Recorder) -> Iterator[Recorder]:
    """The runtime, instrumented, and what it exports."""
    AiLibInstrumentor().instrument(**recorder.providers)
    yield recorder
    AiLibInstrumentor().uninstrument()


@pytest.fixture(scope="session")
def mock() -> Iterator[str]:
    """The base URL of the runtime's own mock provider, in a process of its own."""
    with run_mock_provider(PROTOCOL) as base_url:
        yield f"{base_url}/v1"


async def client(model: str = "openai/gpt-4o", base_url: str | None = None, **options: Any) -> Any:
    """Create a client of the runtime."""
    from ai_lib_python import AiClient

    return await AiClient.create(model, base_url=base_url, **options)
