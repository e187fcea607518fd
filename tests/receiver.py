"""An OTLP/HTTP receiver on a loopback port, and what it received as plain values."""

from __future__ import annotations

import contextlib
import gzip
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

MESSAGES: dict[str, Any] = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}


def value_of(value: AnyValue) -> Any:
    """Return an OTLP value as a Python value."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(value_of(item) for item in value.array_value.values)
    if kind == "kvlist_value":
        return attributes_of(value.kvlist_value.values)
    return getattr(value, kind) if kind else None


def attributes_of(attributes: Any) -> dict[str, Any]:
    """Return OTLP attributes as a dictionary."""
    pairs: list[KeyValue] = list(attributes)
    return {pair.key: value_of(pair.value) for pair in pairs}


@dataclass(frozen=True)
class ReceivedSpan:
    """A span, its identifiers in hexadecimal."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    status: int
    scope: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    events: tuple[tuple[str, dict[str, Any]], ...]
    start: int
    end: int


@dataclass(frozen=True)
class ReceivedPoint:
    """A point of a metric; the value of a histogram is its count."""

    name: str
    unit: str
    attributes: dict[str, Any]
    value: float
    resource: dict[str, Any]
    exemplar_traces: frozenset[str]


@dataclass(frozen=True)
class ReceivedLog:
    """A log record, its identifiers in hexadecimal."""

    scope: str
    severity: str
    event_name: str
    body: Any
    attributes: dict[str, Any]
    trace_id: str
    span_id: str


def _spans(message: Any) -> Iterator[ReceivedSpan]:
    for by_resource in message.resource_spans:
        resource = attributes_of(by_resource.resource.attributes)
        for by_scope in by_resource.scope_spans:
            for span in by_scope.spans:
                yield ReceivedSpan(
                    name=span.name,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    kind=span.kind,
                    status=span.status.code,
                    scope=by_scope.scope.name,
                    attributes=attributes_of(span.attributes),
                    resource=resource,
                    events=tuple((event.name, attributes_of(event.attributes)) for event in span.events),
                    start=span.start_time_unix_nano,
                    end=span.end_time_unix_nano,
                )


def _points(message: Any) -> Iterator[ReceivedPoint]:
    for by_resource in message.resource_metrics:
        resource = attributes_of(by_resource.resource.attributes)
        for by_scope in by_resource.scope_metrics:
            for metric in by_scope.metrics:
                for point in getattr(metric, metric.WhichOneof("data")).data_points:
                    value = point.count if hasattr(point, "count") else getattr(point, point.WhichOneof("value"))
                    traces = frozenset(exemplar.trace_id.hex() for exemplar in point.exemplars)
                    labels = attributes_of(point.attributes)
                    yield ReceivedPoint(metric.name, metric.unit, labels, value, resource, traces)


def _logs(message: Any) -> Iterator[ReceivedLog]:
    for by_resource in message.resource_logs:
        for by_scope in by_resource.scope_logs:
            for record in by_scope.log_records:
                yield ReceivedLog(
                    scope=by_scope.scope.name,
                    severity=record.severity_text,
                    event_name=record.event_name,
                    body=value_of(record.body),
                    attributes=attributes_of(record.attributes),
                    trace_id=record.trace_id.hex(),
                    span_id=record.span_id.hex(),
                )


@dataclass
class Receiver:
    """What arrived. ``endpoint`` is the base, without ``/v1/traces``."""

    endpoint: str = ""
    spans: list[ReceivedSpan] = field(default_factory=list)
    points: list[ReceivedPoint] = field(default_factory=list)
    logs: list[ReceivedLog] = field(default_factory=list)
    _arrived: threading.Condition = field(default_factory=threading.Condition)

    def accept(self, path: str, body: bytes) -> None:
        """Take a request in."""
        message = MESSAGES[path].FromString(body)
        with self._arrived:
            if path == "/v1/traces":
                self.spans += _spans(message)
            elif path == "/v1/metrics":
                self.points += _points(message)
            else:
                self.logs += _logs(message)
            self._arrived.notify_all()

    def wait_for(self, condition: Callable[[], Any], timeout: float = 30.0) -> None:
        """Wait until what arrived meets a condition, and fail when it does not in time."""
        with self._arrived:
            assert self._arrived.wait_for(condition, timeout), (
                f"not within {timeout} s; spans {[span.name for span in self.spans]},"
                f" metrics {sorted({point.name for point in self.points})}, {len(self.logs)} logs"
            )

    def last(self, name: str) -> list[tuple[dict[str, Any], float]]:
        """``(attributes, value)`` of each series of a metric, as it last arrived."""
        latest = {
            repr(sorted({**point.resource, **point.attributes}.items())): point
            for point in self.points
            if point.name == name
        }
        return [(point.attributes, point.value) for point in latest.values()]

    def tree(self, trace_id: str) -> list[tuple[str, str | None]]:
        """``(name, name of the parent)`` of each span of a trace, sorted; a parent that did not arrive is ``None``."""
        spans = [span for span in self.spans if span.trace_id == trace_id]
        names = {span.span_id: span.name for span in spans}
        return sorted(((span.name, names.get(span.parent_id)) for span in spans), key=str)


@contextlib.contextmanager
def served(server: ThreadingHTTPServer) -> Iterator[None]:
    """Let a server answer, in a thread of its own."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def receiver() -> Iterator[Receiver]:
    """Run a :class:`Receiver` for the length of a ``with`` block."""
    received = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            received.accept(self.path, body)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        received.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        with served(server):
            yield received
