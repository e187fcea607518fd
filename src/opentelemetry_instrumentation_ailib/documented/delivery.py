"""How a tracer's own spans are delivered: in attempts that nobody waits for, and that let the process end soon."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Final

from opentelemetry_instrumentation_ailib.documented.current import CURRENT
from opentelemetry_instrumentation_ailib.documented.export_failures import ATTEMPT

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

_logger = logging.getLogger(__name__)

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
