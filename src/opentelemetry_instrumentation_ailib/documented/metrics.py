"""``MetricsCollector``: the metrics of the clients that were built with it, in Prometheus' text format.

The page's section is 指标 (metrics). What is recorded for such a client goes to the collector and to the application's
own meter provider alike: a dashboard must not lose a client because somebody attached a collector to it.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

from opentelemetry_instrumentation_ailib import semconv
from opentelemetry_instrumentation_ailib.documented.extras import missing
from opentelemetry_instrumentation_ailib.fields import Answer
from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.metrics import Instruments
from opentelemetry_instrumentation_ailib.operation import Operation
from opentelemetry_instrumentation_ailib.patching import Addition
from opentelemetry_instrumentation_ailib.telemetry import SCOPE
from opentelemetry_instrumentation_ailib.version import __version__

if TYPE_CHECKING:
    from opentelemetry_instrumentation_ailib.telemetry import Observer

_ATTRIBUTE: Final = "_ailib_private_metrics"


class PrivateMetrics:
    """A meter provider of a collector's own, and the registry that Prometheus' text is made from.

    Raises:
        ImportError: The extra ``prometheus`` is not installed.

    Attributes:
        instruments: Take the measurements.
    """

    def __init__(self) -> None:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader
        from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
        from prometheus_client import CollectorRegistry

        self._registry = CollectorRegistry()
        # The text is that of the page: without labels that say which library measured. The reader keeps no exemplars.
        reader = PrometheusMetricReader(True, scope_info_enabled=False, registry=self._registry)
        provider = MeterProvider([reader], exemplar_filter=AlwaysOffExemplarFilter(), shutdown_on_exit=False)
        self.instruments = Instruments(provider.get_meter(SCOPE, __version__, semconv.SCHEMA_URL))

    def text(self) -> str:
        """Return what was measured, in Prometheus' text format."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry).decode()


class _Both:
    """Two instruments that take the same measurements."""

    __slots__ = ("_one", "_other")

    def __init__(self, one: Any, other: Any) -> None:
        self._one = one
        self._other = other

    def add(self, *args: Any, **kwargs: Any) -> None:
        self._one.add(*args, **kwargs)
        self._other.add(*args, **kwargs)

    def record(self, *args: Any, **kwargs: Any) -> None:
        self._one.record(*args, **kwargs)
        self._other.record(*args, **kwargs)


def both(one: Instruments, other: Instruments) -> Instruments:
    """Return instruments that record to two sets of them."""
    pair = copy.copy(one)
    for name, instrument in vars(other).items():
        if hasattr(instrument, "add") or hasattr(instrument, "record"):
            setattr(pair, name, _Both(getattr(one, name), instrument))
    return pair


def instruments(collector: Any, applications: Instruments) -> Instruments:
    """Return the instruments for the calls of a client with a collector.

    Args:
        collector: The runtime's ``MetricsCollector``.
        applications: The application's own.
    """
    try:
        private = _private(collector)
    except ImportError:
        return applications  # export_prometheus() will say so. The snapshot needs no extra.
    return both(applications, private.instruments)


def _private(collector: Any) -> PrivateMetrics:
    known = vars(collector).get(_ATTRIBUTE)
    private: PrivateMetrics = known or vars(collector).setdefault(_ATTRIBUTE, PrivateMetrics())
    return private


def observer(collector: Any) -> Observer:
    """Return what tells a collector about each call, in its own terms, so that ``get_snapshot()`` shows it."""

    def observe(operation: Operation, answer: Answer, error: str | None, duration: float) -> None:
        from ai_lib_python.telemetry.metrics import MetricLabels

        known = operation.identity.model_labels
        labels = MetricLabels(
            provider=_label(known[semconv.LABEL_PROVIDER]),
            model=_label(known[semconv.LABEL_MODEL]),
        )
        for number in range(operation.attempts.retries):
            collector.record_retry(labels, number + 1)
        collector.record_request(
            labels,
            duration,
            "success" if error is None else "error",
            answer.usage.input or 0,
            answer.usage.output or 0,
        )

    return guarded(observe)


def _label(value: Any) -> str:
    # The collector joins labels by these two and takes them apart again.
    return str(value).replace(",", "_").replace("=", "_")


def export_prometheus(self: Any) -> str:
    """Return the metrics of the clients built with this collector, in Prometheus' text format.

    They are those of the OpenTelemetry metrics of the same names: ``ai_lib_requests_total``,
    ``ai_lib_request_duration_seconds``, ``ai_lib_tokens_total``, ``ai_lib_errors_total`` and the others. What
    ``record_request()`` was told by hand is in ``to_prometheus()``.

    Raises:
        ImportError: The extra ``prometheus`` is not installed.
    """
    try:
        return _private(self).text()
    except ImportError as error:
        raise missing("MetricsCollector.export_prometheus()", "prometheus") from error


ROWS = (Addition("ai_lib_python.telemetry.metrics", "MetricsCollector.export_prometheus", lambda _: export_prometheus),)
