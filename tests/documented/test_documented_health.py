"""``HealthChecker().check()``, ``get_health_tracker()`` and ``ai_lib.provider.health``: health by live evidence."""

# What the runtime itself does not declare.
# mypy: disable-error-code="call-arg, attr-defined"

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from ai_lib_python import AiClient
from ai_lib_python.errors import AiLibError
from ai_lib_python.resilience import BackpressureConfig, CircuitBreakerConfig, ResilientConfig
from ai_lib_python.telemetry import (
    HealthChecker,
    HealthCheckResult,
    HealthStatus,
    get_health_checker,
    get_health_tracker,
)

from differential import _transports
from opentelemetry_instrumentation_ailib import AiLibInstrumentor
from opentelemetry_instrumentation_ailib.documented import outcomes
from opentelemetry_instrumentation_ailib.documented.current import CURRENT
from provider import Provider, Step, body, completion, delta, events, provider
from recorder import Recorder

OK = body(completion())
SERVER_ERROR = body({"error": {"message": "No."}}, 500)
QUIET = {"export_failures": 0, "failing": False}


@pytest.fixture(autouse=True)
def tracker() -> Iterator[Any]:
    """The runtime's tracker, empty before and after."""
    tracker = get_health_tracker()
    tracker.reset()
    yield tracker
    tracker.reset()


async def calls(server: Provider, count: int = 1, model: str = "openai/gpt-4o", **resilience: Any) -> None:
    """Make calls, whatever comes of them."""
    with _transports() as transports:
        builder = AiClient.builder().model(model).base_url(server.base_url)
        if "fallbacks" in resilience:
            builder.with_fallbacks(resilience.pop("fallbacks"))
        if resilience:
            builder.with_resilience(ResilientConfig(**resilience))
        client = await builder.build()
        for _ in range(count):
            await asyncio.gather(client.chat().user("Hello?").execute(), return_exceptions=True)
        for transport in transports:
            await transport.close()


def health(status: str, rate: float, count: int, error: str | None = None) -> dict[str, Any]:
    """Return what the details say of a provider."""
    return {"status": status, "error_rate": pytest.approx(rate), "calls": count, "last_error": error}


def shown(recorder: Recorder) -> dict[str, str]:
    """Return the status of each provider as the gauge has it, and fail unless it has one."""
    points = recorder.points("ai_lib.provider.health")
    providers = {labels["provider"] for labels, _ in points}
    assert sorted((labels["provider"], labels["status"]) for labels, _ in points) == sorted(
        (name, status) for name in providers for status in ("healthy", "degraded", "unhealthy", "unknown")
    )
    assert sum(value for _, value in points) == len(providers)
    return {labels["provider"]: labels["status"] for labels, value in points if value}


# --- check() ---


async def test_no_traffic_is_unknown_and_not_unhealthy(instrumented: Recorder) -> None:
    report = await HealthChecker().check()
    assert (report.status, report.is_healthy, report.checks) == (HealthStatus.UNKNOWN, True, [])
    assert report.details == {"providers": {}, "circuit_breakers": {}, "queues": {}, "telemetry": QUIET}
    assert shown(instrumented) == {}


@pytest.mark.parametrize(
    ("failures", "status"), [(0, "healthy"), (1, "degraded"), (4, "degraded"), (5, "unhealthy"), (10, "unhealthy")]
)
async def test_the_share_of_failures_makes_the_status(failures: int, status: str, instrumented: Recorder) -> None:
    async with provider(*[SERVER_ERROR] * failures, *[OK] * (10 - failures)) as server:
        await calls(server, 10)
    report = await HealthChecker().check()
    assert report.status.value == status
    assert report.is_healthy is (status != "unhealthy")
    error = "server_error" if failures else None
    assert report.details["providers"] == {"openai": health(status, failures / 10, 10, error)}
    assert shown(instrumented) == {"openai": status}


