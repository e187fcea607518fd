"""Whether anyone listens: what nobody collects is not put together."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider, NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider, TracerProvider

from opentelemetry_instrumentation_ailib import loggers

# The API's own providers collect nothing: they stand for those that an application may set later, or for none.
_API: Final = ("opentelemetry.trace", "opentelemetry.metrics")


def _collects(provider: Any) -> bool:
    return not type(provider).__module__.startswith(_API)


def _is_global(provider: Any) -> bool:
    # Before one is set, the API has another stand for it, which an application may have asked for.
    known = isinstance(provider, (NoOpTracerProvider, NoOpMeterProvider)) or _collects(provider)
    return provider is None or not known


def _is_set(variable: str, get: Callable[[], Any]) -> bool:
    # The functions that return global providers ask the environment each time, which takes longer than all else here:
    # their variable knows as much. A release of the API without it is asked.
    known = getattr(get, "__globals__", {})
    return known[variable] is not None if variable in known else _collects(get())


class Listeners:
    """Those who listen to what is told of a call as it goes: collect it, or read it in the log.

    Args:
        tracer_provider: Where spans go; ``None`` for the global provider.
        meter_provider: Where measurements go; ``None`` for the global provider.
        certain: Whether something else is known to listen.
        measured: Whether measurements are known to be collected, wherever they go.
    """

    __slots__ = ("_found", "_global_meters", "_global_tracers", "_measured")

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        *,
        certain: bool = False,
        measured: bool = False,
    ) -> None:
        self._global_tracers, self._global_meters = _is_global(tracer_provider), _is_global(meter_provider)
        self._measured = measured or (not self._global_meters and _collects(meter_provider))
        self._found = certain or self._measured or (not self._global_tracers and _collects(tracer_provider))

    def present(self) -> bool:
        """Return whether there are any."""
        # No provider can be unset.
        self._found = (
            self._found
            or (self._global_tracers and _is_set("_TRACER_PROVIDER", trace.get_tracer_provider))
            or self.measure()
        )
        return self._found or loggers.REQUEST.isEnabledFor(logging.INFO) or loggers.PIPELINE.isEnabledFor(logging.DEBUG)

    def measure(self) -> bool:
        """Return whether any of them collects measurements."""
        self._measured = self._measured or (
            self._global_meters and _is_set("_METER_PROVIDER", metrics.get_meter_provider)
        )
        return self._measured


def streams_are_logged() -> bool:
    """Return whether someone reads the log records of a stream's end or of its frames."""
    return loggers.FRAME.isEnabledFor(loggers.TRACE) or loggers.handled(loggers.STREAM, logging.WARNING)
