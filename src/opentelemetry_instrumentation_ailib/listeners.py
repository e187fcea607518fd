"""Whether anyone listens: what nobody collects is not put together."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
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


def _awaited(given: Any, variable: str, get: Callable[[], Any]) -> Callable[[], Any]:
    """Return what returns the global provider once it is set, and ``None`` before; always, where another was given."""
    if not _is_global(given):
        return lambda: None
    # The functions of the API ask the environment each time, which takes longer than all else here: their variable
    # knows as much. A release of the API without it is asked.
    known = getattr(get, "__globals__", {})
    if variable in known:
        return partial(known.get, variable)
    return lambda: provider if _collects(provider := get()) else None


class Listeners:
    """Those who listen to what is told of a call as it goes: collect it, or read it in the log.

    Args:
        tracer_provider: Where spans go; ``None`` for the global provider.
        meter_provider: Where measurements go; ``None`` for the global provider.
        certain: Whether something else is known to listen.
        measured: Whether measurements are known to be collected, wherever they go.
    """

    __slots__ = ("_found", "_measured", "_meters", "_tracers")

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        *,
        certain: bool = False,
        measured: bool = False,
    ) -> None:
        self._tracers = _awaited(tracer_provider, "_TRACER_PROVIDER", trace.get_tracer_provider)
        self._meters = _awaited(meter_provider, "_METER_PROVIDER", metrics.get_meter_provider)
        self._measured = measured or (not _is_global(meter_provider) and _collects(meter_provider))
        self._found = certain or self._measured or (not _is_global(tracer_provider) and _collects(tracer_provider))

    def present(self) -> bool:
        """Return whether there are any."""
        if not self._found:  # No provider can be unset.
            self._found = self._tracers() is not None or self.measure()
        return self._found or loggers.REQUEST.isEnabledFor(logging.INFO) or loggers.PIPELINE.isEnabledFor(logging.DEBUG)

    def measure(self) -> bool:
        """Return whether any of them collects measurements."""
        if not self._measured:
            self._measured = self._meters() is not None
        return self._measured


def streams_are_logged() -> bool:
    """Return whether someone reads the log records of a stream's end or of its frames."""
    return loggers.FRAME.isEnabledFor(loggers.TRACE) or loggers.handled(loggers.STREAM, logging.WARNING)
