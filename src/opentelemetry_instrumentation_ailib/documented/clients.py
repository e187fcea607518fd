"""Clients with telemetry of their own: ``.metrics(collector)`` and ``.tracer(tracer)`` of the client builder."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from opentelemetry.trace import Tracer

from opentelemetry_instrumentation_ailib import semconv
from opentelemetry_instrumentation_ailib.context import attach, detach
from opentelemetry_instrumentation_ailib.coroutines import Call, around
from opentelemetry_instrumentation_ailib.documented import metrics
from opentelemetry_instrumentation_ailib.documented.current import CURRENT
from opentelemetry_instrumentation_ailib.documented.pipe import pipe_of
from opentelemetry_instrumentation_ailib.documented.runtime_exporter import tracer_to
from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.listeners import Listeners
from opentelemetry_instrumentation_ailib.patching import Addition, Row, Wrapper
from opentelemetry_instrumentation_ailib.telemetry import SCOPE, Telemetry
from opentelemetry_instrumentation_ailib.version import __version__

_METRICS: Final = "_ai_lib_metrics"
_TRACER: Final = "_ai_lib_tracer"


def observe(client: Any, *, metrics: Any = None, tracer: Any = None) -> None:
    """Give a client that exists telemetry of its own. It holds from its next call, until ``uninstrument()``.

    Args:
        client: Any client of the runtime's.
        metrics: A ``MetricsCollector`` that gets the client's measurements too.
        tracer: A ``Tracer`` with an endpoint or an exporter, or one of OpenTelemetry's, that gets the client's spans
            instead of the application's own.
    """
    active = CURRENT.round
    if active is not None:
        _register(active.telemetry, client, _bundle(active.telemetry.of(client), metrics, tracer))


@guarded
def _bundle(telemetry: Telemetry, collector: Any, tracer: Any) -> Telemetry | None:
    bundle = telemetry
    # Who asks for the same again has it, and is not told everything twice.
    if collector is not None and all(known is not collector for known in bundle.collectors):
        bundle = replace(
            bundle,
            collectors=(*bundle.collectors, collector),
            instruments=metrics.instruments(collector, bundle.instruments),
            observers=(*bundle.observers, metrics.observer(collector)),
        )
    source = _source(tracer)
    if source is not None:
        bundle = replace(bundle, tracer=source)
    return None if bundle is telemetry else replace(bundle, listeners=Listeners(measured=True))


@guarded
def _source(tracer: Any) -> Tracer | None:
    if isinstance(tracer, Tracer):
        return tracer
    pipe = pipe_of(tracer)
    return tracer_to(tracer) if pipe is None else pipe.tracer(SCOPE, __version__, semconv.SCHEMA_URL)


@guarded
def _register(telemetry: Telemetry, client: Any, bundle: Telemetry | None) -> None:
    if bundle is not None:
        telemetry.clients[client] = bundle


def with_metrics(builder: Any, collector: Any) -> Any:
    """Record the calls of the client that is built in a collector, besides the application's own metrics.

    Args:
        builder: The runtime's ``AiClientBuilder``.
        collector: A ``MetricsCollector``.

    Returns:
        The builder, for chaining.
    """
    vars(builder)[_METRICS] = collector
    return builder


def with_tracer(builder: Any, tracer: Any) -> Any:
    """Send the spans of the client that is built to a tracer's endpoint or exporter, and nowhere else.

    Args:
        builder: The runtime's ``AiClientBuilder``.
        tracer: A ``Tracer`` with an endpoint or an exporter, or one of OpenTelemetry's.

    Returns:
        The builder, for chaining.
    """
    vars(builder)[_TRACER] = tracer
    return builder


def _build(telemetry: Telemetry) -> Wrapper:
    async def run(call: Call, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        settings = getattr(instance, "__dict__", {})
        bundle = _bundle(telemetry, settings.get(_METRICS), settings.get(_TRACER))
        if bundle is None:
            return await call.take()
        token = attach(bundle.within())
        try:
            client = await call.take()
        except BaseException as error:
            detach(token, error)
            del token  # It refers to the caller's context, and the exception to this.
            raise
        detach(token)
        _register(telemetry, client, bundle)
        return client

    return around(run)


_MODULE = "ai_lib_python.client.builder"

ROWS = (
    Addition(_MODULE, "AiClientBuilder.metrics", lambda _: with_metrics),
    Addition(_MODULE, "AiClientBuilder.tracer", lambda _: with_tracer),
    Row(_MODULE, "AiClientBuilder.build", _build),
)