@pytest.mark.usefixtures("instrumented")
async def test_one_provider_of_two_that_fails_degrades_the_whole() -> None:
    async with provider(SERVER_ERROR) as broken, provider(OK) as working:
        await calls(broken, 3, "anthropic/claude")
        await calls(working, 3)
    report = await HealthChecker().check()
    assert (report.status, report.is_healthy) == (HealthStatus.DEGRADED, True)
    assert {name: found["status"] for name, found in report.details["providers"].items()} == {
        "anthropic": "unhealthy",
        "openai": "healthy",
    }


@pytest.mark.usefixtures("instrumented")
async def test_a_provider_that_a_fallback_stands_in_for_shows() -> None:
    async with provider(SERVER_ERROR, OK) as server:
        await calls(server, fallbacks=["anthropic/claude"])
    report = await HealthChecker().check()
    assert report.details["providers"] == {
        "openai": health("unhealthy", 1.0, 1, "server_error"),
        "anthropic": health("healthy", 0.0, 1),
    }


@pytest.mark.usefixtures("instrumented")
async def test_only_the_last_hundred_calls_of_five_minutes_count(monkeypatch: pytest.MonkeyPatch) -> None:
    async with provider(SERVER_ERROR, *[OK] * 100) as server:
        await calls(server, 101)
    report = await HealthChecker().check()
    assert report.details["providers"] == {"openai": health("healthy", 0.0, 100)}
    monkeypatch.setattr(outcomes, "MAX_AGE", -1.0)
    report = await HealthChecker().check()
    assert report.status is HealthStatus.UNKNOWN
    assert report.details["providers"] == {"openai": health("unknown", 0.0, 0)}


async def unsent(client: Any) -> None:
    await client.chat().user("Hello?").param("seed", object()).execute()


async def cancelled(client: Any) -> None:
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(client.chat().user("Hello?").execute(), 0.01)
    await asyncio.sleep(0.1)  # The server comes to the end of its answer, which nobody takes.


async def plain(client: Any) -> None:
    await client.chat().user("Hello?").execute()


async def streamed(client: Any) -> None:
    async for _ in client.chat().user("Hello?").stream():
        pass


async def left(client: Any) -> None:
    async for _ in client.chat().user("Hello?").stream():
        break


FRAMES = events(delta("Hel"), delta("lo", finish="stop"))
EVIDENCE: dict[str, tuple[Callable[[Any], Awaitable[None]], list[Step], str | None]] = {
    "answered": (plain, OK, "healthy"),
    "streamed": (streamed, FRAMES, "healthy"),
    "left by the consumer": (left, FRAMES, "healthy"),
    "invalid request": (plain, body({"error": {"message": "No."}}, 400), "healthy"),
    "not found": (plain, body({"error": {"message": "No."}}, 404), "healthy"),
    "rate limited": (plain, body({"error": {"message": "No."}}, 429), "unhealthy"),
    "not authorised": (plain, body({"error": {"message": "No."}}, 401), "unhealthy"),
    "server error": (plain, SERVER_ERROR, "unhealthy"),
    "hung up": (plain, [], "unhealthy"),
    "no JSON": (plain, body(b"<html>"), "unhealthy"),
    "cut stream": (streamed, events(delta("Hel"), done=False, end=False), "unhealthy"),
    "never sent": (unsent, OK, None),
    "cancelled": (cancelled, [0.03, *OK], None),
}


@pytest.mark.parametrize("name", EVIDENCE)
async def test_what_says_something_about_a_provider(name: str, instrumented: Recorder, tracker: Any) -> None:
    """What was given up, or never sent, says nothing; a refusal of the request says that somebody is there."""
    call, script, status = EVIDENCE[name]
    async with provider(script) as server:
        client = await AiClient.create("openai/gpt-4o", base_url=server.base_url)
        await asyncio.gather(call(client), return_exceptions=True)
        await client.close()
    assert shown(instrumented) == ({} if status is None else {"openai": status})
    assert tracker.get_status("openai").value == (status or "unknown")


# --- breakers and queues ---


