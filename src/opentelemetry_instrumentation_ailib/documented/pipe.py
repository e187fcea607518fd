"""A tracer's own way out of the process: OTLP over gRPC to its endpoint, under its service name."""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from opentelemetry.trace import Tracer

from opentelemetry_instrumentation_ailib.documented.delivery import Delivery
from opentelemetry_instrumentation_ailib.documented.extras import missing
from opentelemetry_instrumentation_ailib.guard import guarded

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_ATTRIBUTE: Final = "_ai_lib_pipe"

_pipes: Final[weakref.WeakSet[Pipe]] = weakref.WeakSet()


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
        _pipes.add(self)
        _expect_forks()

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


@functools.cache  # Once: what is registered stays for good.
def _expect_forks() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_begin_anew)


def _begin_anew() -> None:
    for pipe in tuple(_pipes):
        pipe.begin_anew()


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
