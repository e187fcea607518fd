"""Calls that fail or are given up: the error budget, providers, circuit breakers."""

from __future__ import annotations

from typing import Final

from dashboards.promql import FAILED_ATTEMPTS, FAILED_CALLS, INSTANCE, JOB, Queries, equal, ratio

from opentelemetry_instrumentation_ailib import live, semconv

from .rules import CRITICAL, WARNING, Alert, Group, Recording

OBJECTIVE: Final = 0.99
"""The share of calls that has to succeed, over 30 days."""

_BY: Final = (JOB, semconv.LABEL_PROVIDER, semconv.LABEL_MODEL)
_PROVIDER: Final = (JOB, semconv.LABEL_PROVIDER)
_WINDOWS: Final = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
_WHO: Final = "{{ $labels.provider }}/{{ $labels.model }}"
_OPEN: Final = (equal(semconv.LABEL_STATE, live.STATES[-1]),)
_EXECUTOR: Final = (JOB, semconv.LABEL_EXECUTOR)
_PROCESS: Final = (JOB, INSTANCE, semconv.LABEL_EXECUTOR)
_CANCELLED: Final = (equal(semconv.LABEL_TYPE, semconv.CANCELLED),)
_UNHEALTHY: Final = (equal(semconv.LABEL_STATUS, semconv.UNHEALTHY),)


def _recorded(window: str) -> str:
    return f"job_provider_model:ai_lib_errors:ratio_rate{window}"


def _ratio(window: str) -> Recording:
    queries = Queries(window)
    failed = queries.rate(semconv.ERRORS, *_BY, where=FAILED_CALLS)
    return Recording(_recorded(window), ratio(failed, queries.rate(semconv.REQUESTS, *_BY)))


def _burn(factor: float, long: str, short: str) -> str:
    # The long window says that it matters, the short one that it goes on.
    budget = f"{factor} * {1 - OBJECTIVE:g}"
    return f"{_recorded(long)} > {budget} and {_recorded(short)} > {budget}"


def _burning(severity: str, factors: tuple[tuple[float, str, str], ...], calls: int, window: str) -> Alert:
    either = "\n  or\n".join(f"  ({_burn(*factor)})" for factor in factors)
    enough = f"{Queries(window).increase(semconv.REQUESTS, *_BY)} > {calls}"
    return Alert(
        "AiLibErrorBudgetBurn",
        f"(\n{either}\n)\nand\n{enough}",
        "2m" if severity == CRITICAL else "15m",
        severity,
        f"Calls to {_WHO} fail faster than the error budget allows",
        f"{{{{ $value | humanizePercentage }}}} of the calls of {{{{ $labels.job }}}} failed for their caller; "
        f"{OBJECTIVE:.0%} have to succeed.",
    )


_ATTEMPTS, _TEN, _FIFTEEN = Queries("5m"), Queries("10m"), Queries("15m")


def _counting(*instruments: str) -> str:
    """Return a condition that holds for each process that counted something within ten minutes."""
    conditions = []
    for instrument in instruments:
        # The first that a process counts is no increase: its series begins with it. After a gap it does not begin anew.
        before = f"last_over_time({_TEN.select(instrument, span='[6h] offset 10m')})"
        conditions.append(f"increase({_TEN.select(instrument, span='[10m]')}) > 0")
        conditions.append(f"({_TEN.select(instrument)} unless {before})")
    return "\n    or\n    ".join(conditions)


RECORDED: Final = Group("ai-lib-error-ratios", [_ratio(window) for window in _WINDOWS])

CALLS: Final = Group(
    "ai-lib-calls",
    [
        _burning(CRITICAL, ((14.4, "1h", "5m"), (6, "6h", "30m")), 20, "1h"),
        _burning(WARNING, ((3, "1d", "2h"), (1, "3d", "6h")), 100, "1d"),
        Alert(
            "AiLibProviderDown",
            ratio(
                _ATTEMPTS.rate(semconv.ATTEMPTS, *_PROVIDER, where=FAILED_ATTEMPTS),
                _ATTEMPTS.rate(semconv.ATTEMPTS, *_PROVIDER),
            )
            + f" > 0.9\nand\n{_ATTEMPTS.increase(semconv.ATTEMPTS, *_PROVIDER)} > 5",
            "2m",
            CRITICAL,
            "{{ $labels.provider }} does not answer",
            "{{ $value | humanizePercentage }} of the requests that {{ $labels.job }} sent it in five minutes failed, "
            "whatever retries and fallbacks made of them.",
        ),
        Alert(
            "AiLibProviderUnhealthy",
            f"{_ATTEMPTS.gauge(semconv.PROVIDER_HEALTH, *_PROVIDER, where=_UNHEALTHY, function='max')} == 1",
            # A lone call that failed speaks for five minutes.
            "10m",
            WARNING,
            "{{ $labels.provider }} is unhealthy",
            "At least half of the calls that {{ $labels.job }} made to it within five minutes failed, for ten minutes.",
        ),
        Alert(
            "AiLibCallsCancelled",
            ratio(
                _FIFTEEN.rate(semconv.ERRORS, *_BY, where=_CANCELLED),
                _FIFTEEN.rate(semconv.REQUESTS, *_BY),
            )
            + f" > 0.5\nand\n{_FIFTEEN.increase(semconv.ERRORS, *_BY, where=_CANCELLED)} > 10",
            "5m",
            WARNING,
            f"Calls to {_WHO} are given up",
            "{{ $value | humanizePercentage }} of the calls of {{ $labels.job }} were cancelled: by their users, or by "
            "a timeout of the application's own around them, which counts as no failure anywhere.",
        ),
        Alert(
            "AiLibCircuitBreakerOpen",
            # A breaker that is half open for a moment has not recovered, and one that nobody calls stays as it is.
            f"max by ({', '.join(_EXECUTOR)}) (\n"
            f"  max_over_time({_ATTEMPTS.select(semconv.CIRCUIT_BREAKER_STATE, *_OPEN, span='[2m]')}) == 1\n"
            f"  and on ({', '.join(_PROCESS)})\n  (\n"
            f"    {_counting(semconv.CIRCUIT_BREAKER_REJECTIONS, semconv.CIRCUIT_BREAKER_TRANSITIONS)}\n  )\n)",
            "4m",
            CRITICAL,
            "The circuit breaker of {{ $labels.executor }} is open",
            "Calls of {{ $labels.job }} through it fail at once, those to its fallbacks as well. Streams bypass it.",
        ),
    ],
)
