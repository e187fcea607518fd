"""A tracer's own way out of the process: OTLP over gRPC to its endpoint, under its service name."""

from __future__ import annotations

import atexit
import importlib.util
import logging
import os
import threading
import weakref
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from opentelemetry.trace import Tracer

from opentelemetry_instrumentation_ailib.documented.current import CURRENT
from opentelemetry_instrumentation_ailib.documented.export_failures import ATTEMPT
from opentelemetry_instrumentation_ailib.documented.extras import missing
from opentelemetry_instrumentation_ailib.guard import guarded

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

_logger = logging.getLogger(__name__)

_ATTRIBUTE: Final = "_ai_lib_pipe"
_EXPORTER_LOGGER: Final = "opentelemetry.exporter.otlp.proto.grpc.exporter"
_PAUSES: Final = (1.0, 2.0)
"""Seconds before a batch is tried again, and once more."""
_GRACE: Final = 5.0
"""Seconds that a process which wants to end waits for its last spans to be delivered."""


class Delivery:
    """An exporter that tries again while nobody waits for it, and that says once when an endpoint cannot be reached.

    Args:
        exporter: OpenTelemetry's exporter, which makes one attempt.
        endpoint: Where it exports to, for the log.
    """

    def __init__(self, exporter: SpanExporter, endpoint: str) -> None:
        self._exporter = exporter
        self._endpoint = endpoint

    def begin(self) -> None:
        """Begin, with a thread that lets the process end soon: before the first export, and again in a forked child."""
        filters = logging.getLogger(_EXPORTER_LOGGER).filters
        if self._is_not_ours not in filters:
            # Before the logger's own of what repeats itself, which would hide the application's failures by ours.
            filters.insert(0, self._is_not_ours)
        self._closing = threading.Event()
        self._closed = threading.Event()
        self._failing = False
        self._letting_go = threading.Lock()
        # While the process ends no thread can be started.
        threading.Thread(target=self._cut_short, name="ai-lib-delivery", daemon=True).start()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Deliver spans, or drop them.

        Args:
            spans: A batch of them.
        """
        from opentelemetry.sdk.trace.export import SpanExportResult

        if self._failing and self._closing.is_set():
            return SpanExportResult.FAILURE  # The process wants to end, and nobody was there a moment ago.
        delivered = self._attempt(spans)
        for pause in _PAUSES:
            if delivered or self._closing.wait(pause):
                break
            delivered = self._attempt(spans)
        if delivered:
            self._failing = False
            return SpanExportResult.SUCCESS
        self._complain()
        return SpanExportResult.FAILURE

    def _attempt(self, spans: Sequence[ReadableSpan]) -> bool:
        from opentelemetry.sdk.trace.export import SpanExportResult

        self._statuses: list[str] = []
        token = ATTEMPT.set(self._statuses)
        try:
            return self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception:
            return False  # The connection was cut under its hands.
        finally:
            ATTEMPT.reset(token)

    def _complain(self) -> None:
        if not self._failing:
            where = " ".join((self._endpoint, *(f"({status})" for status in self._statuses[-1:])))
            _logger.warning("Spans cannot be delivered to %s and are dropped (reported once)", where)
        self._failing = True
        if CURRENT.round is not None:
            CURRENT.round.failures.note()

    def _is_not_ours(self, record: logging.LogRecord) -> bool:
        # The exporter logs every attempt. The name of gRPC's status says why, and holds no secret.
        statuses = ATTEMPT.get()
        if statuses is not None:
            statuses.extend(each.name for each in record.args or () if isinstance(each, Enum))
        return statuses is None

    def _cut_short(self) -> None:
        self._closing.wait()
        if not self._closed.wait(_GRACE):
            self._let_go()

    def _let_go(self) -> None:
        with self._letting_go:
            if not self._closed.is_set():
                self._closed.set()
                self._exporter.shutdown()

    def close(self) -> None:
        """Try no batch again from now on, and wait for none for long."""
        self._closing.set()

    def shutdown(self) -> None:
        """Let go of the connection."""
        self.close()
        self._let_go()
        logging.getLogger(_EXPORTER_LOGGER).removeFilter(self._is_not_ours)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Return ``True``: nothing is kept here."""
        return True


