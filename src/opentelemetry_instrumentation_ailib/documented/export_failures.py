"""What OpenTelemetry's exporters could not deliver, counted from what they log about it."""

from __future__ import annotations

import logging
import time
from contextvars import ContextVar
from typing import Final

# A filter hears the records of its own logger alone, and unlike a handler it changes nothing for the others.
_LOGGERS: Final = (
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.sdk._logs._internal.export",
    "opentelemetry.sdk._shared_internal",
    "opentelemetry.sdk.metrics._internal.export",
    "opentelemetry.sdk.trace.export",
)
RECENT: Final = 300.0
"""Seconds for which a failure counts."""

ATTEMPT: Final[ContextVar[list[str] | None]] = ContextVar("ai_lib_export_attempt", default=None)
"""What a tracer's own exporter, which is at work, failed with so far. It reports its failures itself."""


class ExportFailures(logging.Filter):
    """Counts failures of the application's exporters, and of the tracers' own.

    Attributes:
        count: All of this round.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self._last: float | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Count an error; let every record pass."""
        if record.levelno >= logging.ERROR and ATTEMPT.get() is None:
            self.note()
        return True

    def note(self) -> None:
        """Count a failure."""
        self.count += 1
        self._last = time.monotonic()

    @property
    def recent(self) -> bool:
        """Whether there was a failure in the last five minutes."""
        return self._last is not None and time.monotonic() - self._last < RECENT

    def listen(self) -> None:
        """Begin to count."""
        for name in _LOGGERS:
            # Before their own, which take what repeats itself within twenty seconds, of another signal as well.
            logging.getLogger(name).filters.insert(0, self)

    def stop(self) -> None:
        """Count no more."""
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(self)
