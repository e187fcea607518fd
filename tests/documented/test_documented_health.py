"""``HealthChecker().check()``: health by live evidence, and by the application's own checks."""

# What the runtime itself does not declare.
# mypy: disable-error-code="call-arg, attr-defined"

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ai_lib_python import AiClient
from ai_lib_python.errors import AiLibError
from ai_lib_python.resilience import (
    Backpressure,
    BackpressureConfig,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitState,
    ResilientConfig,
)
from ai_lib_python.telemetry import (
    AggregatedHealth,
    HealthChecker,
    HealthCheckResult,
    HealthStatus,
    get_health_checker,
)
from asked import OK, QUIET, SERVER_ERROR, calls, fresh_tracker, health, shown
from opentelemetry.exporter.otlp.proto.grpc import exporter
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

from opentelemetry_instrumentation_ailib import AiLibInstrumentor, FeedbackCollector, live
from opentelemetry_instrumentation_ailib.documented import outcomes
from opentelemetry_instrumentation_ailib.documented.current import CURRENT
from provider import Provider, provider
from recorder import Recorder

tracker = pytest.fixture(autouse=True)(fresh_tracker)


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


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize("full", [0, 1])
async def test_of_several_queues_of_one_name_the_fullest_shows(full: int) -> None:
    queues = Backpressure(BackpressureConfig(max_concurrent=1)), Backpressure(BackpressureConfig(max_concurrent=1))
    async with queues[full].acquire():
        report = await HealthChecker().check()
    assert report.status is HealthStatus.DEGRADED
    assert report.details["queues"] == {"standalone": {"in_flight": 1, "limit": 1}}


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


@pytest.mark.noisy("opentelemetry")
@pytest.mark.usefixtures("instrumented")
async def test_failures_that_the_exporters_logger_takes_for_one_are_counted() -> None:
    for signal in ("traces", "metrics", "traces"):
        logging.getLogger(exporter.__name__).error("Failed to export %s, all", signal)
    assert (await HealthChecker().check()).details["telemetry"] == {"export_failures": 3, "failing": True}


class Broken(InMemoryLogRecordExporter):
    """Delivers nothing."""

    def export(self, batch: Any) -> Any:
        """Fail."""
        raise OSError("no disk")


@pytest.mark.noisy("opentelemetry")
async def test_an_exporter_of_events_that_fails_at_once_degrades(instrumented: Recorder) -> None:
    instrumented.logger_provider.add_log_record_processor(SimpleLogRecordProcessor(Broken()))  # type: ignore[no-untyped-call]
    FeedbackCollector().record(rating=5)
    assert (await HealthChecker().check()).details["telemetry"] == {"export_failures": 1, "failing": True}


def test_no_filter_stays_behind(recorder: Recorder) -> None:
    logger = logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter")
    before = list(logger.filters)
    AiLibInstrumentor().instrument(**recorder.providers)
    assert len(logger.filters) == len(before) + 1
    AiLibInstrumentor().uninstrument()
    assert logger.filters == before


# --- components of the application's own making ---


class Odd:
    """What can be asked for nothing."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
@pytest.mark.usefixtures("instrumented")
async def test_a_component_that_cannot_be_read_is_left_out() -> None:
    components, odd = CURRENT.round.telemetry.components, (Odd(), Odd())  # type: ignore[union-attr]
    components.component(live.BREAKER, odd[0])
    components.component(live.BACKPRESSURE, odd[1])
    breaker, queue = CircuitBreaker(), Backpressure(BackpressureConfig(max_concurrent=2))
    report = await HealthChecker().check()
    assert report.details["circuit_breakers"] == {"standalone": breaker.state.value}
    assert report.details["queues"] == {"standalone": {"in_flight": queue.current_inflight, "limit": 2}}


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
@pytest.mark.usefixtures("instrumented")
async def test_an_open_breaker_that_does_not_say_until_when_degrades() -> None:
    class Silent(CircuitBreaker):
        state = CircuitState.OPEN  # type: ignore[assignment]

        def get_time_until_retry(self) -> float:
            raise RuntimeError

    breaker = Silent()
    report = await HealthChecker().check()
    assert report.details["circuit_breakers"] == {"standalone": breaker.state.value}
    assert report.status is HealthStatus.DEGRADED


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
async def test_a_checks_status_may_be_the_string_that_it_equals() -> None:
    checker = HealthChecker()
    checker.register("database", result("degraded"))  # type: ignore[arg-type]
    report = await checker.check()
    assert report.status is HealthStatus.DEGRADED
    found = report.details["checks"]["database"]
    assert (found["name"], found["status"], found["details"]) == ("database", "degraded", {"rows": 3})


class Rated(HealthCheckResult):
    """A result of the application's own, which keeps more than it tells."""

    dsn = "postgres://me:secret@db"

    def to_dict(self) -> dict[str, Any]:
        """Tell how many rows there are."""
        return {**super().to_dict(), "rows": len(vars(self)["_rows"])}


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize("status", [HealthStatus.HEALTHY, "healthy"])
async def test_a_result_of_the_applications_own_is_told_as_it_tells_itself(status: Any) -> None:
    async def check() -> HealthCheckResult:
        found = Rated("own", status)
        vars(found)["_rows"] = [object()]
        return found

    checker = HealthChecker()
    checker.register("own", check)
    checker.register("database", result(HealthStatus.HEALTHY))
    report = await checker.check()
    told = json.loads(json.dumps(report.details["checks"]))
    assert sorted(told["own"]) == sorted([*told["database"], "rows"])
    assert (told["own"]["status"], told["own"]["rows"]) == ("healthy", 1)


@pytest.mark.usefixtures("instrumented")
@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
@pytest.mark.parametrize(
    "result_of",
    [
        lambda: Rated("own", HealthStatus.HEALTHY),
        lambda: SimpleNamespace(status=HealthStatus.HEALTHY),
        lambda: HealthCheckResult([], HealthStatus.HEALTHY),  # type: ignore[arg-type]
    ],
    ids=["fails", "has no name", "has a list for one"],
)
async def test_a_result_that_cannot_be_told_costs_the_others_nothing(result_of: Callable[[], Any]) -> None:
    async def check() -> HealthCheckResult:
        return result_of()  # type: ignore[no-any-return]

    checker = HealthChecker()
    checker.register("own", check)
    checker.register("database", result(HealthStatus.HEALTHY))
    report = await checker.check()
    assert report.status is HealthStatus.HEALTHY
    assert [(name, told["details"]) for name, told in report.details["checks"].items()] == [("database", {"rows": 3})]


@pytest.mark.usefixtures("instrumented")
async def test_what_is_told_of_a_check_is_what_the_runtime_tells() -> None:
    checker = HealthChecker()
    checker.register("database", result(HealthStatus.HEALTHY))
    report = await checker.check()
    assert report.details["checks"] == {"database": report.checks[0].to_dict()}


@pytest.mark.usefixtures("instrumented")
async def test_a_checker_of_the_applications_own_has_its_way() -> None:
    class Own(HealthChecker):
        """Takes no timeout, and answers with a string."""

        async def check_all(self) -> AggregatedHealth:  # type: ignore[override]
            return AggregatedHealth("degraded", (await super().check_all(1.0)).checks)  # type: ignore[arg-type]

    checker = Own()
    checker.register("database", result(HealthStatus.HEALTHY))
    report = await checker.check()
    assert (report.status, [each.name for each in report.checks]) == (HealthStatus.DEGRADED, ["database"])


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