class Pipe:
    """A tracer provider of a tracer's own. It is made when the first span asks for it, in the process that asks.

    Args:
        service_name: ``service.name`` of the resource.
        endpoint: The endpoint; ``None`` leaves it, like headers, TLS and compression, to the standard variables.

    Raises:
        ImportError: The extra ``otlp`` is not installed.
    """

    def __init__(self, service_name: str, endpoint: str | None) -> None:
        if not _is_installed():
            raise missing("Tracer(service_name=, endpoint=)", "otlp")
        self._service_name = service_name
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._opened = False
        self._provider: TracerProvider | None = None
        self._delivery: Delivery | None = None
        if hasattr(os, "register_at_fork"):
            known = weakref.WeakMethod(self.begin_anew)  # What is registered stays for good.
            os.register_at_fork(after_in_child=lambda: (begin := known()) and begin())

    def begin_anew(self) -> None:
        """Go on in a forked child, which has none of its parent's threads: what one of them holds it never lets go."""
        self._lock = threading.Lock()
        if self._provider is not None and self._delivery is not None:
            self._delivery.begin()

    def tracer(self, scope: str, version: str | None = None, schema_url: str | None = None) -> Tracer | None:
        """Return a tracer whose spans go to the endpoint; ``None`` where the SDK refuses to make one.

        Args:
            scope: The name of the instrumentation scope.
            version: Its version.
            schema_url: Its schema.
        """
        with self._lock:
            if not self._opened:  # Once: what is refused is not asked for again with every span.
                self._provider, self._opened = self._open(), True
        return None if self._provider is None else self._provider.get_tracer(scope, version, schema_url)

    @guarded
    def _open(self) -> TracerProvider:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        delivery = Delivery(_exporter(self._endpoint), _address(self._endpoint))
        provider = TracerProvider(resource=Resource.create({SERVICE_NAME: self._service_name}), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(delivery))  # type: ignore[arg-type]
        delivery.begin()
        self._delivery = delivery
        atexit.register(self.shutdown)
        return provider

    def shutdown(self) -> None:
        """Deliver what has not been delivered, in one attempt, and let go of the connection. Spans are then dropped."""
        with self._lock:
            provider, delivery = self._provider, self._delivery
            self._delivery = None
        if provider is not None and delivery is not None:
            atexit.unregister(self.shutdown)
            delivery.close()
            provider.shutdown()


def connect(tracer: Any, service_name: str, endpoint: str | None) -> None:
    """Give a tracer its own way out.

    Args:
        tracer: The runtime's ``Tracer``.
        service_name: ``service.name`` of the resource.
        endpoint: The endpoint; ``None`` leaves it to the standard variables.

    Raises:
        ImportError: The extra ``otlp`` is not installed.
    """
    vars(tracer)[_ATTRIBUTE] = Pipe(service_name, endpoint)


def pipe_of(tracer: Any) -> Pipe | None:
    """Return a tracer's own way out, if it has one.

    Args:
        tracer: The runtime's ``Tracer``.
    """
    pipe = getattr(tracer, _ATTRIBUTE, None)
    return pipe if isinstance(pipe, Pipe) else None


def shutdown(self: Any) -> None:
    """Deliver what has not been delivered to the tracer's endpoint, and let go of the connection."""
    pipe = pipe_of(self)
    if pipe is not None:
        pipe.shutdown()


def _is_installed() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.grpc.trace_exporter") is not None
    except ImportError:
        return False


def _exporter(endpoint: str | None) -> Any:
    from grpc import StatusCode  # type: ignore[import-untyped]
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    # Its own way to try again takes ten seconds that nothing can cut short, not even the end of the process. With a
    # status that is no error it makes one attempt.
    return OTLPSpanExporter(endpoint=endpoint, retryable_error_codes=(StatusCode.OK,))


def _address(endpoint: str | None) -> str:
    """Return what of an endpoint a log may show: no credentials."""
    if not endpoint:
        return "the endpoint of the OTEL_EXPORTER_OTLP_ variables"
    parts = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}")
    return parts.netloc.rpartition("@")[2] or parts.path