@pytest.mark.usefixtures("instrumented")
async def test_an_open_breaker_of_the_only_provider_is_unhealthy_whatever_went_before() -> None:
    breaker = CircuitBreakerConfig(failure_threshold=1, cooldown_seconds=60)
    async with provider(*[OK] * 20, SERVER_ERROR) as server:
        await calls(server, 20)
        client_calls = asyncio.ensure_future(kept_open(server, breaker))
        report = await client_calls
    assert (report.status, report.is_healthy) == (HealthStatus.UNHEALTHY, False)
    assert report.details["providers"]["openai"]["status"] == "healthy"
    assert report.details["circuit_breakers"] == {"openai/gpt-4o": "open"}


async def kept_open(server: Provider, breaker: CircuitBreakerConfig) -> Any:
    """Let a breaker open and return the health while it is."""
    client = (
        await AiClient.builder()
        .model("openai/gpt-4o")
        .base_url(server.base_url)
        .with_resilience(ResilientConfig(circuit_breaker=breaker))
        .build()
    )
    with pytest.raises(AiLibError):
        await client.chat().user("Hello?").execute()
    report = await HealthChecker().check()
    await client.close()
    return report


@pytest.mark.usefixtures("instrumented")
async def test_a_breaker_that_would_let_the_next_call_through_is_degraded() -> None:
    async with provider(SERVER_ERROR) as server:
        report = await kept_open(server, CircuitBreakerConfig(failure_threshold=1, cooldown_seconds=0))
    assert report.details["circuit_breakers"] == {"openai/gpt-4o": "open"}
    assert report.details["providers"]["openai"]["status"] == "unhealthy"
    active = CURRENT.round
    assert active is not None
    active.outcomes._providers.clear()
    async with provider(*[OK] * 20, SERVER_ERROR) as server:
        await calls(server, 20)
        report = await kept_open(server, CircuitBreakerConfig(failure_threshold=1, cooldown_seconds=0))
    assert (report.status, report.is_healthy) == (HealthStatus.DEGRADED, True)


@pytest.mark.usefixtures("instrumented")
async def test_a_full_queue_degrades() -> None:
    async with provider([0.2, *OK]) as server:
        client = (
            await AiClient.builder()
            .model("openai/gpt-4o")
            .base_url(server.base_url)
            .with_resilience(ResilientConfig(backpressure=BackpressureConfig(max_concurrent=1)))
            .build()
        )
        call = asyncio.ensure_future(client.chat().user("Hello?").execute())
        while not server.requests:
            await asyncio.sleep(0)
        report = await HealthChecker().check()
        await call
        await client.close()
    assert (report.status, report.is_healthy) == (HealthStatus.DEGRADED, True)
    assert report.details["queues"] == {"openai/gpt-4o": {"in_flight": 1, "limit": 1}}


# --- the export of telemetry ---


@pytest.mark.noisy("opentelemetry")
@pytest.mark.usefixtures("instrumented")
async def test_an_exporters_failures_degrade() -> None:
    logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter").warning("Transient error")
    assert (await HealthChecker().check()).details["telemetry"] == QUIET
    logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter").error("Failed to export")
    report = await HealthChecker().check()
    assert report.details["telemetry"] == {"export_failures": 1, "failing": True}
    assert (report.status, report.is_healthy) == (HealthStatus.DEGRADED, True)


def test_no_filter_stays_behind(recorder: Recorder) -> None:
    logger = logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter")
    before = list(logger.filters)
    AiLibInstrumentor().instrument(**recorder.providers)
    assert len(logger.filters) == len(before) + 1
    AiLibInstrumentor().uninstrument()
    assert logger.filters == before


# --- checks of the application's own ---


