"""Resilience components without a client, and what they are used for."""

from __future__ import annotations

from typing import Any

import pytest
from ai_lib_python.resilience import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    RateLimiter,
    RateLimiterConfig,
)

ALONE = "standalone"
GAUGES = (
    "ai_lib.backpressure.in_flight",
    "ai_lib.backpressure.limit",
    "ai_lib.circuit_breaker.state",
    "ai_lib.rate_limiter.available",
)


async def succeed() -> str:
    """Do what works."""
    return "ok"


async def fail() -> str:
    """Do what does not."""
    raise ConnectionError("no")


def breaker(cooldown: float = 60) -> Any:
    """Return a breaker that opens with the first failure."""
    return CircuitBreaker(CircuitBreakerConfig(failure_threshold=1, cooldown_seconds=cooldown))


def limiter(burst: int = 3) -> RateLimiter:
    """Return a limiter whose bucket does not fill up while a test runs."""
    return RateLimiter(RateLimiterConfig(requests_per_second=1e-9, burst_size=burst, initial_tokens=burst))


async def tripped(subject: Any) -> None:
    """Open the circuit of a breaker or an executor."""
    with pytest.raises(ConnectionError):
        await subject.execute(fail)


async def refused(subject: Any, times: int = 1) -> None:
    """Be refused by a breaker or an executor whose circuit is open."""
    for _ in range(times):
        with pytest.raises(CircuitOpenError):
            await subject.execute(succeed)
