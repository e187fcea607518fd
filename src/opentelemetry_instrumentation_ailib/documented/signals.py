"""``client.signals_snapshot()``: the state of a client's circuit breaker, rate limiter and back-pressure, at once.

The page's section is 弹性可观测性 (resilience observability).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry_instrumentation_ailib import live
from opentelemetry_instrumentation_ailib.patching import Addition

if TYPE_CHECKING:
    from opentelemetry_instrumentation_ailib.documented.snapshot import SignalsSnapshot


def signals_snapshot(client: Any) -> SignalsSnapshot:
    """Return the present state of a client's resilience components.

    Args:
        client: The runtime's ``AiClient``.
    """
    from opentelemetry_instrumentation_ailib.documented.snapshot import SignalsSnapshot

    executor = client._executor
    limiter = getattr(executor, live.LIMITER, None)
    control = getattr(executor, live.BACKPRESSURE, None)
    snapshot: SignalsSnapshot = SignalsSnapshot.from_components(  # type: ignore[assignment]
        inflight=None
        if control is None or not control.is_limited
        else (control._config.max_concurrent, control.current_inflight),
        rate_limiter=limiter if limiter is not None and limiter.is_limited else None,
        circuit_breaker=getattr(executor, live.BREAKER, None),
        provider=client.provider_id,
        model=client.model_id,
    )
    snapshot.circuit_state = client.circuit_state
    snapshot.current_inflight = client.current_inflight
    return snapshot


ROWS = (Addition("ai_lib_python.client.core", "AiClient.signals_snapshot", lambda _: signals_snapshot),)
