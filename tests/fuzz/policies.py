"""How calls are kept going, or kept from going: retries, breakers, limiters, queues and fallback models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ai_lib_python.resilience import (
    BackpressureConfig,
    CircuitBreakerConfig,
    RateLimiterConfig,
    ResilientConfig,
    RetryConfig,
)
from ai_lib_python.resilience.retry import JitterStrategy
from frames import UNIT
from hypothesis import strategies as st

OTHER, SAME, NOWHERE = "other/m-2", "fuzzed/m", "nowhere/m"
"""Models to fall back to: that of another manifest, the one asked in the first place, and one without a manifest."""


@dataclass(frozen=True)
class Policy:
    """What a client does about failure and load; each part may be missing."""

    retry: dict[str, Any] | None = None
    rate_limit: dict[str, Any] | None = None
    circuit_breaker: dict[str, Any] | None = None
    backpressure: dict[str, Any] | None = None
    fallbacks: tuple[str, ...] = ()

    def options(self) -> dict[str, Any]:
        """Return the methods of the runtime's builder, with their arguments."""
        parts = {
            "retry": self.retry and RetryConfig(jitter=JitterStrategy.NONE, **self.retry),
            "rate_limit": self.rate_limit and RateLimiterConfig(**self.rate_limit),
            "circuit_breaker": self.circuit_breaker and CircuitBreakerConfig(**self.circuit_breaker),
            "backpressure": self.backpressure and BackpressureConfig(**self.backpressure),
        }
        given: dict[str, Any] = {name: part for name, part in parts.items() if part is not None}
        config = {"with_resilience": ResilientConfig(**given)} if given else {}
        return {"with_fallbacks": list(self.fallbacks), **config}


_SECONDS = st.sampled_from([0, UNIT, 10 * UNIT])
_RETRY = st.fixed_dictionaries(
    {
        "max_retries": st.integers(0, 2),
        "min_delay_ms": st.sampled_from([0, 1_000_000]),
        "max_delay_ms": st.just(2_000_000),
    }
)
_RATE_LIMIT = st.fixed_dictionaries(
    {"requests_per_second": st.sampled_from([0.0, 1 / UNIT])},
    optional={"burst_size": st.integers(1, 2), "initial_tokens": st.integers(0, 1)},
)
_CIRCUIT_BREAKER = st.fixed_dictionaries(
    {"failure_threshold": st.integers(1, 3), "success_threshold": st.integers(1, 2), "cooldown_seconds": _SECONDS},
    optional={"timeout_seconds": st.sampled_from([UNIT / 2, 1.5 * UNIT])},
)
_BACKPRESSURE = st.fixed_dictionaries(
    {"max_concurrent": st.integers(0, 2)}, optional={"queue_timeout": st.sampled_from([UNIT / 2, 5 * UNIT])}
)
_FALLBACKS = st.lists(st.sampled_from([OTHER, OTHER, SAME, NOWHERE]), max_size=2).map(tuple)

NO_POLICY = Policy()
POLICIES: st.SearchStrategy[Policy] = st.builds(
    Policy,
    retry=st.none() | _RETRY,
    rate_limit=st.none() | _RATE_LIMIT,
    circuit_breaker=st.none() | _CIRCUIT_BREAKER,
    backpressure=st.none() | _BACKPRESSURE,
    fallbacks=_FALLBACKS,
)
