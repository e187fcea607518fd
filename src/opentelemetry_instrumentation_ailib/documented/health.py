"""``HealthChecker().check()``: health by live evidence. No provider is called to find out.

The page's section is 健康监控 (health monitoring).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import asdict
from enum import Enum
from operator import itemgetter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from opentelemetry_instrumentation_ailib import semconv
from opentelemetry_instrumentation_ailib.documented.current import CURRENT, Round
from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.live import STATES
from opentelemetry_instrumentation_ailib.patching import Arrival, Row, Wrapper
from opentelemetry_instrumentation_ailib.telemetry import Telemetry

if TYPE_CHECKING:
    from opentelemetry_instrumentation_ailib.documented.health_report import HealthReport

_ORDER: Final = (semconv.UNKNOWN, semconv.HEALTHY, semconv.DEGRADED, semconv.UNHEALTHY)
_IN_FLIGHT: Final = "in_flight"
_LIMIT: Final = "limit"


async def check(checker: Any) -> HealthReport:
    """Return the health of the providers, breakers, queues and the telemetry's export, and of what was registered.

    Args:
        checker: The runtime's ``HealthChecker``.
    """
    from ai_lib_python.telemetry.health import HealthStatus

    from opentelemetry_instrumentation_ailib.documented.health_report import HealthReport

    active = CURRENT.round
    evidence = None if active is None else _evidence(active)
    status, details = evidence or (semconv.UNKNOWN, {})
    registered = await checker.check_all() if checker._checks else None
    if registered is not None:
        # A check_all() of the application's own may answer with the string that a status equals, as a check may.
        status = _worst((status, HealthStatus(registered.status).value))
        told = filter(None, map(_told, registered.checks))
        details["checks"] = {name: each for check in told for name, each in check.items()}
    return HealthReport(HealthStatus(status), [] if registered is None else registered.checks, details=details)


@guarded
def _told(result: Any) -> dict[str, Any]:
    if not isinstance(result.status, Enum):
        # The runtime's own to_dict() takes no string for a status, though it equals one.
        status, result = result.status, copy(result)
        result.status = SimpleNamespace(value=status)
    return {result.name: result.to_dict()}


@guarded
def _evidence(active: Round) -> tuple[str, dict[str, Any]]:
    components, failures = active.telemetry.components, active.failures
    providers = {name: asdict(health) for name, health in active.outcomes.all().items()}
    breakers = sorted(components.breakers(), key=itemgetter(2))
    queues = sorted(components.queues(), key=lambda queue: queue[1] - queue[2])  # The fullest last.
    details = {
        "providers": providers,
        # Of several of one name the worst.
        "circuit_breakers": {name: STATES[state] for _, name, state in breakers},
        "queues": {name: {_IN_FLIGHT: held, _LIMIT: limit} for name, held, limit in queues},
        "telemetry": {"export_failures": failures.count, "failing": failures.recent},
    }
    routes = {name: str(health["status"]) for name, health in providers.items()}
    for breaker, name, state in breakers:
        provider = name.partition("/")[0]
        status = _status(breaker, STATES[state]) or semconv.DEGRADED
        routes[provider] = _worst((routes.get(provider, semconv.UNKNOWN), status))
    strained = failures.recent or any(held >= limit for _, held, limit in queues)
    return _worst((_overall(routes.values()), semconv.DEGRADED if strained else semconv.UNKNOWN)), details


@guarded
def _status(breaker: Any, state: str) -> str:
    if state == STATES[0]:
        return semconv.UNKNOWN  # It speaks for no success: every breaker begins so.
    # One that would let the next call through stays open until there is one.
    refuses = state == STATES[-1] and breaker.get_time_until_retry() != 0
    return semconv.UNHEALTHY if refuses else semconv.DEGRADED


def _overall(statuses: Iterable[str]) -> str:
    # As long as one provider works the application can, though not as it should.
    known = [status for status in statuses if status != semconv.UNKNOWN]
    worst = _worst(known)
    if worst == semconv.UNHEALTHY and any(status != semconv.UNHEALTHY for status in known):
        return semconv.DEGRADED
    return worst


def _worst(statuses: Iterable[str]) -> str:
    return max(statuses, key=_ORDER.index, default=semconv.UNKNOWN)


def _check(telemetry: Telemetry) -> Wrapper:
    def run(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # With a name it runs the check of that name, as ever.
        return wrapped(*args, **kwargs) if args or kwargs else check(instance)

    return run


def _catch_up(telemetry: Telemetry) -> None:
    if CURRENT.round is not None:
        CURRENT.round.outcomes.catch_up()


ROWS = (
    Row("ai_lib_python.telemetry.health", "HealthChecker.check", _check),
    Arrival("ai_lib_python.telemetry", "health.get_health_tracker", _catch_up),
)
