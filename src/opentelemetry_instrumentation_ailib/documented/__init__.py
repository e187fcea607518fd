"""The API of the AI-Lib observability page, on OpenTelemetry: what it documents and the runtime lacks.

A module for each of its classes. They are added to the runtime's own by rows of the patch table, only where the runtime
lacks them, and go with ``uninstrument()``.
"""

from __future__ import annotations

from dataclasses import replace

from opentelemetry.metrics import MeterProvider, get_meter
from opentelemetry.trace import TracerProvider

from opentelemetry_instrumentation_ailib import semconv
from opentelemetry_instrumentation_ailib.documented import (
    clients,
    feedback,
    feedback_sink,
    health,
    metrics,
    signals,
    statistics,
    tracing,
)
from opentelemetry_instrumentation_ailib.documented.current import CURRENT, Round
from opentelemetry_instrumentation_ailib.documented.export_failures import ExportFailures
from opentelemetry_instrumentation_ailib.documented.outcomes import Outcomes
from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.telemetry import SCOPE, Telemetry
from opentelemetry_instrumentation_ailib.version import __version__

ROWS = (
    *clients.ROWS,
    *feedback_sink.ROWS,
    *health.ROWS,
    *metrics.ROWS,
    *signals.ROWS,
    *statistics.ROWS,
    *tracing.ROWS,
)
"""What the documented API patches and adds."""


def begin(
    telemetry: Telemetry, *, tracer_provider: TracerProvider | None, meter_provider: MeterProvider | None
) -> Telemetry:
    """Begin a round: return the bundle that tells the documented API about every call.

    Args:
        telemetry: The bundle.
        tracer_provider: Where spans go; ``None`` for the global one.
        meter_provider: Where measurements go; ``None`` for the global one.
    """
    meter = get_meter(SCOPE, __version__, meter_provider, semconv.SCHEMA_URL)
    recorder = feedback.Recorder(meter, telemetry.content)
    fills_in = telemetry.config.documented_api
    outcomes = Outcomes(feeds_tracker=fills_in)
    telemetry = replace(
        telemetry,
        outcomes=(guarded(outcomes.observe),),
        accountants=tuple(map(guarded, (recorder.ended, *((statistics.ended,) if fills_in else ())))),
        identified=tuple(map(guarded, (recorder.remember, *((statistics.identified,) if fills_in else ())))),
    )
    failures = ExportFailures()
    failures.listen()
    CURRENT.begin(Round(telemetry, tracer_provider, recorder, outcomes, failures), meter, meter_provider)
    return telemetry


def end() -> None:
    """End the round."""
    if CURRENT.round is not None:
        CURRENT.round.failures.stop()
        CURRENT.round.telemetry.clients.close()
    CURRENT.end()


__all__ = ["ROWS", "begin", "end"]
