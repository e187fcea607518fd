"""Whether anyone listens: what nobody collects is not put together."""

from __future__ import annotations

import logging
from typing import Any, Final

from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from opentelemetry_instrumentation_ailib import loggers

# The API's own providers collect nothing: they stand for those that an application may set later, or for none.
_API: Final = ("opentelemetry.trace", "opentelemetry.metrics")


def _collects(provider: Any) -> bool:
    return not type(provider).__module__.startswith(_API)


class Listeners:
    """Those who listen to what is told of a call as it goes: collect it, or read it in the log.

    Args:
        tracer_provider: Where spans go; ``None`` for the global provider.
        meter_provider: Where measurements go; ``None`` for the global provider.
        certain: Whether something else is known to listen.
    """

    __slots__ = ("_awaited", "_found")

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        *,
        certain: bool = False,
    ) -> None:
        given = [provider for provider in (tracer_provider, meter_provider) if provider is not None]
        self._found = certain or any(map(_collects, given))
        # Providers that the application may set later. The functions that return them ask the environment each time,
        # which takes longer than all else here: their variable knows as much, in releases of the API that have it.
        self._awaited = tuple(
            (getattr(get, "__globals__", {}), variable, get)
            for provider, variable, get in (
                (tracer_provider, "_TRACER_PROVIDER", trace.get_tracer_provider),
                (meter_provider, "_METER_PROVIDER", metrics.get_meter_provider),
            )
            if provider is None
        )

    def present(self) -> bool:
        """Return whether there are any."""
        if self._found:  # No provider can be unset.
            return True
        for variables, variable, get in self._awaited:
            if variables[variable] is not None if variable in variables else _collects(get()):
                self._found = True
                return True
        return loggers.REQUEST.isEnabledFor(logging.INFO) or loggers.PIPELINE.isEnabledFor(logging.DEBUG)


def streams_are_logged() -> bool:
    """Return whether someone reads the log records of a stream's end or of its frames."""
    return loggers.FRAME.isEnabledFor(loggers.TRACE) or loggers.handled(loggers.STREAM, logging.WARNING)