def result(status: HealthStatus) -> Callable[[], Awaitable[HealthCheckResult]]:
    """Return a check with a result."""

    async def check() -> HealthCheckResult:
        return HealthCheckResult("database", status, details={"rows": 3})

    return check


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize("status", list(HealthStatus))
async def test_registered_checks_count(status: HealthStatus) -> None:
    checker = HealthChecker()
    checker.register("database", result(status))
    async with provider(OK) as server:
        await calls(server)
    report = await checker.check()
    expected = HealthStatus.HEALTHY if status is HealthStatus.UNKNOWN else status
    assert (report.status, report.is_healthy) == (expected, status is not HealthStatus.UNHEALTHY)
    assert report.details["checks"]["database"]["details"] == {"rows": 3}
    assert [found.name for found in report.checks] == ["database"]
    assert json.loads(json.dumps(report.to_dict()))["is_healthy"] is report.is_healthy


@pytest.mark.usefixtures("instrumented")
async def test_a_check_that_raises_is_unhealthy() -> None:
    async def check() -> HealthCheckResult:
        raise OSError("no database")

    checker = HealthChecker()
    checker.register("database", check)
    report = await checker.check()
    assert (report.is_healthy, report.details["checks"]["database"]["message"]) == (False, "no database")


@pytest.mark.usefixtures("instrumented")
async def test_a_check_by_its_name_is_the_runtimes() -> None:
    checker = HealthChecker()
    checker.register("database", result(HealthStatus.DEGRADED))
    for found in (await checker.check("database"), await checker.check(name="database")):
        assert (type(found), found.status) == (HealthCheckResult, HealthStatus.DEGRADED)
    with pytest.raises(KeyError, match="Health check not found: absent"):
        await checker.check("absent")
    assert (await checker.check_all()).status is HealthStatus.DEGRADED
    assert (await get_health_checker().check()).status is HealthStatus.UNKNOWN


async def test_without_instrumentation_a_name_is_needed() -> None:
    with pytest.raises(TypeError):
        await HealthChecker().check()


# --- the runtime's tracker ---


async def test_the_tracker_is_fed_by_every_call(instrumented: Recorder, tracker: Any) -> None:
    async with provider(OK, OK, SERVER_ERROR) as server:
        await calls(server, 3)
    details = tracker.get_details("openai")
    assert (details["sample_count"], details["error_rate"]) == (3, pytest.approx(1 / 3))
    assert (details["status"], details["last_error"]) == ("degraded", "server_error")
    assert details["last_failure_time"] >= details["last_success_time"] > 0


async def test_documented_api_false_does_not_feed_it(recorder: Recorder, tracker: Any) -> None:
    AiLibInstrumentor().instrument(**recorder.providers, documented_api=False)
    async with provider(OK) as server:
        await calls(server)
    assert shown(recorder) == {"openai": "healthy"}
    AiLibInstrumentor().uninstrument()
    assert tracker.get_all_providers() == []


LATE = """
import asyncio, sys
from opentelemetry_instrumentation_ailib import AiLibInstrumentor
AiLibInstrumentor().instrument()
from ai_lib_python import AiClient

async def main():
    for _ in range(3):
        client = await AiClient.create("openai/gpt-4o", base_url=sys.argv[1])
        await client.chat().user("Hello?").execute()
        await client.close()
    assert "ai_lib_python.telemetry" not in sys.modules
    from ai_lib_python.telemetry import get_health_tracker
    print(get_health_tracker().get_details("openai")["sample_count"])

asyncio.run(main())
"""


def test_a_tracker_that_is_imported_late_has_the_calls_before(mock: str) -> None:
    command = [sys.executable, "-c", LATE, mock]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("3\n", "")


# --- the gauge ---


async def test_the_gauge_is_silent_after_uninstrument_and_starts_anew(recorder: Recorder, tracker: Any) -> None:
    AiLibInstrumentor().instrument(**recorder.providers)
    async with provider(SERVER_ERROR) as server:
        await calls(server)
    assert shown(recorder) == {"openai": "unhealthy"}
    AiLibInstrumentor().uninstrument()
    assert recorder.points("ai_lib.provider.health") == []
    other = Recorder()
    AiLibInstrumentor().instrument(**other.providers)
    async with provider(OK) as server:
        await calls(server, model="anthropic/claude")
    assert (shown(recorder), shown(other)) == ({}, {"anthropic": "healthy"})
    AiLibInstrumentor().uninstrument()
